"""The plan: a complete job from one sentence, and every decision in it with its reason.

Rules, in one place. A decoder is fine-tuned and searched as LLaMA-NAS does; everything else is trained with the
sandwich rule and searched together with its bits, as SimQ-NAS does. Where the device or a format knows no bits, shapes
alone are searched, as BigNAS does. A pretrained transformer is fine-tuned gently and
for few epochs, because its weights are good already; what starts from nothing gets the recipe's training. Limits are
objectives, so that the front shows what one more millisecond buys. Networks of a pretrained decoder are healed: their
slices regain most of what cutting lost (docs/results.md). How long is decided by the model's size, so that a large one
heals by the clock. All others search bits, and what is searched together with its bits is not healed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from job.defaults import merge
from job.fit import kind_of_pairs
from job.formats import Subject, refusal
from job.healing_spec import BUDGETS, DEFAULT_STEPS, refuse_without_parent
from job.shrink.data import Data, read_data, validation_samples
from job.shrink.decisions import Decision, Undecided
from job.shrink.model import Model, read_model
from job.shrink.spec import THIS, ShrinkSpec
from job.spec import JobSpec
from predictors.cost import macs
from predictors.targets import RUNTIMES, TargetName
from search.enough import too_few
from search.metrics import ON_TARGET
from search_space import plugins
from search_space.inputs import ImageInput, Input, TokenInput
from search_space.layers.precision import DEFAULT_SCHEMES
from search_space.layers.precision import refusal as kernel_refusal

DECODERS, OTHERS, WITHOUT_BITS = "llama_nas", "simq_nas", "bignas"
# BERT's own recipe for fine-tuning: AdamW, 2e-5 to 5e-5, three epochs or so (Devlin et al. 2018, appendix A.3). A
# supernet has many networks to please, so it gets the upper end of both.
GENTLE: dict[str, Any] = {
    "epochs": 5,
    "batch_size": 32,
    "optimizer": "adamw",
    "learning_rate": 5e-5,
    "schedule": "cosine",
    "warmup_epochs": 0.5,
    "weight_decay": 0.01,
    "clip_norm": 1.0,
}
# Networks that are healed, and for how long: steps, unless all of them together would take more multiply-accumulates
# than this (half an hour of one core or so); then minutes.
HEALED, MOST_HEALING, HEALING_MINUTES = 3, 5e13, 10
# A job optimizes at most so many metrics; further limits are constraints.
MOST_OBJECTIVES = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done.

    Attributes:
        job: as `POST /v1/jobs` takes it.
        spec: the same, checked.
        rule: which network of the front is meant, as an export takes it.
        examples: that the data hold; None where nobody knows without reading them.
        decisions: what nobody said, with reasons.
        warnings: what to know of the data before the job begins.
    """

    job: dict[str, Any]
    spec: JobSpec
    rule: dict[str, Any]
    examples: int | None
    decisions: tuple[Decision, ...]
    warnings: tuple[str, ...] = ()


def make_plan(asked: ShrinkSpec) -> Plan:
    """Decide what was left open.

    Raises:
        Undecided: the folders leave a question open.
        PathRefused: a path is not open to jobs.
        ValueError: a change that is no part of a job, or a job that cannot be.
    """
    model, data = read_model(asked.model), read_data(asked.data)
    model = _with_preset(model, data, asked.changes)
    takes = model.takes
    _refuse_other_kind(takes, data, model)
    parts = [
        _recipe(takes, _no_bits(asked, model)),
        _training(model, takes),
        _shape(model, data, takes),
        _goals(asked, takes),
    ]
    job: dict[str, Any] = {"supernet": model.supernet, "data": data.options}
    decisions = [*model.decisions, *data.decisions]
    for part, reasons in parts:
        job = merge(job, part)
        decisions += reasons
    job = merge(job, asked.changes)
    job = {**job, **_healing(job, asked.changes)}
    spec = JobSpec.model_validate(job)
    decisions += _engines(spec)
    decisions += _budget(spec, job)
    decisions.append(_healing_told(spec))
    rule = {"pick": "as_good", "under": dict(asked.under)}
    return Plan(job, spec, rule, data.examples, tuple(_untouched(decisions, asked.changes)), _warnings(data, spec))


def _warnings(data: Data, spec: JobSpec) -> tuple[str, ...]:
    """That few samples decide, as far as it is known before the data are read."""
    count = validation_samples(data, spec.data)
    asked = [one.metric for one in spec.objectives]
    said = [] if count is None else [too_few(metric, [count], "about ") for metric in asked]
    return tuple(text for text in said if text is not None)[:1]


def _with_preset(model: Model, data: Data, changes: dict[str, Any]) -> Model:
    """A family from nothing with the preset that its data name; otherwise that is a question."""
    given = changes.get("supernet", {})
    named = given.get("preset") if isinstance(given, dict) else None
    if model.pretrained is not None or model.preset is not None or named is not None:
        return Model(model.family, model.preset or named, model.pretrained, model.decisions)
    presets = tuple(plugins.FAMILIES.load(model.family).PRESETS)
    same = data.source if data.source in presets else None
    if same is None:
        sizes = "; ".join(f"{preset}: {plugins.load_family(model.family, preset).takes}" for preset in presets)
        raise Undecided(
            f"Family {model.family} comes in several sizes. Name one, as in {model.family}/{presets[0]}. {sizes}."
        )
    why = f"the preset for {data.source}"
    return Model(model.family, same, None, (*model.decisions, Decision("space", same, why, "supernet.preset")))


def _refuse_other_kind(takes: Input | None, data: Data, model: Model) -> None:
    wanted = _kind(takes)
    if data.kind is not None and wanted is not None and data.kind != wanted:
        raise Undecided(f"Family {model.family} takes data of the kind {wanted!r}; {data.path} is {data.kind!r}.")


def _kind(takes: Input | None) -> str | None:
    if isinstance(takes, ImageInput):
        return "image"
    if isinstance(takes, TokenInput):
        return "text" if takes.classes is None and takes.features is None else "labelled text"
    return None if takes is None else kind_of_pairs(takes)


Part = tuple[dict[str, Any], Sequence[Decision]]


def _recipe(takes: Input | None, no_bits: str | None) -> Part:
    name, why = OTHERS, "shapes and bits are searched together"
    if _kind(takes) == "text":
        name, why = DECODERS, "a model that continues text"
    elif no_bits is not None:
        name, why = WITHOUT_BITS, f"shapes alone are searched: {no_bits}"
    return {"recipe": name}, (Decision("recipe", name, why, "recipe"),)


def _no_bits(asked: ShrinkSpec, model: Model) -> str | None:
    """Why bits are not searched, as a clause; None: they may be."""
    if asked.device != THIS:
        runtime = RUNTIMES.get(TargetName.parse(asked.device).runtime or "")
        if runtime is not None and kernel_refusal(DEFAULT_SCHEMES[8], f"{runtime.device}-{runtime.engine}"):
            return f"{asked.device} has no kernels for integers"
    if (space := model.space) is None:
        return None
    full = Subject(space.name, space.layers(space.largest()), facts={"checkpoint": model.checkpoint})
    for name in asked.formats:
        if refusal(name, full) is None and refusal(name, replace(full, quantized=True)) is not None:
            return f"{name} stores no integers of a search"
    return None


def _training(model: Model, takes: Input | None) -> Part:
    if model.pretrained is None or _kind(takes) == "text":
        return {}, ()
    told = f"{GENTLE['epochs']} epochs of {GENTLE['optimizer']} at {GENTLE['learning_rate']:g}"
    return {"training": dict(GENTLE)}, (
        Decision("training", told, "the checkpoint is fine-tuned, not trained anew", "training.epochs"),
    )


def _shape(model: Model, data: Data, takes: Input | None) -> Part:
    """Pixels, channels, tokens and classes, so that data and networks fit."""
    if isinstance(takes, ImageInput) and data.source == "images":
        told = Decision(
            "images", f"{takes.size} x {takes.size}, {takes.channels} channels", "what the networks take", "data.size"
        )
        part: dict[str, Any] = {"data": {"size": takes.size, "channels": takes.channels}}
        if data.classes is None or data.classes == takes.classes or model.pretrained is not None:
            return part, (told,)
        return merge(part, {"supernet": {"classes": data.classes}}), (
            told,
            Decision("classes", str(data.classes), "folders of the data", "supernet.classes"),
        )
    if isinstance(takes, TokenInput) and data.path is not None and data.kind != "image":
        length = min(takes.length, takes.max_length, 128)
        return {"data": {"length": length}}, (
            Decision("length", f"{length} tokens", "longer texts are cut, longer ones cost more", "data.length"),
        )
    return {}, ()


def _goals(asked: ShrinkSpec, takes: Input | None) -> Part:
    quality = {"text": "perplexity", "pairs": "recall_at_1"}.get(_kind(takes) or "", "accuracy")
    target = None if asked.device == THIS else asked.device

    def goal(metric: str, limit: float | None) -> dict[str, Any]:
        on = {"target": target} if target is not None and metric in ON_TARGET else {}
        return {"metric": metric, **on, **({} if limit is None else {"limit": limit})}

    limited = [goal(metric, limit) for metric, limit in asked.under.items()]
    wanted = ["latency_ms", "size_bytes"]
    free = [goal(metric, None) for metric in wanted if metric not in asked.under]
    objectives = [{"metric": quality}, *limited, *free][:MOST_OBJECTIVES]
    constraints = limited[MOST_OBJECTIVES - 1 :]
    names = ", ".join(str(objective["metric"]) for objective in objectives)
    where = "this worker's processor, ONNX Runtime" if target is None else target
    return {"objectives": objectives, **({"constraints": constraints} if constraints else {})}, (
        Decision("objectives", names, "quality first, then what was limited, then speed and size", "objectives"),
        Decision("latency", f"measured on {where}", "where jobs run, unless a device is named", "objectives"),
    )


def _healing(job: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """That of a pretrained decoder whose networks have a trained parent, with what the client says of it; empty for
    any other job, and where the client says none."""
    said = changes.get("healing", {})
    if not isinstance(said, dict):
        return {}
    spec = JobSpec.model_validate({name: part for name, part in job.items() if name != "healing"})
    is_decoder = _kind(spec.supernet.space().takes) == "text"
    if not is_decoder or spec.supernet.pretrained is None or _no_healing(spec):
        return {}
    batch, space = spec.training.batch_size, spec.supernet.space()
    # Forward and backward of the network, and the answers of its parent.
    work = HEALED * DEFAULT_STEPS * batch * 4 * macs(space, space.largest())
    budget = {"steps": DEFAULT_STEPS} if work <= MOST_HEALING else {"minutes": HEALING_MINUTES}
    if any(said.get(name) is not None for name in BUDGETS):
        budget = {}
    return {"healing": {"networks": "front", "most": HEALED, **budget, **said}}


def _no_healing(spec: JobSpec) -> str | None:
    """Why networks of this job cannot be healed, as a clause; None: they can."""
    if spec.quantization is not None:
        return "bits are searched with the shapes, and healing would train other numbers than are shipped"
    try:
        refuse_without_parent(spec, "healing")
    except ValueError:
        return "there is no trained parent to learn from"
    return None


def _engines(spec: JobSpec) -> list[Decision]:
    """The engines that a decoder's space is kept to."""
    if not (engines := spec.supernet.engines):
        return []
    why = "they run the largest network as it is, and smaller ones then need no zeros"
    return [Decision("engines", ", ".join(engines), why, "supernet.deployable")]


def _healing_told(spec: JobSpec) -> Decision:
    part = spec.healing
    if part is None:
        why = _no_healing(spec) or "only a pretrained decoder is known to gain by it"
        return Decision("healing", "none", why, "healing")
    which = f"up to {part.most} networks of the front" if part.networks == "front" else "the chosen networks"
    unit = next(name for name in BUDGETS if getattr(part, name) is not None)
    told = f"{which}, {getattr(part, unit):,} {unit} each"
    return Decision("healing", told, "a trained decoder regains most of what cutting lost", "healing")


def _budget(spec: JobSpec, job: dict[str, Any]) -> list[Decision]:
    """Numbers of the recipe that decide how long it takes."""
    why = f"the recipe {spec.recipe}"
    epochs = Decision("training", f"{spec.training.epochs:,} epochs", why, "training.epochs")
    networks = Decision("search", f"{spec.search.evaluations:,} networks evaluated", why, "search.evaluations")
    return [*([] if "training" in job else [epochs]), networks]


def _untouched(decisions: Sequence[Decision], changes: dict[str, Any]) -> list[Decision]:
    """Decisions that the client has not taken back."""

    def said(change: str) -> bool:
        found: Any = changes
        for name in change.split("."):
            if not isinstance(found, dict) or name not in found:
                return False
            found = found[name]
        return True

    return [decision for decision in decisions if not said(decision.change)]
