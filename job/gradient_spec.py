"""GradientSpec: a search by gradient on target hardware (ProxylessNAS), instead of evaluations of a supernet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from job.parts import InnerPart
from job.training_spec import TrainingSpec
from predictors.targets import named_target

if TYPE_CHECKING:
    from job.spec import JobSpec

# What `search.algorithm` says in such a job.
GRADIENT = "gradient"
METHOD = "proxylessnas"
# Networks that one job may search for: each costs a search and a training of its own.
MAX_NETWORKS = 64

Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class BaselineSpec(InnerPart):
    """A published network of the same data, shown beside the front."""

    name: Annotated[str, Field(min_length=1, max_length=100)] = Field(description="Name of the network.")
    accuracy: Annotated[float, Field(ge=0, le=1)] = Field(description="Published accuracy, 0 to 1.")
    latency_ms: Milliseconds | None = Field(default=None, description="Published latency.")
    macs: Annotated[int, Field(gt=0)] | None = Field(default=None, description="Published multiply-accumulates.")
    params: Annotated[int, Field(gt=0)] | None = Field(default=None, description="Published parameters.")
    source: Annotated[str, Field(max_length=200, description="Where the numbers are from.")] = ""


class GradientSpec(InnerPart):
    """One network for every target and every latency weight or budget: searched for, then trained alone."""

    targets: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...],
        Field(
            min_length=1,
            max_length=8,
            description="What networks are specialised for: a target such as `cpu-onnxruntime` or a registered one, "
            "whose layers are measured; an uploaded table; or the absolute path of a latency table as CSV.",
        ),
    ] = ("cpu-onnxruntime",)
    latency_weights: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = Field(
        default=(),
        max_length=MAX_NETWORKS,
        description="Weights of latency in the loss, one network for each; 0: latency does not count.",
    )
    budgets_ms: tuple[Milliseconds, ...] = Field(
        default=(),
        max_length=MAX_NETWORKS,
        description="Budgets in place of weights: one network for each, within that many milliseconds.",
    )
    loss: Literal["add_linear", "mul_log"] = Field(
        default="add_linear",
        description="`add_linear`: CE + weight (E - ref) / ref; `mul_log`: scale CE (log E / log ref)^weight.",
    )
    reference_ms: Milliseconds | None = Field(
        default=None,
        description="`ref` of the losses; null: the latency that is expected when all options are equally likely.",
    )
    mode: Literal["two", "full", "reinforce"] = Field(
        default="two",
        description="`two` compares two candidates of each block in a step, `full` all of them; `reinforce` has "
        "rewards and no gradient.",
    )
    warmup_epochs: Annotated[
        int, Field(ge=0, le=100_000, description="Epochs that train the weights alone, with every path equally likely.")
    ] = 40
    warmup_learning_rate: Annotated[float, Field(gt=0, le=100)] = Field(
        default=0.05, description="Learning rate of the warm-up."
    )
    warmup_lr_decay_epochs: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="Epochs in which the rate of the warm-up falls; null: `training.lr_decay_epochs`, or else "
        "a 150th of the warm-up.",
    )
    learning_rate: Annotated[
        float, Field(gt=0, le=10, description="Learning rate of Adam over the architecture parameters.")
    ] = 1e-3
    first_epoch: Annotated[int, Field(ge=0, description="Epochs of the search before the architecture moves.")] = 1
    every: Annotated[int, Field(ge=1, description="Weight steps between two steps of the architecture.")] = 5
    steps: Annotated[int, Field(ge=1, le=1000, description="Steps of the architecture at a time.")] = 1
    held_out_share: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description="Share of the training examples that only the architecture learns from in the search.",
        ),
    ] = 0.1
    held_out_batch_size: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Examples of one step of the architecture; null: as in the training."
    )
    samples: Annotated[int, Field(ge=2, le=1000, description="Paths of one update, in mode `reinforce`.")] = 10
    final: TrainingSpec = Field(description="How each derived network is trained from scratch, with method `single`.")
    baselines: tuple[BaselineSpec, ...] = Field(
        default=(), max_length=100, description="Published networks of the same data, to stand beside the front."
    )

    @model_validator(mode="after")
    def _weights_or_budgets(self) -> GradientSpec:
        if bool(self.latency_weights) == bool(self.budgets_ms):
            got = "both" if self.budgets_ms else "neither"
            raise ValueError(f"Give gradient.latency_weights or gradient.budgets_ms; got {got}.")
        for target in self.targets:
            named_target(target)
        for name in ("targets", "latency_weights", "budgets_ms"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"gradient.{name} lists a value twice: {', '.join(map(str, values))}.")
        if self.num_networks > MAX_NETWORKS:
            raise ValueError(
                f"{len(self.targets)} targets times {len(self.aims)} weights or budgets are {self.num_networks} "
                f"networks; one job searches for at most {MAX_NETWORKS}."
            )
        if self.loss == "mul_log" and self.budgets_ms:
            raise ValueError("A budget is kept by itself and has no loss form; leave gradient.loss out.")
        if self.mode == "reinforce" and self.loss == "mul_log":
            raise ValueError("Mode reinforce has a reward instead of a loss; leave gradient.loss out.")
        return self

    @property
    def aims(self) -> tuple[float, ...]:
        """The weights, or the budgets in ms."""
        return self.latency_weights or self.budgets_ms

    @property
    def num_networks(self) -> int:
        """Networks that are searched for."""
        return len(self.targets) * len(self.aims)

    def every_aim(self) -> list[tuple[str, float | None, float | None]]:
        """(target, latency weight, budget in ms) of every network, in the order in which they are searched for."""
        if self.budgets_ms:
            return [(target, None, budget_ms) for target in self.targets for budget_ms in self.budgets_ms]
        return [(target, weight, None) for target in self.targets for weight in self.latency_weights]

    def check_target(self, target: str, cheapest_ms: float, dearest_ms: float) -> None:
        """Refuse what cannot be had on a target.

        Args:
            cheapest_ms, dearest_ms: least and most that the space's networks take there.

        Raises:
            ValueError: a budget that no network keeps or that all keep, or logarithms of less than a millisecond.
        """
        for budget_ms in self.budgets_ms:
            if budget_ms <= cheapest_ms:
                raise ValueError(
                    f"A budget of {budget_ms:g} ms cannot be kept: the cheapest network of the space takes "
                    f"{cheapest_ms:.4g} ms on {target!r}. Raise gradient.budgets_ms, or use a smaller space."
                )
            if budget_ms >= dearest_ms:
                raise ValueError(
                    f"A budget of {budget_ms:g} ms forbids nothing: the dearest network of the space takes "
                    f"{dearest_ms:.4g} ms on {target!r}. Lower gradient.budgets_ms, or ask for latency_weights [0]."
                )
        if self.loss == "mul_log" and min(cheapest_ms, self.reference_ms or dearest_ms) <= 1:
            raise ValueError(
                f"Loss mul_log takes logarithms of milliseconds, so latencies must exceed 1 ms; on {target!r} networks "
                f"take {cheapest_ms:.4g} to {dearest_ms:.4g} ms. Use add_linear, or a reference_ms above 1."
            )


def fill_search(given: dict[str, Any], merged: dict[str, Any]) -> None:
    """What follows from the rest: the number of evaluations is that of the networks.

    Args:
        given: what the client wrote.
        merged: the same over the recipe's defaults; changed in place.
    """
    part, search, mine = merged.get("gradient"), merged.get("search"), given.get("search")
    if not (isinstance(part, dict) and isinstance(search, dict)) or search.get("algorithm") != GRADIENT:
        return
    # A recipe's weights and budgets exclude each other: the client's kind wins.
    own = given.get("gradient")
    if isinstance(own, dict) and ("latency_weights" in own) != ("budgets_ms" in own):
        part.pop("latency_weights" if "budgets_ms" in own else "budgets_ms", None)
    lists = [part.get(name) for name in ("latency_weights", "budgets_ms")]
    aims = next((values for values in lists if isinstance(values, list | tuple) and values), ())
    targets = part.get("targets", ("cpu-onnxruntime",))
    if isinstance(targets, list | tuple) and not (isinstance(mine, dict) and "evaluations" in mine):
        search["evaluations"] = max(1, len(aims) * len(targets))


def check_gradient(spec: JobSpec) -> None:
    """Refuse a job whose other parts do not go with a search by gradient.

    Raises:
        ValueError: with what to change.
    """
    part, by_gradient = spec.gradient, spec.search.algorithm == GRADIENT
    if part is None:
        if by_gradient:
            raise ValueError(
                "search.algorithm is 'gradient', so the job needs a part gradient; see recipe proxylessnas."
            )
        return
    if not by_gradient or spec.training.method != METHOD:
        raise ValueError(
            f"The job has a part gradient, which goes with search.algorithm 'gradient' and training.method {METHOD!r}; "
            f"got {spec.search.algorithm!r} and {spec.training.method!r}. Leave gradient out, or change them."
        )
    if spec.search.evaluations != part.num_networks:
        raise ValueError(
            f"The job searches for {part.num_networks} networks, one for each target and weight or budget, and "
            f"search.evaluations is {spec.search.evaluations}; leave it out."
        )
    if spec.search.seed_architectures:
        raise ValueError("A search by gradient starts from every network at once; leave search.seed_architectures out.")
    for name, asked in (
        ("search.helpers", spec.search.helpers),
        ("search.warm_start", spec.search.warm_start),
        ("quantization", spec.quantization),
        ("scoring.tasks", spec.scoring.tasks),
        ("sharing_check", spec.training.sharing_check or part.final.sharing_check),
        ("metric kl_divergence, which compares with a full network", "kl_divergence" in spec.metrics),
    ):
        if asked:
            raise ValueError(f"A search by gradient cannot honour {name}; leave it out.")
    if min(spec.training.epochs, part.final.epochs) < 1:
        raise ValueError("A search by gradient trains: training.epochs and gradient.final.epochs must be at least 1.")
    if part.final.method != "single":
        raise ValueError(
            f"Derived networks are trained alone: gradient.final.method is 'single', not {part.final.method!r}."
        )
    if part.final.options.get("architecture", "largest") != "largest":
        raise ValueError("gradient.final trains the derived network; leave its options.architecture out.")
    if spec.supernet.pretrained is not None or spec.supernet.reuse is not None:
        raise ValueError("A search by gradient trains all candidates itself; leave supernet.pretrained and reuse out.")
    if part.first_epoch >= spec.training.epochs:
        raise ValueError(
            f"The search has {spec.training.epochs} epochs and the architecture rests for {part.first_epoch}; "
            "it must rest for fewer."
        )
    if part.mode == "reinforce" and spec.data.kind == "text":
        raise ValueError("Mode reinforce rewards accuracy, which language models do not have; choose mode two or full.")
    for name, training in (("training", spec.training), ("gradient.final", part.final)):
        _check_training(name, training)
    _check_blocks(spec)


def _check_training(name: str, training: TrainingSpec) -> None:
    for field, off in (("processes", 1), ("hosts", 1), ("lora_rank", 0), ("ema_decay", 0.0), ("compile", False)):
        if getattr(training, field) != off and not (name == "gradient.final" and field == "ema_decay"):
            raise ValueError(f"A search by gradient cannot honour {name}.{field}; leave it at {off}.")


def _check_blocks(spec: JobSpec) -> None:
    from search_space.operations import blocks_of  # numpy: not needed to start the API

    blocks_of(spec.supernet.space())
