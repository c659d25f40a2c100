"""JobSpec: what a client asks for, with every default of its recipe filled in.

These models are the wire format and the stored form. They refuse unknown fields, so nothing that a
client writes is ignored. `job/resolve.py` makes the decisions that a client leaves open, and `job/versions.py` reads
what is stored.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from job.checkpoint_spec import OfCheckpoint, check_labels, found_in, refuse_untrained
from job.data_spec import DATA_MODELS, DataSpec, data_gives
from job.defaults import DEFAULT_RECIPE, filled
from job.fidelities_spec import FidelitiesSpec, check_fidelities
from job.fit import augmentation_misfit
from job.goal_spec import ConstraintSpec, ObjectiveSpec
from job.gradient_spec import GRADIENT, GradientSpec, check_gradient, fill_search
from job.hardware_spec import HardwareSpec, target_of
from job.healing_spec import HealingSpec, check_healing
from job.needs_spec import MAX_NOTES, Labels, NeedsSpec, Priority, once
from job.parts import Part, complete_options, offered
from job.paths import check_checkpoint
from job.quantization_spec import QuantizationSpec, quantized_space
from job.recipe import Recipe, RecipeName
from job.scoring_spec import TASK_METRICS, ScoringSpec
from job.training_spec import TrainingSpec
from job.version import JOB_VERSION
from plugins.kinds import ALGORITHMS
from plugins.registry import one_of
from search.metrics import OF_GENERATION, OF_PAIRS, ON_TARGET
from search.objectives import Constraint, Objective, limits_of
from search.options import BudgetedOptions
from search_space import plugins

if TYPE_CHECKING:
    from search_space.adjustments import Adjustments
    from search_space.space import SearchSpace

__all__ = [
    "DATA_MODELS",
    "ConstraintSpec",
    "DataSpec",
    "JobSpec",
    "ObjectiveSpec",
    "Part",
    "SearchSpec",
    "SupernetSpec",
    "TrainingSpec",
    "data_gives",
]

# A search that asks for more than this is a slip of the keyboard: at a second each it would take a day.
MAX_EVALUATIONS = 100_000


# Word of a validation's context: the job lies in a row, and was judged when it was submitted.
STORED = "stored"


# Metrics that networks of two towers do not have.
NOT_OF_PAIRS = ("accuracy", "kl_divergence", "label_gradient_alignment", "perplexity")


class SupernetSpec(OfCheckpoint):
    """Which search space the supernet spans."""

    family: str = Field(description="A model family, such as `mobilenet`.", examples=["mobilenet"])
    preset: str | None = Field(
        default=None,
        description="A named space of that family. May be left out with `pretrained`: the checkpoint's own shape.",
        examples=["digits"],
    )
    choices: dict[str, tuple[StrictInt | StrictFloat | StrictStr, ...]] = Field(
        default_factory=dict,
        description="Options of a choice instead of the preset's, narrower or wider; `*` in a name stands for many.",
        examples=[{"stage1_width": [8, 16], "stage*_depth": [1, 2, 3]}],
    )
    classes: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Number of classes instead of the preset's."
    )
    sequence_length: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        default=None, description="Tokens for which the costs of a text network are counted."
    )
    pretrained: str | tuple[str, ...] | None = Field(
        default=None,
        description="Folder of a checkpoint of Hugging Face, timm or torchvision: config.json and safetensors; of the "
        "family `stitched` a list of two or more.",
        examples=["/models/deit-tiny", ["/models/deit-tiny", "/models/deit-small"]],
    )
    reuse: Annotated[str, Field(max_length=32)] | None = Field(
        default=None, description="Id of a trained supernet: its space, data and weights, and no training at all."
    )
    checkpoint: dict[str, Any] | None = Field(
        default=None, description="The checkpoint's config.json, read when the job is submitted."
    )
    deployable: tuple[Literal["vllm", "gguf", "huggingface"], ...] | None = Field(
        default=None,
        description="Engines that must run every network as it is, without zeros to fill up: query heads "
        "stay, widths are multiples of 256 (vllm) or 32 (gguf), layers are alike (huggingface), the first layer keeps "
        "attention. Only decoders can have it. Null: those of vllm and gguf that run the largest network of a llama as "
        "it is, unless `choices` break their rules; none for other families. An empty list: none.",
        examples=[["vllm", "gguf"]],
    )
    importance: Literal["activation", "weight"] | None = Field(
        default=None,
        description="Put the most important neurons, heads and channels of a checkpoint first, by what they contribute "
        "on training data or by the norm of their weights, so that narrower networks keep the best. Null: leave them.",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_checkpoint(cls, given: Any) -> Any:
        """Read a checkpoint's folder and check its tensors, without its weights.

        What it says is kept in the job, so that its space and numbers do not depend on a folder that may go.
        """
        named = given.get("pretrained") if isinstance(given, dict) else None
        listed = [named] if isinstance(named, str) else named
        if not isinstance(listed, list | tuple) or not all(isinstance(one, str) for one in listed):
            return given
        if given.get("checkpoint"):
            return given
        from search_space.joined import read_checkpoints  # not needed to start the API

        folders = [Path(one).expanduser() for one in listed]
        for folder in folders:
            if not folder.is_absolute():
                raise ValueError(f"Got pretrained {str(folder)!r}; give the absolute path that API and workers see.")
            check_checkpoint(str(folder))
        checkpoint = read_checkpoints(folders[0] if isinstance(named, str) else folders)
        read, classes = {**given, "checkpoint": checkpoint.config}, given.get("classes")
        if isinstance(given.get("family"), str) and isinstance(classes, int | None):
            read["found"] = found_in(checkpoint, given["family"], classes)
        return read

    @model_validator(mode="after")
    def _buildable(self) -> SupernetSpec:
        if self.importance is not None and self.pretrained is None:
            raise ValueError(
                "Only pretrained weights can be ordered by importance; leave it out, or name a checkpoint."
            )
        if self.importance is not None and len(self.folders) > 1:
            raise ValueError(
                "Layers of stitched networks keep their widths, so an order by importance decides nothing; leave "
                "supernet.importance out."
            )
        check_labels(self.labels, self.space().takes, self.found)
        return self

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders of the checkpoints that it starts from."""
        return (self.pretrained,) if isinstance(self.pretrained, str) else self.pretrained or ()

    @property
    def engines(self) -> tuple[str, ...]:
        """Engines that run every network of the space as it is: those of `deployable`, or where it is null, decided."""
        if self.deployable is not None:
            return self.deployable
        from job.engines import FAMILIES, decided_engines  # which reads jobs

        if self.family not in FAMILIES:
            return ()
        return decided_engines(self._load(self._adjustments), self._adjustments, self.checkpoint)

    @property
    def kept_to(self) -> str:
        """What a refusal says of the engines at its end, because another space has more networks; empty without any."""
        if self.reuse is not None or not (engines := self.engines):
            return ""
        return (
            f" The space is kept to networks that {', '.join(engines)} can run without zeros; "
            "`supernet.deployable: []` allows others."
        )

    def space(self) -> SearchSpace:
        """The search space."""
        if engines := self.engines:
            from search_space.deployable import deployable_space  # not needed to start the API

            space = deployable_space(self._load, self._adjustments, engines)
        else:
            space = self._load(self._adjustments)
        space.float_bits = 32 if self.float_type == "float32" else 16
        return space

    @property
    def _adjustments(self) -> Adjustments:
        from search_space.adjustments import Adjustments  # not needed to start the API

        return Adjustments(dict(self.choices), self.classes, self.sequence_length)

    def _load(self, adjustments: Adjustments) -> SearchSpace:
        return plugins.load_family(self.family, self.preset, adjustments, self.checkpoint)


class SearchSpec(Part):
    """Which algorithm looks for the front, and for how long."""

    algorithm: str = Field(description="A search algorithm, such as `nsga2`.")
    evaluations: Annotated[int, Field(ge=1, le=MAX_EVALUATIONS)] = Field(
        description="Budget: networks that are evaluated."
    )
    calibration_images: Annotated[
        int, Field(ge=2, le=1_000_000, description="Training images that re-estimate batch-norm statistics.")
    ]
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        default=0, description="Seed of everything random in the search."
    )
    helpers: Annotated[
        int,
        Field(ge=0, le=256, description="Other workers that may take a share of every batch. The front is the same."),
    ] = 0
    warm_start: bool = Field(
        default=False,
        description="Learn from what other jobs have evaluated of the reused supernet. Those networks are not "
        "evaluated again, count as no evaluation, and may be on the front.",
    )
    seed_architectures: Annotated[
        tuple[dict[str, StrictInt | StrictFloat | StrictStr | StrictBool], ...],
        Field(max_length=1000, description="Values of architectures to evaluate first, such as one of your own."),
    ] = ()
    fidelities: FidelitiesSpec | None = Field(
        default=None,
        description="Networks of the search heal a little, and their scores after that choose among them, for the "
        "best front after healing. Null: they are chosen as they are found.",
    )
    options: dict[str, float | int | str | None] = Field(
        default_factory=dict,
        validate_default=True,
        description="Options of the algorithm itself.",
        json_schema_extra=offered(ALGORITHMS),
    )

    @field_validator("algorithm")
    @classmethod
    def _known_algorithm(cls, algorithm: str) -> str:
        return one_of(ALGORITHMS.word, algorithm, (*ALGORITHMS.names(), GRADIENT))

    @field_validator("options")
    @classmethod
    def _options_of_the_algorithm(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if info.data.get("algorithm") == GRADIENT:
            return Part.model_validate(options).model_dump()
        return complete_options(ALGORITHMS, info.data.get("algorithm"), options)


class JobSpec(Part):
    """A job. Only the recipe is needed; it fills every default, and what is written here wins."""

    # Parts that the recipe fills are required of a complete job but not of a client.
    model_config = ConfigDict(
        json_schema_extra=lambda schema: schema.pop("required", None),
    )

    name: Annotated[str, Field(max_length=200, description="Name for people; it need not be unique.")] = ""
    recipe: RecipeName = Field(default=Recipe(DEFAULT_RECIPE), description="A paper's defaults, such as `bignas`.")
    supernet: SupernetSpec = Field(description="The space, and what its networks start from.")
    data: DataSpec = Field(description="What the networks learn from and are scored on.")
    training: TrainingSpec = Field(description="How the supernet is trained.")
    objectives: Annotated[tuple[ObjectiveSpec, ...], Field(min_length=1, max_length=4)] = Field(
        description="Metrics to optimize, the most important first."
    )
    constraints: Annotated[
        tuple[ConstraintSpec, ...], Field(max_length=16, description="Limits on metrics that are not objectives.")
    ] = ()
    scoring: ScoringSpec = Field(
        default=ScoringSpec(), description="What networks are asked besides their validation data."
    )
    search: SearchSpec = Field(description="How the space is searched.")
    quantization: QuantizationSpec | None = Field(
        default=None, description="Which quantization policies are searched; null: nothing is quantized."
    )
    gradient: GradientSpec | None = Field(default=None, description="A search by gradient; see docs/proxylessnas.md.")
    healing: HealingSpec | None = Field(
        default=None, description="Networks of the front are trained further with their parent; null: none is."
    )
    hardware: HardwareSpec = Field(default_factory=HardwareSpec, description="How latencies are obtained.")
    needs: NeedsSpec = Field(default_factory=NeedsSpec, description="What the worker must have.")
    labels: Annotated[Labels, Field(description="Words to find it by, such as `nightly` or `team=vision`.")] = ()
    notes: Annotated[str, Field(max_length=MAX_NOTES, description="Notes for people.")] = ""
    priority: Annotated[Priority, Field(description="Workers take the waiting job with the highest number first.")] = 0
    version: int = Field(default=JOB_VERSION, description="Version of this format; a request may leave it out.")

    @model_validator(mode="before")
    @classmethod
    def _fill_from_recipe(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not isinstance(given.get("recipe", DEFAULT_RECIPE), str):
            return given
        merged = filled(given, DATA_MODELS)
        fill_search(given, merged)
        return merged

    @field_validator("version")
    @classmethod
    def _spoken_here(cls, version: int) -> int:
        if version != JOB_VERSION:
            raise ValueError(f"Got version {version} of the job format, and this is {JOB_VERSION}; leave it out.")
        return version

    @field_validator("labels")
    @classmethod
    def _once(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        return once(labels)

    @field_validator("objectives")
    @classmethod
    def _different(cls, objectives: tuple[ObjectiveSpec, ...]) -> tuple[ObjectiveSpec, ...]:
        metrics = [objective.metric for objective in objectives]
        twice = sorted({metric for metric in metrics if metrics.count(metric) > 1})
        if twice:
            raise ValueError(f"Objective {twice[0]!r} is listed twice; list each metric once.")
        return objectives

    @model_validator(mode="after")
    def _scores_what_the_data_gives(self) -> JobSpec:
        kind = self.data.kind
        for wrong, right, kinds in (
            ("accuracy", "perplexity", ("text",)),
            ("label_gradient_alignment", "kl_divergence", ("text",)),
            ("perplexity", "accuracy", ("image", "labelled text", "labelled pairs")),
            *((one, "recall_at_1", ("pairs",)) for one in NOT_OF_PAIRS),
            *((one, "accuracy", ("image", "labelled text", "labelled pairs")) for one in OF_PAIRS),
            *((one, "perplexity", ("text",)) for one in OF_PAIRS),
        ):
            if wrong in self.metrics and kind in kinds:
                raise ValueError(
                    f"Data source {self.data.source!r} gives {kind}, on which networks have no {wrong}; "
                    f"ask for {right} instead."
                )
        if "zero_shot_accuracy" in self.metrics and getattr(self.data, "label", None) is None:
            raise ValueError("zero_shot_accuracy needs classes of images: name their column in data.label.")
        tasked = sorted(self.metrics & set(TASK_METRICS))
        if tasked and not self.scoring.tasks:
            raise ValueError(f"Metric {tasked[0]!r} needs questions; name a file of them in scoring.tasks.")
        if self.scoring.tasks and kind not in ("text", None):
            raise ValueError(
                f"scoring.tasks are asked of language models, but data source {self.data.source!r} gives {kind}."
            )
        return self

    @model_validator(mode="after")
    def _has_something_to_search(self) -> JobSpec:
        if self.training.epochs == 0 and self.supernet.pretrained is None and self.supernet.reuse is None:
            raise ValueError(
                "training.epochs is 0, so nothing is trained, and without supernet.pretrained the weights are "
                "random. Name a checkpoint, or train for at least one epoch."
            )
        if self.training.epochs == 0 and self.supernet.reuse is None and self.supernet.found is not None:
            refuse_untrained(self.supernet.found)
        if self.search.warm_start and self.supernet.reuse is None:
            raise ValueError(
                "search.warm_start needs a supernet that other jobs have searched; name it in supernet.reuse."
            )
        return self

    @model_validator(mode="after")
    def _one_size(self) -> JobSpec:
        found = self.supernet.found
        if found is not None and found.preprocessing is not None and getattr(self.data, "resize", None) is not None:
            raise ValueError(
                "Got data.resize, but images are prepared as the checkpoint's own preprocessor_config.json says; leave "
                "it out."
            )
        return self

    @model_validator(mode="after")
    def _method_can_train(self) -> JobSpec:
        refusal = self.training.method_options.refusal(pretrained=self.supernet.pretrained is not None)
        if refusal is not None:
            raise ValueError(refusal)
        return self

    @model_validator(mode="after")
    def _networks_honour_the_training(self, info: ValidationInfo) -> JobSpec:
        # An older version stored jobs whose options it ignored. Their results stay readable; what trains checks again.
        if self.supernet.reuse is not None or (info.context or {}).get(STORED):
            return self
        trainings = [self.training, *([self.gradient.final] if self.gradient is not None else [])]
        for training in trainings:
            options = training.method_options
            # A space is made only for options that somebody set, for methods that ask something of it anyway, and for
            # pairs, whose losses differ.
            own = options != type(options)() or options.asks_of_the_space or self.data.kind == "pairs"
            said = options.misfit(self.supernet.space()) if own else None
            said = said or augmentation_misfit(training.augmentation, self.data)
            if said is not None:
                raise ValueError(said)
        return self

    @model_validator(mode="after")
    def _gradient_is_whole(self) -> JobSpec:
        check_gradient(self)
        return self

    @model_validator(mode="after")
    def _healing_has_a_parent(self) -> JobSpec:
        check_healing(self)
        check_fidelities(self)
        return self

    @model_validator(mode="after")
    def _limits_agree(self) -> JobSpec:
        limits_of([o.objective() for o in self.objectives], [c.constraint() for c in self.constraints])
        return self

    @model_validator(mode="after")
    def _one_target(self) -> JobSpec:
        target_of((*self.objectives, *self.constraints), self.data.kind)
        return self

    @property
    def metrics(self) -> frozenset[str]:
        """Metrics of the objectives and the constraints."""
        return frozenset(part.metric for part in (*self.objectives, *self.constraints))

    @property
    def metrics_on_target(self) -> tuple[str, ...]:
        """Those of the metrics that a device decides, in the order of `ON_TARGET`."""
        return tuple(metric for metric in ON_TARGET if metric in self.metrics)

    @property
    def target(self) -> str | None:
        """The device of the job's latencies; None if no metric needs one."""
        return target_of((*self.objectives, *self.constraints), self.data.kind)

    @model_validator(mode="after")
    def _context_fits(self) -> JobSpec:
        if asked := sorted(self.metrics & set(OF_GENERATION)):
            from predictors.cost import check_has  # numpy: not needed to start the API

            check_has(self.supernet.space(), asked[0])
        if (context := self.hardware.context) is not None:
            takes = self.supernet.space().takes
            most = getattr(takes, "max_length", None)
            if most is None:
                raise ValueError(
                    f"hardware.context counts tokens of texts, and {self.supernet.family} takes {takes}; leave it out."
                )
            if context > most:
                raise ValueError(f"Got a hardware.context of {context} tokens; these networks take at most {most}.")
        return self

    @model_validator(mode="after")
    def _policies_can_be_executed(self) -> JobSpec:
        if self.quantization is not None:
            if self.gradient is not None:
                raise ValueError("A search by gradient has no quantization policies; leave one of the two out.")
            self.quantization.quantization().check_target(self.target)
            asked = self.metrics & {"kl_divergence", "label_gradient_alignment", "zero_shot_accuracy", *TASK_METRICS}
            if asked or self.scoring != ScoringSpec():
                raise ValueError(
                    f"Policies are scored by accuracy, perplexity or recall, not by {min(asked, default='scoring')}; "
                    "search the architecture by it first, and quantize the chosen network when it is exported."
                )
        return self

    @model_validator(mode="after")
    def _search_fits_the_space(self, info: ValidationInfo) -> JobSpec:
        # Of a warm start nobody knows here what is scored already.
        if self.search.algorithm == GRADIENT or self.search.warm_start or (info.context or {}).get(STORED):
            return self
        options = ALGORITHMS.options(self.search.algorithm).OPTIONS.model_validate(self.search.options)
        if isinstance(options, BudgetedOptions):
            said = options.misfit(self.space(), self.search.evaluations)
            if said is not None:
                raise ValueError(said)
        return self

    @model_validator(mode="after")
    def _seeds_are_of_the_space(self) -> JobSpec:
        # A reused supernet says which space it is, and its engines, before the job is checked again.
        known = self.supernet.reuse is None or self.supernet.deployable is not None
        if self.search.seed_architectures or self.quantization is not None:
            space = self.space()
            for values in self.search.seed_architectures if known else ():
                try:
                    space.architecture(**values)
                except ValueError as error:
                    raise ValueError(f"{error}{self.supernet.kept_to}") from None
        return self

    def space(self) -> SearchSpace:
        """What is searched: the supernet's networks, with their quantization policies if those are searched."""
        if self.quantization is None:
            return self.supernet_space()
        cache = self.hardware.context, self.hardware.batch
        key = f"{self.supernet.model_dump_json()} {cache}"
        made = quantized_space(self.supernet_space(), key, self.quantization)
        made.cache_tokens, made.cache_batch = cache
        return made

    def supernet_space(self) -> SearchSpace:
        """The supernet's networks, whose caches are counted as the job says."""
        space = self.supernet.space()
        space.cache_tokens, space.cache_batch = self.hardware.context, self.hardware.batch
        return space

    @property
    def goals(self) -> tuple[tuple[Objective, ...], tuple[Constraint, ...]]:
        """Objectives and constraints as the search sees them."""
        return tuple(o.objective() for o in self.objectives), tuple(c.constraint() for c in self.constraints)

    @property
    def checks_sharing(self) -> bool:
        """Whether networks are trained alone, to see what sharing weights costs; of the job that trains a supernet."""
        return self.training.sharing_check > 0 and self.supernet.reuse is None

    @property
    def title(self) -> str:
        """The job's name, or what stands for it."""
        return self.name or f"{self.recipe} on {self.data.source}"
