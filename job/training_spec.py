"""TrainingSpec: how a supernet's weights are trained."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from job.parts import InnerPart, complete_options, offered
from plugins.kinds import METHODS
from plugins.registry import one_of
from supernet.options import AugmentationOptions, MethodOptions, TrainingOptions


class _Method(InnerPart):
    """Which method, before everything else."""

    method: str = Field(description="A training method, such as `bignas`.")


class TrainingSpec(TrainingOptions, _Method):
    """How the supernet's weights are trained: by whom, from which seed, with which method."""

    processes: Annotated[int, Field(ge=1, le=64, description="Processes on each machine that share every batch.")] = 1
    hosts: Annotated[
        int, Field(ge=1, le=64, description="Machines that share every batch; the others run `winnow join`.")
    ] = 1
    augmentation: AugmentationOptions = Field(
        default=AugmentationOptions(), description="What training changes in its images."
    )
    sharing_check: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Share of the training's cost that may be spent on training two random networks alone for as "
            "many epochs, to show what sharing weights costs; 0: nothing is shown.",
        ),
    ] = 0.0
    seed: Annotated[
        int, Field(ge=0, lt=2**31, description="Seed of the split, the initial weights and the batches.")
    ] = 0
    options: dict[str, float | int | bool | str] = Field(
        default_factory=dict,
        validate_default=True,
        description="Options of the method itself.",
        json_schema_extra=offered(METHODS),
    )

    @property
    def total_processes(self) -> int:
        """Processes that share every batch, on all machines."""
        return self.hosts * self.processes

    @property
    def method_options(self) -> MethodOptions:
        """What the method is handed."""
        declared: type[MethodOptions] = METHODS.options(self.method).OPTIONS
        return declared.model_validate(self.options)

    @property
    def unshardable(self) -> str:
        """Options here that do not work with sharded weights, by name; empty if there are none."""
        values = {"ema_decay": self.ema_decay, "lora_rank": self.lora_rank, "compile": self.compile}
        return " and ".join(name for name, value in values.items() if value)

    @field_validator("method")
    @classmethod
    def _known_method(cls, method: str) -> str:
        return one_of(METHODS.word, method, METHODS.names())

    @field_validator("options")
    @classmethod
    def _options_of_the_method(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return complete_options(METHODS, info.data.get("method"), options)

    @model_validator(mode="after")
    def _sensible(self) -> TrainingSpec:
        if self.epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"Got {self.warmup_epochs:g} epochs of warm-up in a training of {self.epochs}; warm up for fewer."
            )
        share, rest = divmod(self.batch_size, self.total_processes * self.micro_batches)
        if rest or share < 2:
            raise ValueError(
                f"A batch of {self.batch_size} cannot be cut into {self.total_processes} processes x "
                f"{self.micro_batches} "
                "micro-batches of at least 2 examples; choose a multiple of that."
            )
        if self.sharing_check and self.total_processes > 1:
            raise ValueError(
                f"Got sharing_check: {self.sharing_check:g} with {self.total_processes} processes; networks are "
                "trained alone by one process. Set it to 0, or processes and hosts to 1."
            )
        if self.sharing_check and not self.epochs:
            raise ValueError("Got sharing_check with 0 epochs: nothing is trained, so there is nothing to compare.")
        if self.sharded and self.total_processes == 1:
            raise ValueError("Got sharded: true with one process, which has nobody to share with; raise processes.")
        if self.sharded and self.unshardable:
            raise ValueError(f"Got sharded: true together with {self.unshardable}; leave one of them out.")
        return self
