"""What is kept of a job's data: enough for every export, and to notice other data."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from export.bundle import sha256_of
from export.verify import VerificationError
from job.spec import JobSpec
from pipeline import samples
from pipeline.artifacts import ArtifactDamaged
from pipeline.exporting import CannotExport, ExportOrder, escaped, make_export
from pipeline.materials import fresh_supernet, prepare_data
from pipeline.own_data import companion_files, without_tokenizer
from pipeline.shipping import rounded
from pipeline.workshop import images_of, make_evaluator
from service.fronts import Compared
from service.store.models import Artifact, EvaluationRow, Finalist, Job
from service.store.records import SharingCost
from supernet.calibrate import DELIVERED_IMAGES
from supernet.data import IN_MEMORY, Dataset, Split, Standardisation, load_dataset
from supernet.data.images import channel_statistics
from supernet.data.on_disk import ImageFile, ImagesOnDisk, moments
from supernet.evaluate import score
from supernet.evaluator import Evaluator
from supernet.flat import own_tensors
from supernet.network import Supernet
from supernet.options import AugmentationOptions
from tests.pipeline.bench import MemoryReporter, keep, workshop
from tests.pipeline.llama_bench import evaluator_of, llama_spec, text_file
from tests.pipeline.test_checkpoint_job import bert, text_spec, texts
from tests.pipeline.test_sixteen_bits import in_type
from tests.tiny_data import grey_images, picture

QUANTIZED = {"recipe": "simq_nas", "quantization": {"bits": [8, 32], "tie": "block"}}


class Reporter(MemoryReporter):
    """Knows the files of another job as well."""

    def __init__(self, theirs: MemoryReporter | None = None) -> None:
        super().__init__()
        self.theirs = theirs

    def artifacts_of(self, job_id: str, kind: str) -> list[Artifact]:
        return [] if self.theirs is None else self.theirs.artifacts(kind)


def digits() -> Dataset:
    return load_dataset("digits", 0)


NO_CROPS = AugmentationOptions(flip=True)
CROPPED = {"training": {"augmentation": {"crop_padding": 2}}}


@pytest.mark.parametrize("parts", [{}, QUANTIZED, CROPPED])
def test_a_network_made_from_what_was_kept_is_the_same_to_the_bit(tmp_path: Path, parts) -> None:
    shop = workshop(tmp_path, Reporter(), **parts)
    keep(shop, digits())
    (file,) = shop.reporter.artifacts("samples")
    kept = samples.read(shop.artifacts, file)
    torch.manual_seed(0)
    supernet = Supernet(shop.space)
    space = shop.spec.space()
    architecture = space.sample(np.random.default_rng(0))
    for delivered in (False, True):
        first = make_evaluator(shop.spec, supernet, digits(), delivered=delivered).network(architecture)
        ready = make_evaluator(shop.spec, supernet, kept.data, calibrated=kept.calibrated, delivered=delivered)
        again, x = ready.network(architecture), kept.data.test.x
        with torch.no_grad():
            assert torch.equal(first.eval()(x), again.eval()(x))
    assert kept.counts == {name: len(split) for name, split in digits().splits.items()}
    assert kept.data.preprocessing == digits().preprocessing
    assert torch.equal(kept.data.test.x, digits().test.x)
    assert "pickle" not in json.dumps(samples.facts_of(shop.artifacts, file))


def test_crops_of_whole_pictures_need_no_pictures_any_more(tmp_path: Path) -> None:
    options = grey_images(tmp_path / "source")
    for file in (tmp_path / "source").rglob("*.png"):
        picture(int(file.parent.name[-1]) % 3, int(file.stem), (30, 20)).save(file)
    cropped = {"batch_size": 32, "augmentation": {"resized_crop": 0.2, "flip": True}}
    shop = workshop(tmp_path, Reporter(), data={"source": "images", **options}, training=cropped)
    data = prepare_data(shop.spec, shop.space, torch.device("cpu"))
    keep(shop, data)
    (file,) = shop.reporter.artifacts("samples")
    torch.manual_seed(0)
    supernet, architecture = Supernet(shop.space), shop.space.sample(np.random.default_rng(0))
    plain = shop.spec.model_copy(update={"training": shop.spec.training.model_copy(update={"augmentation": NO_CROPS})})
    networks = [
        make_evaluator(spec, supernet, data, delivered=True).network(architecture) for spec in (shop.spec, plain)
    ]
    shutil.rmtree(tmp_path / "source")
    kept = samples.read(shop.artifacts, file)
    again = make_evaluator(shop.spec, supernet, kept.data, calibrated=kept.calibrated, delivered=True)
    with torch.no_grad():
        first, other, read = (one.eval()(data.test.x) for one in (*networks, again.network(architecture)))
    assert torch.equal(first, read)
    assert not torch.equal(first, other)


def test_data_are_kept_once_and_others_are_noticed(tmp_path: Path) -> None:
    reporter = Reporter()
    shop = workshop(tmp_path, reporter)
    data = digits()
    for _ in range(2):
        keep(shop, data)
    assert (len(reporter.artifacts("samples")), reporter.messages) == (1, [])
    brighter = replace(data.train, stored=data.train.stored.clone().index_fill_(0, torch.tensor([3]), 9))
    fewer = data.validation.take(torch.arange(10))
    for other, says in (
        (replace(data, train=brighter), "samples of train are others"),
        (replace(data, validation=fewer), "validation has 10 samples and had"),
        (replace(data, preprocessing={**data.preprocessing, "mean": [4.0]}), "mean is [4.0] and was"),
        (replace(data, preprocessing={**data.preprocessing, "labels": ["a"]}), 'labels is ["a"] and was ["0"'),
        (replace(data, test=replace(data.test, y=data.test.y.flip(0))), "samples of test are others"),
    ):
        keep(shop, other)
        assert "The data are not those that this job began with" in reporter.messages[-1]
        assert says in reporter.messages[-1]
    reusing = workshop(tmp_path, Reporter(reporter), "other")
    reusing = replace(reusing, spec=_reusing(reusing.spec))
    keep(reusing, replace(data, train=brighter))
    assert "supernet job was trained on: samples of train are others." in reusing.reporter.messages[0]
    kept = samples.read(reusing.artifacts, reusing.reporter.artifacts("samples")[0])
    assert kept.told == ("samples of train are others",)


def _reusing(spec: JobSpec) -> JobSpec:
    given = spec.model_dump(mode="json")
    return JobSpec.model_validate({**given, "supernet": {**given["supernet"], "reuse": "job"}})


def test_networks_that_are_delivered_are_calibrated_on_more_images(tmp_path: Path) -> None:
    shop = workshop(tmp_path, Reporter(), search={"evaluations": 6, "calibration_images": 64})
    assert (images_of(shop.spec, delivered=False), images_of(shop.spec, delivered=True)) == (64, DELIVERED_IMAGES)
    keep(shop, digits())
    kept = samples.read(shop.artifacts, shop.reporter.artifacts("samples")[0])
    assert kept.calibrated.images is not None
    assert len(kept.calibrated.images) == min(DELIVERED_IMAGES, len(digits().train))


@pytest.mark.thorough
def test_a_job_of_an_older_version_stays_calibrated_as_it_was(tmp_path: Path) -> None:
    """Its numbers are of networks that saw plain images, and few of them."""
    shop = workshop(tmp_path, Reporter(), search={"evaluations": 6, "calibration_images": 64}, **CROPPED)
    data, architecture = digits(), shop.space.smallest()
    tensors, facts = samples.packed(shop.spec, shop.space, data)
    tensors |= {f"calibration.{part}": tensors[f"calibration.{part}"][:64] for part in ("stored", "y")}
    old = {**facts, **samples.described(data), "format": "winnow-samples/1", "differs": []}
    path = "supernets/old.safetensors"
    shop.files.save("samples", path, tensors, 0, {"winnow": json.dumps(old)})
    kept = samples.read(shop.artifacts, shop.reporter.artifacts("samples")[0])
    torch.manual_seed(0)
    supernet = Supernet(shop.space)
    got = make_evaluator(shop.spec, supernet, kept.data, calibrated=kept.calibrated, delivered=True)
    then = Evaluator(supernet, data, 64, shop.spec.training.seed)
    x = kept.data.test.x
    with torch.no_grad():
        assert torch.equal(got.network(architecture)(x), then.network(architecture)(x))


def test_the_same_images_are_known_again_in_memory_and_in_a_file(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 4), dtype=np.uint8)
    (tmp_path / "images").write_bytes(images.tobytes())
    sums = np.stack([moments(image) for image in images])
    order = np.array([2, 0, 5])
    on_disk = ImagesOnDisk(ImageFile(tmp_path / "images", (6, 3, 4, 4)), order, sums)
    labels = torch.tensor([0, 1, 0])
    standardisation = Standardisation(*channel_statistics(images), 255.0)
    there = samples.fingerprint(Split(on_disk, labels, standardisation))
    here = samples.fingerprint(Split(torch.from_numpy(images[order]), labels, standardisation))
    assert there["sums"] == here["sums"]
    mirrored = samples.fingerprint(Split(torch.from_numpy(images[order][..., ::-1].copy()), labels))
    assert mirrored["bytes"] != here["bytes"]
    images[2, 0, 0, 0] ^= 1
    changed = samples.fingerprint(Split(torch.from_numpy(images[order]), labels))
    assert changed["sums"] != there["sums"]


def test_large_splits_are_sampled_the_same_way_every_time(monkeypatch) -> None:
    monkeypatch.setattr(samples, "MOST", 40)
    first, again = (samples.sampled(digits(), 0) for _ in range(2))
    assert len(first.data.test) == 40
    assert torch.equal(first.data.test.y, again.data.test.y)
    assert first.counts["test"] == 360
    assert len(first.data.test.y.unique()) > 5  # not the first ones, which may all be of one class


# --- exports ---------------------------------------------------------------------------------------


def order_of(shop, evaluator: Evaluator, data: Dataset, name: str = "n", **changes) -> ExportOrder:
    """An order for the smallest network, as the database has it."""
    space = shop.spec.space()
    architecture = space.smallest()
    network = evaluator.network(architecture)
    test = {f"test_{data.metric}": score(network, data.test), **changes}
    metrics = {data.metric: score(network, data.validation)}
    written = shop.artifacts.save("supernets/job.safetensors", own_tensors(evaluator.supernet))
    facts = {"kind": "supernet", "path": written.path, "sha256": written.sha256, "size_bytes": 1, "step": 0}
    kept, measured = shop.reporter.artifacts("samples"), dict.fromkeys(test, "measured")
    row = {"architecture_id": architecture.id, "values": architecture.values, "metrics": metrics}
    return ExportOrder(
        Job(id="job", name=name, spec=shop.spec.model_dump(mode="json"), environment=None),
        EvaluationRow(job_id="job", sources=dict.fromkeys(metrics, "measured"), **row),
        Finalist(architecture_id=architecture.id, position=1, metrics=test, sources=measured, measurements=[]),
        1,
        Artifact(**facts),
        kept[0] if kept else None,
    )


@pytest.mark.thorough  # a model of answers is verified in the same way on every run
def test_a_language_model_is_verified_by_its_perplexity_without_its_data(tmp_path: Path) -> None:
    text = text_file(tmp_path)
    spec = llama_spec(text)
    evaluator = evaluator_of(spec)
    shop = replace(workshop(tmp_path, Reporter()), spec=spec, space=spec.supernet.space())
    data = load_dataset("text", spec.training.seed, spec.data)
    keep(shop, data)
    cost = SharingCost(
        architecture_id="abc",
        values={},
        metric="perplexity",
        sliced=9.5,
        alone=8.25,
        samples=4,
        error=None,
        epochs=3,
        share=0.2,
    )
    order = replace(order_of(shop, evaluator, data, name="[a](b) *c* | `d`"), sharing=(cost,))
    text.unlink()
    bundle = make_export(order, shop.artifacts, 1, IN_MEMORY)
    promised = order.finalist.metrics["test_perplexity"]
    for found in bundle.report["formats"].values():
        assert found["metric"] == "perplexity"
        assert found["perplexity"] == pytest.approx(promised, rel=1e-3)
        low, high = found["interval_95"]
        assert low < found["perplexity"] < high
    assert bundle.report["front"]["value"] == promised
    assert bundle.archive.name.startswith("job-")
    card = (bundle.folder / "README.md").read_text()
    assert f"test_perplexity {promised:.6g}" in card
    assert "- abc: perplexity 9.5 sliced from the supernet, 8.25 trained alone for the same 3 epochs" in card
    assert "`perplexity` is on the validation split" in card
    assert "| transformers | 5." in card
    assert r"(\[a\](b) \*c\* \| \`d\`)" in card

    assert "texts of 16 tokens; longer ones were not tried" in card
    assert "To be cited: LLaMA-NAS, [arXiv:2405.18377]" in card
    assert re.search("batch.?norm", card) is None

    named = make_export(replace(order, formats=("huggingface",)), shop.artifacts, 1, IN_MEMORY)
    assert named.archive.name.endswith("-huggingface.tar.gz")
    found = named.report["formats"]["huggingface"]
    assert found["against_front"]["kept"]
    assert found["greedy_tokens"]["parted_at"] is None
    head = yaml.safe_load((named.folder / "README.md").read_text().split("---")[1])
    assert (head["library_name"], head["pipeline_tag"]) == ("transformers", "text-generation")
    assert head["metrics"] == ["perplexity"]
    assert "python load.py" not in (named.folder / "README.md").read_text()

    far = order_of(shop, evaluator, data, test_perplexity=promised / 3)
    with pytest.raises(VerificationError, match="but the front says test_perplexity"):
        make_export(far, shop.artifacts, 1, IN_MEMORY)
    with pytest.raises(CannotExport, match="its score is no number"):
        make_export(order_of(shop, evaluator, data, test_perplexity=None), shop.artifacts, 1, IN_MEMORY)


def test_the_card_says_what_a_stranger_needs(tmp_path: Path) -> None:
    shop = workshop(tmp_path, Reporter())
    keep(shop, digits())
    torch.manual_seed(0)
    evaluator = make_evaluator(shop.spec, Supernet(shop.space), digits())
    order = order_of(shop, evaluator, digits())
    scored, network = order.finalist.metrics["test_accuracy"], order.evaluation.architecture_id
    order.finalist.intervals = {"test_accuracy": (0.01, 0.25)}
    order.finalist.measurements = [
        {"median_ms": 1.25, "p95_ms": 1.5, "runs": 9, "target": "cpu-onnx", "device": "a CPU", "threads": 1}
        | {"batch": 1, "dtype": "float32", "versions": {"onnxruntime": "1.2.3"}}
    ]
    reference = Compared("largest network", {"test_accuracy": 2 * scored})
    formats = ("onnx", "winnow")
    bundle = make_export(replace(order, reference=reference, formats=formats), shop.artifacts, 1, IN_MEMORY)
    card = (bundle.folder / "README.md").read_text()

    head = ModelCard(card).data.to_dict()  # as the Hub reads it
    assert (head["license"], head["library_name"]) == ("other", "pytorch")
    assert (head["datasets"], head["metrics"], head["pipeline_tag"]) == (
        ["digits"],
        ["accuracy"],
        "image-classification",
    )
    assert {"onnx", "winnow"} < set(head["tags"])
    assert "base_model" not in head

    row = f"| test_accuracy | {scored:,.6g} | 0.01 to 0.25 | measured | {2 * scored:,.6g} | 0.5 |"
    counts, prepared = {name: len(split) for name, split in digits().splits.items()}, digits().preprocessing
    for told in (
        f"# {shop.space.name} {network}",
        "A sub-network of the supernet that job job (n) trained. Position 1 of 1 on the job's Pareto front.",
        "Its weights are a slice of the supernet's, with batch-norm statistics of its own; it was not retrained.",
        f"| metric | value | 95 % | how it was obtained | {reference.name} | share of the {reference.name}'s |",
        row,
        "- 1.25 ms median, 1.5 ms p95 over 9 runs: cpu-onnx, a CPU, 1 thread, batch 1, float32, onnxruntime 1.2.3.",
        f"Examples: {counts['train']:,} for training, {counts['validation']:,} for the search, {counts['test']:,} for",
        f"trained for {shop.spec.training.epochs} epoch",
        f"Input: {prepared['input']}; {prepared['formula']} with mean {prepared['mean'][0]:.6g} and std ",
        "## Limits\n\n- `accuracy` and `test_accuracy` are of the data named above.",
        "Times are of the devices and runtimes named above.",
        "To be cited: BigNAS, [arXiv:2003.11142](https://arxiv.org/abs/2003.11142).",
        "## How to load it",
        "`onnx/`: ",
        "`winnow/`: ",
        f"torch {torch.__version__}",
        "| onnxruntime | ",
    ):
        assert told in card, told
    for name in ("onnx/model.onnx", "winnow/model.safetensors", "verification.json"):
        file = bundle.folder / name
        assert f"| `{name}` | {file.stat().st_size} | `{sha256_of(file)}` |" in card


@pytest.mark.parametrize("harm", ["gone", "cut"])
@pytest.mark.parametrize("kind", ["supernet", "kept samples"])
def test_a_supernet_that_is_gone_is_said_in_a_line_with_what_to_do(tmp_path: Path, kind: str, harm: str) -> None:
    shop = workshop(tmp_path, Reporter())
    keep(shop, digits())
    order = order_of(shop, make_evaluator(shop.spec, Supernet(shop.space), digits()), digits())
    file = shop.artifacts.root / (order.weights if kind == "supernet" else order.samples).path
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CannotExport) as raised:
        make_export(order, shop.artifacts, 1, IN_MEMORY)
    wrong = "is missing" if harm == "gone" else "is not the file that was written: its sha256 differs"
    assert str(raised.value) == (
        f"The {kind} of job job cannot be read: {file} {wrong}. Bring the file back from a backup of the artifacts and "
        "export again, or have it made anew: winnow clone job."
    )
    assert not (shop.artifacts.root / "exports").exists()


def test_of_a_supernet_of_another_job_that_one_is_named(tmp_path: Path) -> None:
    shop = workshop(tmp_path, Reporter())
    order = order_of(shop, make_evaluator(shop.spec, Supernet(shop.space), digits()), digits())
    given = {**order.job.spec, "supernet": {**order.job.spec["supernet"], "reuse": "older"}}
    order.job.spec = given
    (shop.artifacts.root / order.weights.path).unlink()
    with pytest.raises(CannotExport, match=r"winnow clone older\.$"):
        make_export(order, shop.artifacts, 1, IN_MEMORY)


@pytest.mark.thorough
def test_a_front_is_exported_with_its_supernet(tmp_path: Path) -> None:
    """Each network as the front has it: calibrated by itself, with its numbers."""
    shop = workshop(tmp_path, Reporter())
    keep(shop, digits())
    torch.manual_seed(0)
    evaluator = make_evaluator(shop.spec, Supernet(shop.space), digits())
    order = order_of(shop, evaluator, digits())
    largest = shop.spec.space().largest()
    row = EvaluationRow(
        job_id="job", architecture_id=largest.id, values=largest.values, metrics={"accuracy": 0.25}, sources={}
    )
    finalist = Finalist(job_id="job", architecture_id=largest.id, position=2, metrics={"latency_ms": 2.0})
    named = replace(order, formats=("supernet",), front=((row, finalist),))
    bundle = make_export(named, shop.artifacts, 1, IN_MEMORY)
    front = json.loads((bundle.folder / "supernet" / "front.json").read_text())
    assert front["exported"] == order.evaluation.architecture_id
    assert next(iter(front["objectives"])) == "accuracy"
    numbers = {network["id"]: network["metrics"] for network in front["networks"]}
    assert numbers[largest.id] == {"accuracy": 0.25, "latency_ms": 2.0}
    delivered = make_evaluator(shop.spec, evaluator.supernet, digits(), delivered=True)
    expected = delivered.network(largest).state_dict()
    own = load_file(bundle.folder / "supernet" / "networks.safetensors")
    assert own.keys() >= {f"{largest.id}.{name}" for name in expected if name.endswith("running_mean")}
    assert all(torch.equal(own[f"{largest.id}.{n}"], t) for n, t in expected.items() if n.endswith("running_var"))


@pytest.mark.thorough
def test_a_checkpoint_of_16_bits_with_classes_in_its_own_order_needs_no_data_either(tmp_path: Path) -> None:
    checkpoint = in_type(bert(tmp_path / "ck", ("neg", "pos")), torch.bfloat16)
    path = texts(tmp_path, {"good": "neg", "bad": "pos"})
    spec = text_spec(checkpoint, path)
    shop = replace(workshop(tmp_path, Reporter()), spec=spec, space=spec.supernet.space())
    data = prepare_data(spec, shop.space, torch.device("cpu"))
    keep(shop, data)
    evaluator = make_evaluator(spec, rounded(fresh_supernet(spec, shop.space, data, torch.device("cpu")), spec), data)
    order = order_of(shop, evaluator, data)
    path.unlink()
    bundle = make_export(order, shop.artifacts, 1, IN_MEMORY)
    facts = json.loads((bundle.folder / "architecture.json").read_text())
    assert facts["dtype"] == "bfloat16"
    assert facts["preprocessing"]["labels"] == ["neg", "pos"]
    assert {value.dtype for value in load_file(bundle.folder / "model.safetensors").values()} == {torch.bfloat16}
    found = bundle.report["formats"]
    assert found["safetensors"]["max_abs_difference"] == 0
    assert all(one["against_front"]["kept"] and one["interval_95"] for one in found.values())
    card = (bundle.folder / "README.md").read_text()
    assert "## Checkpoint" in card
    assert "batch-norm" not in card
    head = ModelCard(card).data.to_dict()
    assert (head["base_model"], head["pipeline_tag"]) == ("ck", "text-classification")


def test_a_tokenizer_that_is_gone_is_said(tmp_path: Path) -> None:
    spec = text_spec(bert(tmp_path / "ck", ("neg", "pos")), texts(tmp_path, {"good": "neg", "bad": "pos"}))
    assert without_tokenizer(spec) is None  # bytes need none
    reads = spec.model_copy(update={"data": spec.data.model_copy(update={"tokenizer": str(tmp_path / "ck")})})
    assert f"not in {tmp_path / 'ck'} any more" in without_tokenizer(reads)
    (tmp_path / "ck" / "tokenizer.json").write_text("{}")
    assert without_tokenizer(reads) is None
    assert companion_files(reads) == (tmp_path / "ck" / "tokenizer.json",)


@pytest.mark.thorough
def test_a_job_of_an_older_version_is_exported_from_its_data_and_says_so(tmp_path: Path) -> None:
    shop = workshop(tmp_path, Reporter())
    from supernet.network import Supernet

    torch.manual_seed(0)
    evaluator = make_evaluator(shop.spec, Supernet(shop.space), digits())
    bundle = make_export(order_of(shop, evaluator, digits()), shop.artifacts, 1, IN_MEMORY)
    assert "an older version ran it" in (bundle.folder / "README.md").read_text()
    assert bundle.report["formats"]["onnx"]["against_front"]["kept"]


def test_kept_samples_that_are_damaged_are_refused(tmp_path: Path) -> None:
    shop = workshop(tmp_path, Reporter())
    keep(shop, digits())
    (file,) = shop.reporter.artifacts("samples")
    path = shop.artifacts.root / file.path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactDamaged):
        samples.read(shop.artifacts, file)
    path.unlink()
    keep(shop, digits())
    assert "cannot be read" in shop.reporter.messages[-1]


def test_names_are_shown_in_cards_as_they_are() -> None:
    assert escaped("a\nb <i> [x](y) `z`") == r"a\\nb \<i\> \[x\](y) \`z\`"


@pytest.mark.thorough
def test_a_model_of_answers_is_verified_on_its_answers_alone(tmp_path: Path) -> None:
    rows = [json.dumps({"q": f"{i}+{i}", "a": str(2 * i)}) for i in range(60)]
    path = tmp_path / "sums.jsonl"
    path.write_text("\n".join(rows))
    words = {"source": "instructions", "path": str(path), "length": 16, "answer": "a", "template": "{q}="}
    spec = llama_spec(path, data=words)
    evaluator = evaluator_of(spec)
    shop = replace(workshop(tmp_path, Reporter()), spec=spec, space=spec.supernet.space())
    data = load_dataset("instructions", spec.training.seed, spec.data)
    keep(shop, data)
    order = order_of(shop, evaluator, data)
    path.unlink()
    bundle = make_export(order, shop.artifacts, 1, IN_MEMORY)
    promised = order.finalist.metrics["test_perplexity"]
    for found in bundle.report["formats"].values():
        assert found["perplexity"] == pytest.approx(promised, rel=1e-3)
    facts = json.loads((bundle.folder / "architecture.json").read_text())
    assert "the template '{q}='" in facts["preprocessing"]["template"]
