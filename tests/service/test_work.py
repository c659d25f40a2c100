"""The work of a job: every stage has terms, and every option of a job either costs time or says why it does not."""

from __future__ import annotations

import ast
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

import pipeline
import proxyless
from job.defaults import merge
from job.spec import JobSpec
from service.store.models import Stage
from service.work import START_TERM, TERMS, Had, Work

SLOW = 1e9
BASE: dict[str, Any] = {
    "recipe": "bignas",
    "training": {"epochs": 4},
    "search": {"evaluations": 40},
    "objectives": [{"metric": "accuracy"}, {"metric": "latency_ms"}, {"metric": "size_bytes"}],
}
HEALS = {"healing": {"networks": "front", "steps": 300}}
LADDER = merge(HEALS, {"search": {"fidelities": {"steps": [25, 100], "candidates": 8}}})
BITS = {"quantization": {"bits": [8, 32]}}
TEXT: dict[str, Any] = {
    "supernet": {"family": "llama", "preset": "tiny"},
    "data": {"source": "text", "path": "/nowhere.txt"},
    "objectives": [{"metric": "perplexity"}, {"metric": "macs"}],
    "training": {"method": "bignas"},
}
GRADIENT: dict[str, Any] = {"recipe": "proxylessnas", "training": {"epochs": 4, "batch_size": 32}}


def gradient(**part: Any) -> dict[str, Any]:
    return merge(GRADIENT, {"gradient": {"warmup_epochs": 4, "final": {"epochs": 4}, **part}})


def tasks(**part: Any) -> dict[str, Any]:
    return merge(TEXT, {"scoring": {"tasks": [{"name": "one", "path": "/nowhere.jsonl", **part}]}})


# Option -> a cheaper and a dearer job that differ in it.
COSTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "objectives": (
        {"objectives": [{"metric": "accuracy"}]},
        {"objectives": [{"metric": "accuracy"}, {"metric": "macs"}]},
    ),
    "training.epochs": ({}, {"training": {"epochs": 8}}),
    "training.batch_size": ({"training": {"batch_size": 64}}, {"training": {"batch_size": 16}}),
    "training.method": ({"training": {"method": "single"}}, {}),
    "training.options": ({}, {"training": {"options": {"num_random": 6}}}),
    "training.processes": ({"training": {"processes": 2}}, {}),
    "training.hosts": ({"training": {"hosts": 2}}, {}),
    "training.sharing_check": ({}, {"training": {"sharing_check": 0.5}}),
    "training.activation_checkpointing": ({}, {"training": {"activation_checkpointing": True}}),
    "search.algorithm": ({}, gradient(latency_weights=[0.1], final={"epochs": 400})),
    "search.evaluations": ({}, {"search": {"evaluations": 80}}),
    "search.calibration_images": ({"search": {"calibration_images": 64}}, {"search": {"calibration_images": 640}}),
    "search.fidelities": (HEALS, LADDER),
    "search.fidelities.steps": (LADDER, merge(LADDER, {"search": {"fidelities": {"steps": [25, 200]}}})),
    "search.fidelities.candidates": (LADDER, merge(LADDER, {"search": {"fidelities": {"candidates": 16}}})),
    "search.fidelities.budget": tuple(
        merge(HEALS, {"search": {"fidelities": {"steps": [25, 100], "budget": budget}}}) for budget in (400, 1200)
    ),
    "search.fidelities.keep": (LADDER, merge(LADDER, {"search": {"fidelities": {"keep": 1.0}}})),
    "quantization": ({}, BITS),
    "quantization.bits": ({"quantization": {"bits": [8]}}, BITS),
    "quantization.weights": (BITS, {"quantization": {"bits": [8, 32], "weights": ["symmetric", "asymmetric"]}}),
    "quantization.calibration_examples": (BITS, {"quantization": {"bits": [8, 32], "calibration_examples": 1000}}),
    "quantization.sensitivity": ({"quantization": {"bits": [8, 32], "sensitivity": False}}, BITS),
    "quantization.baseline_evaluations": (BITS, {"quantization": {"bits": [8, 32], "baseline_evaluations": 100}}),
    "gradient": ({}, gradient(latency_weights=[0.1], final={"epochs": 400})),
    "gradient.targets": (
        gradient(latency_weights=[0.1]),
        gradient(latency_weights=[0.1], targets=["cpu-onnxruntime", "cpu-torch"]),
    ),
    "gradient.latency_weights": (gradient(latency_weights=[0.1]), gradient(latency_weights=[0.1, 0.2])),
    "gradient.budgets_ms": (gradient(budgets_ms=[1]), gradient(budgets_ms=[1, 2])),
    "gradient.mode": tuple(gradient(latency_weights=[0.1], mode=mode) for mode in ("two", "full")),
    "gradient.warmup_epochs": (gradient(latency_weights=[0.1]), gradient(latency_weights=[0.1], warmup_epochs=8)),
    "gradient.first_epoch": (gradient(latency_weights=[0.1], first_epoch=2), gradient(latency_weights=[0.1])),
    "gradient.every": (gradient(latency_weights=[0.1]), gradient(latency_weights=[0.1], every=1)),
    "gradient.steps": (gradient(latency_weights=[0.1]), gradient(latency_weights=[0.1], steps=3)),
    "gradient.held_out_batch_size": (
        gradient(latency_weights=[0.1], held_out_batch_size=8),
        gradient(latency_weights=[0.1], held_out_batch_size=64),
    ),
    "gradient.samples": tuple(
        gradient(latency_weights=[0.1], mode="reinforce", samples=samples) for samples in (5, 50)
    ),
    "gradient.final": (gradient(latency_weights=[0.1]), gradient(latency_weights=[0.1], final={"epochs": 8})),
    "healing": ({}, HEALS),
    "healing.networks": (merge(HEALS, {"healing": {"networks": "knee"}}), HEALS),
    "healing.most": (HEALS, merge(HEALS, {"healing": {"most": 10}})),
    "healing.steps": (HEALS, merge(HEALS, {"healing": {"steps": 600}})),
    "healing.examples": tuple({"healing": {"examples": examples}} for examples in (10_000, 20_000)),
    "healing.tokens": tuple(merge(TEXT, {"healing": {"tokens": tokens}}) for tokens in (100_000, 200_000)),
    "healing.minutes": tuple({"healing": {"minutes": minutes}} for minutes in (1, 2)),
    "healing.batch_size": (HEALS, merge(HEALS, {"healing": {"batch_size": 256}})),
    "healing.labels": (merge(HEALS, {"healing": {"labels": 1}}), HEALS),
    "healing.hidden": tuple(merge(HEALS, {"healing": {"labels": 1, "hidden": hidden}}) for hidden in (0, 1)),
    "healing.validations": (HEALS, merge(HEALS, {"healing": {"validations": 50}})),
    "healing.activation_checkpointing": (HEALS, merge(HEALS, {"healing": {"activation_checkpointing": True}})),
    "hardware.networks": ({}, {"hardware": {"networks": 80}}),
    "hardware.seconds": ({}, {"hardware": {"seconds": 5}}),
    "hardware.max_layers": ({"hardware": {"max_layers": 0}}, {}),
    "hardware.predict": (
        {"hardware": {"max_layers": 0}},
        {"hardware": {"predict": "never"}, "search": {"evaluations": 80}},
    ),
    "scoring.tasks": (TEXT, tasks()),
    "scoring.tasks.limit": (tasks(limit=10), tasks(limit=500)),
    "scoring.quantize_front": ({}, {"scoring": {"quantize_front": ["int8_weight"]}}),
}
# Options that an estimate may ignore, and why.
WORDS = "words for people"
NUMBERS = "other numbers in as many steps"
OTHER_SPACE = "shows in the space, whose networks are counted"
WHERE = "where, not how much"
LIMIT = "an objective or limit narrows what is found and not what is done"
FREE: dict[str, str] = {
    **dict.fromkeys(
        (
            "name",
            "labels",
            "supernet.labels",
            "notes",
            "recipe",
            "version",
            "scoring.tasks.name",
            "scoring.tasks.delimiter",
        ),
        WORDS,
    ),
    **dict.fromkeys(("priority", "scoring.tasks.path"), WHERE),
    "constraints": LIMIT,
    "needs": "how long a job waits for a worker is no part of it",
    "data": "its examples are handed over; see the test of examples",
    **dict.fromkeys(
        (f"supernet.{n}" for n in ("family", "preset", "choices", "classes", "sequence_length", "deployable", "dtype")),
        OTHER_SPACE,
    ),
    **dict.fromkeys(
        (f"supernet.{n}" for n in ("pretrained", "checkpoint", "found", "reuse", "importance")),
        "see the test of checkpoints",
    ),
    "training.augmentation": "changes images while the processor computes",
    "training.seed": NUMBERS,
    **dict.fromkeys(
        (
            f"{part}.{n}"
            for part in ("training", "healing")
            for n in (
                *("micro_batches", "learning_rate", "lr_floor", "weight_decay", "clip_norm"),
                *("precision", "lora_rank", "lora_alpha"),
            )
        ),
        NUMBERS,
    ),
    **dict.fromkeys(
        (
            f"training.{n}"
            for n in (
                *("optimizer", "schedule", "warmup_epochs", "lr_decay", "lr_decay_epochs", "momentum", "clip_value"),
                *("ema_decay", "compile", "sharded"),
            )
        ),
        NUMBERS,
    ),
    **dict.fromkeys((f"search.{n}" for n in ("seed", "seed_architectures", "options")), NUMBERS),
    "search.helpers": "whether anybody is free to help is not known",
    "healing.helpers": "whether anybody is free to help is not known",
    "search.warm_start": "what is known already is no part of the budget",
    **dict.fromkeys(
        (
            f"quantization.{n}"
            for n in ("schemes", "group", "tie", "layers", "pinned", "embeddings", "observer", "weight_bits")
        ),
        OTHER_SPACE,
    ),
    **dict.fromkeys(
        (
            f"gradient.{n}"
            for n in (
                *("loss", "reference_ms", "warmup_learning_rate", "warmup_lr_decay_epochs", "learning_rate"),
                *("held_out_share", "baselines"),
            )
        ),
        NUMBERS,
    ),
    "healing.data": "as many steps on other data",
    "healing.patience": "ends early what may go to its end",
    **dict.fromkeys((f"healing.{n}" for n in ("teacher", "warmup", "temperature", "top")), NUMBERS),
    **dict.fromkeys((f"hardware.{n}" for n in ("threads", "batch", "context")), "a network is measured for as long"),
    **dict.fromkeys(
        (f"hardware.{n}" for n in ("min_within_10_percent", "margin_quantile")), "judges what was measured"
    ),
    "hardware.wait_minutes": "how long a machine is away is not known",
}
# Parts that are tested as one.
WHOLE = (
    *("objectives", "constraints", "needs", "data", "healing.data", "supernet.found", "training.augmentation"),
    *("gradient.final", "gradient.baselines"),
)


def options(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every option of a part and of the parts in it, by name."""
    for name, field in model.model_fields.items():
        named = f"{prefix}{name}"
        inner = [one for one in _classes(field.annotation) if issubclass(one, BaseModel)]
        if not inner or named in WHOLE:
            yield named
            continue
        if type(None) in get_args(field.annotation) or named == "scoring.tasks":
            yield named
        for one in inner:
            yield from options(one, f"{named}.")


def _classes(annotation: Any) -> list[type]:
    if get_origin(annotation) is None:
        return [annotation] if isinstance(annotation, type) else []
    return [found for one in get_args(annotation) for found in _classes(one)]


def work(parts: dict[str, Any], examples: int | None = 1000, **told: Any) -> Work:
    spec = JobSpec.model_validate(merge({} if "recipe" in parts else BASE, parts))
    return Work(spec, spec.space(), examples, SLOW, **told)


def whole(one: Work) -> float:
    found = [one.seconds(stage) for stage in TERMS]
    assert None not in found, dict(zip(TERMS, found, strict=True))
    return sum(seconds for seconds in found if seconds is not None)


class TestOptions:
    def test_every_option_costs_time_or_says_why_it_does_not(self) -> None:
        named = set(options(JobSpec))
        assert named - COSTS.keys() - FREE.keys() == set()
        assert (COSTS.keys() | FREE.keys()) - named == set()
        assert COSTS.keys() & FREE.keys() == set()

    @pytest.mark.parametrize("option", COSTS)
    def test_a_dearer_option_takes_longer(self, option: str) -> None:
        less, more = COSTS[option]
        assert whole(work(less)) < whole(work(more))

    def test_more_examples_take_longer(self) -> None:
        assert whole(work({}, 1000)) < whole(work({}, 2000))
        pictures = {
            "data": {"source": "images", "path": "/nowhere", "size": 32, "channels": 3},
            "supernet": {"preset": "cifar"},
        }
        decoded = [work(pictures, examples).seconds(Stage.PREPARE_DATA) or 0 for examples in (1000, 2000)]
        assert decoded[0] < decoded[1]

    def test_a_checkpoint_is_looked_at_and_a_supernet_is_reused(self) -> None:
        one = work({})

        def with_(**part: Any) -> float:
            changed = one.spec.model_copy(update={"supernet": one.spec.supernet.model_copy(update=part)})
            return whole(Work(changed, one.space, 1000, SLOW))

        assert with_(importance="weight") > whole(one)
        assert with_(pretrained=("/one", "/two")) > with_(pretrained="/one")
        assert with_(reuse="abc") < whole(one)

    @pytest.mark.parametrize("networks", [10, 20, 40, 80, 200])
    @pytest.mark.parametrize("seconds", [0.5, 2.0, 8.0])
    def test_measuring_takes_at_least_what_it_may(self, networks: int, seconds: float) -> None:
        found = work({"hardware": {"networks": networks, "seconds": seconds}}).seconds(Stage.MEASURE_HARDWARE)
        assert found is not None
        assert found > networks * seconds


class TestStages:
    def test_every_stage_has_terms(self) -> None:
        assert set(TERMS) == set(Stage) - {Stage.DONE}

    @pytest.mark.parametrize("package", [pipeline, proxyless])
    def test_every_stage_that_the_pipeline_begins_has_terms(self, package: types.ModuleType) -> None:
        """`reporter.stage(Stage.X)` wherever it stands."""
        (folder,) = package.__path__
        begun = set()
        for file in Path(folder).rglob("*.py"):
            for call in ast.walk(ast.parse(file.read_text())):
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("reporter.stage"):
                    assert isinstance(call.args[0], ast.Attribute), f"{file}: which stage begins?"
                    begun.add(Stage[call.args[0].attr])
        assert begun
        assert begun <= set(TERMS)

    @pytest.mark.parametrize("stage", TERMS)
    def test_a_job_that_asks_for_everything_has_work_in_it(self, stage: Stage) -> None:
        every = work(BITS if stage == Stage.MEASURE_BASELINES else HEALS)
        assert (every.seconds(stage) or 0) > 0

    def test_a_job_without_a_target_measures_no_hardware(self) -> None:
        none = work({"objectives": [{"metric": "accuracy"}, {"metric": "macs"}]})
        assert none.seconds(Stage.MEASURE_HARDWARE) == 0
        assert none.seconds(Stage.FIT_PREDICTORS) == 0

    def test_an_uploaded_table_is_not_measured(self) -> None:
        goals = {"objectives": [{"metric": "accuracy"}, {"metric": "latency_ms", "target": "quarter"}]}
        table, machine = work(goals, tables=frozenset({"quarter"})), work(goals)
        assert table.terms(Stage.MEASURE_HARDWARE).keys() == {START_TERM}
        assert (table.seconds(Stage.MEASURE_FINALISTS) or 0) < (machine.seconds(Stage.MEASURE_FINALISTS) or 0)

    def test_a_job_that_ended_counts_what_it_had(self) -> None:
        few, many = (work(HEALS, had=Had(count, count, count)) for count in (2, 4))
        for stage in (Stage.SEARCH, Stage.MEASURE_FINALISTS, Stage.HEAL):
            assert (many.units(stage) or 0) == pytest.approx(2 * (few.units(stage) or 0))

    def test_each_format_takes_time_after_the_job(self) -> None:
        assert 0 == work({}).exporting < work({}, exports=1).exporting < work({}, exports=2).exporting

    def test_what_nobody_knows_is_no_number(self) -> None:
        assert work({}, None).seconds(Stage.TRAIN_SUPERNET) is None
