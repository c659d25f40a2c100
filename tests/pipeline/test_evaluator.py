"""What a job's evaluator says of a network besides the scores of its exams."""

import pytest
import torch
from pydantic import ValidationError

from job.spec import JobSpec
from pipeline.workshop import make_evaluator
from search_space.plugins import load_family
from supernet.data import load_dataset
from supernet.label_gradient_alignment import label_gradient_alignment
from supernet.network import Supernet, extract

ALIGNED = [{"metric": "label_gradient_alignment"}, {"metric": "params"}]


@pytest.mark.thorough
def test_alignment_is_a_metric_of_labelled_data():
    spec = JobSpec.model_validate({"recipe": "bignas", "objectives": ALIGNED})
    data = load_dataset("digits", 0)
    torch.manual_seed(0)
    supernet = Supernet(spec.supernet.space())
    evaluator = make_evaluator(spec, supernet, data)
    small, large = spec.supernet.space().smallest(), spec.supernet.space().largest()
    first, second = evaluator.evaluate([small, large])
    (again,) = evaluator.evaluate([small])
    assert first.metrics == again.metrics
    assert first.source_of("label_gradient_alignment") == "measured"
    labelled = evaluator._labelled
    assert labelled.targets.bincount().tolist() == [6] * 10  # as many of every class, of 64 at most
    for each in (first, second):
        network = evaluator.network(each.architecture)
        expected = label_gradient_alignment(network, labelled.x, labelled.targets)
        assert each.metrics["label_gradient_alignment"] == pytest.approx(expected)
        assert -1 <= expected <= 1
    plain = JobSpec.model_validate({"recipe": "bignas"})
    assert "label_gradient_alignment" not in make_evaluator(plain, supernet, data).evaluate([small])[0].metrics


def test_padding_does_not_pull_at_a_networks_alignment():
    space = load_family("bert", preset="tiny")
    torch.manual_seed(0)
    network = extract(Supernet(space), space.smallest()).eval()
    tokens, labels = torch.randint(1, 100, (8, 5)), torch.arange(8) % 2
    mask = torch.ones(8, 5, dtype=torch.bool)
    alone = label_gradient_alignment(network, {"input": tokens, "mask": mask}, labels)
    longer, longer_mask = (torch.nn.functional.pad(tensor, (0, 4)) for tensor in (tokens, mask))
    padded = {"input": longer, "mask": longer_mask}
    assert label_gradient_alignment(network, padded, labels) == pytest.approx(alone, abs=1e-6)
    assert label_gradient_alignment(network, longer, labels) != pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"recipe": "llama-nas", "data": {"source": "text", "path": "corpus.txt"}}, "have no label_gradient_alignment"),
        ({"recipe": "simq_nas"}, "not by label_gradient_alignment"),
    ],
)
def test_it_is_refused_where_there_is_none(changes, says):
    with pytest.raises(ValidationError, match=says):
        JobSpec.model_validate({**changes, "objectives": ALIGNED})
