"""Training options that the networks or the data of a job cannot honour are refused when it is submitted."""

from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from job.spec import JobSpec
from job.versions import read_job
from search_space.plugins import load_family
from supernet.methods.bignas.options import BigNASOptions
from supernet.methods.single.options import SingleOptions
from supernet.methods.sortednet.options import SortedNetOptions

TEXT = {"source": "text", "path": "/data/text.txt", "length": 16}
LABELLED = {"source": "labelled_text", "path": "/data/rows.tsv", "length": 16}
LLAMA = {"recipe": "llama_nas", "supernet": {"family": "llama", "preset": "tiny"}, "data": TEXT}
BERT = {"supernet": {"family": "bert", "preset": "tiny"}, "data": LABELLED}
PERPLEXITY = [{"metric": "perplexity"}, {"metric": "macs"}]
STITCHED = {"supernet": {"family": "stitched", "preset": "cifar"}, "data": {"source": "cifar10", "path": "/data/cifar"}}
VIT = {"supernet": {"family": "vit", "preset": "cifar"}, "data": {"source": "cifar10", "path": "/data/cifar"}}


@pytest.mark.parametrize(
    ("parts", "training", "says"),
    [
        (VIT, {"options": {"own_weights": 1.0, "use_power": 1.0}}, "use_power is 1.0 and own_weights 1.0"),
        (LLAMA, {"method": "bignas", "options": {"dropout": 0.1}}, "continue texts and have no classifier"),
        (LLAMA, {"method": "single", "options": {"dropout": 0.1}}, "continue texts and have no classifier"),
        (
            BERT,
            {"augmentation": {"flip": True}},
            "augmentation is for images, and data source 'labelled_text'",
        ),
        (LLAMA, {"augmentation": {"mixup": 0.2}}, "training.augmentation is for images, and data source 'text'"),
        ({}, {"augmentation": {"policy": "autoaugment"}}, "AutoAugment wants images of 3 channels; these have 1"),
        (STITCHED, {"method": "progressive"}, "the largest network, but that of stitched/cifar lacks 13 layers"),
        (VIT, {"method": "progressive"}, None),
        (VIT, {"method": "sortednet", "options": {"exits": True}}, None),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_the_reason(parts, training, says):
    given = {"recipe": "bignas", **parts, "training": training}
    if says is None:
        JobSpec.model_validate(given)
        return
    with pytest.raises(ValidationError) as raised:
        JobSpec.model_validate(given)
    assert says in str(raised.value)


@pytest.mark.parametrize("parts", [{}, VIT, BERT, {**LLAMA, "recipe": "bignas", "objectives": PERPLEXITY}])
def test_every_family_with_residual_branches_may_have_drop_connect(parts):
    spec = JobSpec.model_validate({"recipe": "bignas", **parts, "training": {"options": {"drop_connect": 0.2}}})
    assert spec.training.options["drop_connect"] == 0.2


def test_a_family_whose_layers_name_no_branches_is_refused():
    space = load_family("mobilenet", "digits")
    plain = SimpleNamespace(
        name="mine/small",
        takes=space.takes,
        largest=space.largest,
        layers=lambda one: {n: s for n, s in space.layers(one).items() if not s.branches()},
    )
    for options in (BigNASOptions(drop_connect=0.2), SingleOptions(drop_connect=0.2)):
        assert "no layer of mine/small names residual branches" in options.misfit(plain)
        assert options.misfit(space) is None
    assert BigNASOptions().misfit(plain) is None


def test_exits_of_a_space_whose_depths_are_no_beginnings_are_refused():
    said = SortedNetOptions(exits=True).misfit(load_family("mobilenet", "digits"))
    assert "exits needs a space whose shallower networks are the first layers" in said


def test_a_stored_job_of_an_older_version_that_ignored_an_option_stays_readable():
    stored = JobSpec.model_validate({**LLAMA, "recipe": "bignas", "objectives": PERPLEXITY}).model_dump(mode="json")
    stored["training"]["options"]["dropout"] = 0.1
    with pytest.raises(ValidationError):
        JobSpec.model_validate(stored)
    assert read_job(stored).training.options["dropout"] == 0.1
    reusing = {**stored, "supernet": {**stored["supernet"], "reuse": "abc"}}
    assert JobSpec.model_validate(reusing).supernet.reuse == "abc"  # it trains nothing
