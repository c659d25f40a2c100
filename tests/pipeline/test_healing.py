"""The stage that heals, on a small job whose front is found once: what is chosen, stored, refused and shipped."""

from __future__ import annotations

import copy
import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM

from job.resolve import resolve
from job.spec import JobSpec
from pipeline import finalists, healing, stages
from pipeline.artifacts import ArtifactStore
from pipeline.exams import exams_of, held_out_exams_of
from pipeline.healing import Healer
from pipeline.healing_choice import chosen_networks, spread
from pipeline.materials import prepare_data
from pipeline.reporter import Interrupted
from pipeline.workshop import JobFailed, Workshop, make_evaluator
from search.fidelities.correlation import rank_correlations
from service.settings import Settings
from service.store.records import FrontRecord, HealedFront, HealedNetwork, HealingPlan, HealingPoint
from supernet import answers
from supernet.flat import load_tensors
from supernet.healing import by_itself
from supernet.network import extract
from tests.pipeline.bench import MemoryReporter, train_supernet
from tests.pipeline.llama_bench import llama_spec
from tests.supernet.checkpoints import TEXT, save

CPU = torch.device("cpu")


class _Millisecond:
    """This machine, on which every file takes a millisecond."""

    def __init__(self, _runtime: Any) -> None:
        self.place: dict[str, Any] = {}

    def measure(self, models: Any, *_asked: Any) -> list[Any]:
        return [[{"median_ms": 1.0}] for _ in models]


@dataclass(frozen=True)
class Found:
    """A job that has found its front, in a folder."""

    spec: JobSpec
    reporter: MemoryReporter
    folder: Path

    def shop(self, folder: Path, **part: Any) -> Workshop:
        """A copy of the job that is to heal."""
        shutil.copytree(self.folder / "artifacts", folder / "artifacts", dirs_exist_ok=True)
        return _shop(self.spec, copy.deepcopy(self.reporter), folder, part)


def _shop(spec: JobSpec, reporter: MemoryReporter, folder: Path, part: dict[str, Any] | None) -> Workshop:
    given = spec.model_dump(mode="json") | {"healing": part}
    if part and not isinstance(part.get("networks", ""), str):
        given["supernet"]["reuse"] = "job"
    spec = resolve(JobSpec.model_validate(given))
    settings = Settings(data_dir=folder, database_url=None, redis_url=None, checkpoint_seconds=0)
    artifacts = ArtifactStore(folder / "artifacts")
    return Workshop("job", spec, spec.supernet.space(), reporter, artifacts, settings, CPU)  # type: ignore[arg-type]


def _found(spec: JobSpec, folder: Path) -> Found:
    reporter = MemoryReporter()
    shop = _shop(spec, reporter, folder, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finalists, "LocalBench", _Millisecond)
        patch.setattr(finalists, "write_measurable", lambda *_network: Path())
        stages.search_supernet(shop, prepare_data(shop.spec, shop.space, CPU))
    return Found(spec, reporter, folder)


def words_file(folder: Path, count: int, seed: int = 0) -> Path:
    """Words in any order: what follows within a word can be learned, and slices forget it."""
    folder.mkdir(exist_ok=True)
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]
    path = folder / "words.txt"
    path.write_text(" ".join(np.random.default_rng(seed).choice(words, count)))
    return path


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """A llama of bytes whose networks are compared with the full one: perplexity, divergence and size."""
    folder = tmp_path_factory.mktemp("found")
    goals = [{"metric": "perplexity"}, {"metric": "params"}, {"metric": "kl_divergence"}]
    scoring = {"quantize_front": ["int8_weight"]}
    search = {"algorithm": "random", "evaluations": 8, "options": {"batch": 8}}
    given = llama_spec(words_file(folder, 1000)).model_dump(mode="json")
    training = {**given["training"], "method": "single", "options": {"architecture": "largest"}, "epochs": 2}
    search = {**given["search"], **search}
    return _found(
        JobSpec.model_validate(
            {**given, "objectives": goals, "search": search, "training": training, "scoring": scoring}
        ),
        folder,
    )


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def heal(shop: Workshop) -> list[HealedNetwork]:
    data = prepare_data(shop.spec, shop.space, CPU)
    asked = shop.spec, shop.space, data, None
    Healer(shop, data, exams_of(*asked), held_out_exams_of(*asked)).run(train_supernet(shop, data))
    return shop.reporter.records(HealedNetwork)


def on_front(found: Found) -> list[str]:
    (front,) = found.reporter.records(FrontRecord)
    largest = found.spec.supernet.space().largest().id
    return [point.architecture_id for point in front.points if point.architecture_id != largest]


QUICK = {"steps": 24, "validations": 4, "learning_rate": 1e-3, "batch_size": 16}


def test_both_numbers_are_kept_with_the_cost_beside_them(texts: Found, tmp_path: Path) -> None:
    shop = texts.shop(tmp_path, networks="front", most=3, patience=None, **QUICK)
    networks = heal(shop)
    assert [one.architecture_id for one in networks] == spread(on_front(texts), 3, knee_of(texts))
    rows = {row.architecture_id: row for row in texts.reporter.evaluated}
    for one in networks:
        assert one.refused is None
        assert one.before["perplexity"] == rows[one.architecture_id].metrics["perplexity"]
        assert one.after is not None
        assert set(one.after) == set(one.before)
        in_fewer_bits = "test_perplexity_int8_weight"
        assert {"kl_divergence", "test_perplexity", "latency_ms", in_fewer_bits} < set(one.after)
        assert one.after[in_fewer_bits] == pytest.approx(one.after["test_perplexity"], rel=0.05)
        assert one.before[in_fewer_bits] != one.after[in_fewer_bits]
        assert one.after["params"] == one.before["params"]
        assert one.after["latency_ms"] == one.before["latency_ms"]
        assert (one.steps, one.examples, one.tokens) == (24, 24 * 16, 24 * 16 * 16)
        assert one.teacher == "largest network"
        assert one.metric == "perplexity"
        points = [
            point for point in reporter_of(shop).records(HealingPoint) if point.architecture_id == one.architecture_id
        ]
        assert [point.step for point in points] == [6, 12, 18, 24]
        scores = {point.step: point.shown["perplexity"] for point in points}
        assert one.best_step == min(scores, key=lambda step: scores[step] or 0)
        assert one.after["perplexity"] == scores[one.best_step]
        assert one.better
        assert (one.after["kl_divergence"] or 0) < (one.before["kl_divergence"] or 0)
        assert f"{one.architecture_id}: perplexity" in "".join(reporter_of(shop).messages)
    (front,) = reporter_of(shop).records(HealedFront)
    assert {point.architecture_id for point in front.points if point.healed} <= {
        one.architecture_id for one in networks
    }
    assert any(point.healed for point in front.points)
    assert (front.hypervolume_after or 0) > (front.hypervolume_before or 0)
    pairs = [(one.before["perplexity"], (one.after or {})["perplexity"]) for one in networks]
    assert front.rank_correlation == rank_correlations(pairs)[0]  # type: ignore[arg-type]
    assert not reporter_of(shop).artifacts("checkpoint h0")
    assert not reporter_of(shop).artifacts("best checkpoint h0")
    # The front that was measured stays what it was.
    assert reporter_of(shop).records(FrontRecord) == texts.reporter.records(FrontRecord)


def reporter_of(shop: Workshop) -> MemoryReporter:
    reporter: Any = shop.reporter
    assert isinstance(reporter, MemoryReporter)
    return reporter


def knee_of(found: Found) -> str | None:
    (front,) = found.reporter.records(FrontRecord)
    return front.knee if front.knee in on_front(found) else None


def test_the_stored_weights_are_those_that_scored_what_is_said(texts: Found, tmp_path: Path) -> None:
    name = on_front(texts)[-1]
    shop = texts.shop(tmp_path, networks=[name], **QUICK)
    (one,) = heal(shop)
    (file,) = reporter_of(shop).artifacts("healed")
    assert file.path == f"healed/job/{name}.safetensors"
    row = next(row for row in texts.reporter.evaluated if row.architecture_id == name)
    architecture = shop.space.architecture(**row.values)
    data = prepare_data(shop.spec, shop.space, CPU)
    supernet = train_supernet(shop, data)
    own = by_itself(shop.space, architecture, extract(supernet, architecture), CPU)
    load_tensors(own, shop.files.load(file))
    (scored,) = make_evaluator(shop.spec, own, data, full=supernet).evaluate([architecture])
    assert one.after is not None
    assert scored.metrics["perplexity"] == one.after["perplexity"]


def test_an_interrupted_healing_goes_on_to_the_same_weights(texts: Found, tmp_path: Path) -> None:
    """Paused at every few reports: the network, its scores and its file are as if nothing had happened."""
    part = {"networks": [on_front(texts)[0]], "hidden": 0.5, **QUICK}
    whole = texts.shop(tmp_path / "whole", **part)
    expected = heal(whole)
    cut = texts.shop(tmp_path / "cut", **part)
    reporter = reporter_of(cut)
    pauses = 0
    while True:
        reporter.progressed, reporter.interrupt_at = 0, 7
        try:
            found = heal(cut)
            break
        except Interrupted:
            pauses += 1
    assert pauses >= 3
    assert [one.model_copy(update={"seconds": 0}) for one in found] == [
        one.model_copy(update={"seconds": 0}) for one in expected
    ]
    files = [[file.sha256 for file in reporter_of(shop).artifacts("healed")] for shop in (whole, cut)]
    assert files[0] == files[1]


@pytest.mark.thorough
def test_networks_that_heal_on_the_same_batches_ask_their_parent_once(
    texts: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "FASTER", 0.0)
    part = {"networks": "front", "most": 3, "patience": None, **QUICK}
    kept, always = texts.shop(tmp_path / "kept", **part), texts.shop(tmp_path / "always", **part)
    expected = heal(kept)
    assert len(expected) == 3
    assert "The parent answered 24 batches; 48 were read again." in reporter_of(kept).messages
    assert not list((tmp_path / "kept" / "answers").iterdir())
    monkeypatch.setattr(Healer, "_kept_answers", lambda *_: None)
    heal(always)
    files = [[file.sha256 for file in reporter_of(shop).artifacts("healed")] for shop in (kept, always)]
    assert files[0] == files[1]


@pytest.mark.thorough
def test_a_network_that_gets_no_better_ends_early_and_is_not_shipped(
    texts: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a rate that takes it apart: the best of its validations is kept, and said to be worse than the slice.

    Weights after such steps differ from machine to machine, so what the validations say is given.
    """
    name, validated = on_front(texts)[0], itertools.count(9.0)
    monkeypatch.setattr(Healer, "_score_of", lambda *_: lambda _student: next(validated))
    shop = texts.shop(tmp_path, networks=[name], **{**QUICK, "learning_rate": 5.0, "patience": 1, "clip_norm": 0})
    (one,) = heal(shop)
    assert one.ended_early
    assert one.steps < 24
    assert not one.better
    assert one.after is not None
    assert (one.after["perplexity"] or 0) > (one.before["perplexity"] or 0)
    assert "Healing made it no better, so its weights are shipped as they were found." in one.said()
    (front,) = reporter_of(shop).records(HealedFront)
    assert not any(point.healed for point in front.points)
    assert front.hypervolume_after == front.hypervolume_before


@pytest.mark.thorough
def test_low_rank_updates_and_labels_heal_too(texts: Found, tmp_path: Path) -> None:
    name = on_front(texts)[-1]
    low_rank = texts.shop(tmp_path / "a", networks=[name], lora_rank=4, labels=0.3, top=20, temperature=2.0, **QUICK)
    (one,) = heal(low_rank)
    assert one.better
    (point, *_) = reporter_of(low_rank).records(HealingPoint)
    assert {"loss", "loss_parent", "loss_labels", "learning_rate", "perplexity"} <= set(point.shown)


@pytest.mark.thorough
def test_minutes_are_made_steps_once(texts: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that gains a second at every look: three minutes are 180 seconds of steps and validations."""
    clock = iter(range(10**9))
    monkeypatch.setattr(healing.time, "monotonic", lambda: float(next(clock)))
    part = {**QUICK, "steps": None, "minutes": 0.5}
    shop = texts.shop(tmp_path, networks=[on_front(texts)[0]], **part)
    (one,) = heal(shop)
    (plan,) = reporter_of(shop).records(HealingPlan)
    assert plan.steps == 30 - 4  # a second each, after four validations of a second
    assert one.steps <= plan.steps
    short = texts.shop(tmp_path / "short", networks=[on_front(texts)[0]], **{**part, "minutes": 0.01})
    reporter_of(short).parent_verb = "heal"
    with pytest.raises(JobFailed, match=r"healing.minutes is 0.01, but a step takes .* seconds here"):
        heal(short)


def test_a_network_that_cannot_be_healed_is_said_and_fails_no_job(
    texts: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Exception):
        pass

    def step(_trainer: Any) -> dict[str, float]:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(healing.HealingTrainer, "_own_gradients", step)
    shop = texts.shop(tmp_path, networks="front", most=2, **QUICK)
    networks = heal(shop)
    assert len(networks) == 2
    assert all(one.refused is not None and "Out of memory in the healing of network" in one.refused for one in networks)
    assert all(one.after is None and not one.better for one in networks)
    assert not reporter_of(shop).records(HealedFront)
    assert sum("was not healed" in text for text in reporter_of(shop).messages) == 2
    asked = texts.shop(tmp_path / "asked", networks=[on_front(texts)[0]], **QUICK)
    reporter_of(asked).parent_verb = "heal"
    with pytest.raises(JobFailed, match="None of 1 networks could be healed"):
        heal(asked)


@pytest.mark.thorough
def test_a_stopped_job_keeps_what_is_healed(texts: Found, tmp_path: Path) -> None:
    shop = texts.shop(tmp_path, networks="front", most=3, **QUICK)
    reporter = reporter_of(shop)
    reporter.progressed, reporter.stop_at = 0, 40
    networks = heal(shop)
    assert 0 < len(networks) < 3
    assert reporter.ended_early == f"Stopped by request after {len(networks)} of 3 networks were healed."
    assert [row for row in reporter.rows if "checkpoint" in row.kind] == []
    assert reporter.records(HealedFront)


def test_a_network_that_the_job_has_not_evaluated_is_refused(texts: Found, tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match="has evaluated no network 'nobody'"):
        heal(texts.shop(tmp_path, networks=["nobody"], **QUICK))


@pytest.mark.parametrize(
    ("networks", "which"), [("knee", "The recommended network"), ("front", "The only network of the front")]
)
def test_a_front_of_the_parent_alone_is_said_to_have_nothing_to_heal(
    texts: Found, tmp_path: Path, networks: str, which: str
) -> None:
    shop = texts.shop(tmp_path, networks=networks)
    (front,) = shop.reporter.records(FrontRecord)
    largest = shop.space.largest().id
    point = front.points[0].model_copy(update={"architecture_id": largest})
    assert shop.spec.healing is not None
    alone = front.model_copy(update={"points": (point,), "knee": largest})
    assert chosen_networks(shop, shop.spec.healing, alone) == []
    assert f"{which} is the parent itself, so there is nothing to heal." in reporter_of(shop).messages


def test_a_batch_of_more_than_there_is_fails_before_anything_is_done(texts: Found, tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match=r"healing.batch_size is 5000, but words has only"):
        heal(texts.shop(tmp_path, **{**QUICK, "batch_size": 5000}))


@pytest.mark.thorough
def test_named_data_are_learned_from_and_the_jobs_are_judged_on(texts: Found, tmp_path: Path) -> None:
    other = words_file(tmp_path / "other", 1000, seed=1)
    data = {**texts.spec.data.model_dump(mode="json"), "path": str(other)}
    shop = texts.shop(tmp_path, networks=[on_front(texts)[0]], data=data, **QUICK)
    (one,) = heal(shop)
    rows = {row.architecture_id: row for row in texts.reporter.evaluated}
    assert one.before["perplexity"] == rows[one.architecture_id].metrics["perplexity"]
    assert one.after is not None
    assert one.after["perplexity"] != one.before["perplexity"]
    assert {"data"} == {kind for kind, _ in reporter_of(shop).stored if kind == "data"}


# --- parents ----------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_the_checkpoint_teaches_as_it_was_loaded_where_it_is_asked_to(tmp_path: Path) -> None:
    """After an epoch of training the largest network is another one than the checkpoint."""
    model = save(LlamaForCausalLM, LlamaConfig(**{**TEXT, "vocab_size": 256}), tmp_path / "llama")
    data = {"source": "text", "path": str(words_file(tmp_path / "text", 300)), "length": 16, "validation_share": 0.1}
    given = {
        "recipe": "llama_nas",
        "supernet": {"family": "llama", "pretrained": str(tmp_path / "llama")},
        "data": data,
    }
    for epochs, teacher, name, is_the_checkpoint in (
        (1, "checkpoint", "checkpoint", True),
        (1, "largest", "largest network", False),
        (0, "largest", "checkpoint", True),
    ):
        training = {"epochs": epochs, "batch_size": 8, "warmup_epochs": 0}
        spec = JobSpec.model_validate({**given, "training": training, "healing": {"teacher": teacher}})
        shop = _shop(spec, MemoryReporter(), tmp_path / f"{epochs}{teacher}", {"teacher": teacher})
        read = prepare_data(shop.spec, shop.space, CPU)
        parent = Healer(shop, read, [], [])._parent(train_supernet(shop, read))
        assert parent.name == name
        tokens = read.validation.inputs(slice(0, 2))
        with torch.no_grad():
            answers = parent.supernet(tokens, parent.architecture), model(tokens["input"]).logits
        assert torch.allclose(*answers, atol=1e-4) == is_the_checkpoint


def test_a_checkpoint_without_a_classifier_is_no_teacher(tmp_path: Path) -> None:
    save(BertModel, BertConfig(**{**TEXT, "vocab_size": 60}), tmp_path / "bert")
    given = {
        "recipe": "bignas",
        "supernet": {"family": "bert", "pretrained": str(tmp_path / "bert"), "classes": 3},
        "data": {"source": "digits"},
        "healing": {"teacher": "checkpoint"},
    }
    with pytest.raises(ValidationError, match=r"its answers would be random. Leave it at 'largest'"):
        JobSpec.model_validate(given)


@pytest.mark.parametrize(
    ("most", "knee", "expected"),
    [
        (9, "c", "abcdefg"),
        (1, "c", "c"),
        (1, None, "a"),
        (2, "c", "cg"),
        (3, None, "adg"),
        (3, "b", "abg"),
        (3, "a", "adg"),
        (4, "d", "adeg"),
    ],
)
def test_networks_of_the_front_are_chosen_far_apart_with_the_knee(most: int, knee: str | None, expected: str) -> None:
    assert "".join(spread("abcdefg", most, knee)) == expected


def test_tau_is_the_share_of_pairs_in_the_same_order() -> None:
    assert rank_correlations([(1, 1), (2, 2)])[0] is None
    assert rank_correlations([(1, 10), (2, 20), (3, 30)])[0] == 1.0
    assert rank_correlations([(1, 30), (2, 20), (3, 10)])[0] == -1.0
    assert rank_correlations([(1, 10), (2, 30), (3, 20)])[0] == pytest.approx(1 / 3)
    assert rank_correlations([(1, 10), (1, 20), (1, 30)])[0] is None
