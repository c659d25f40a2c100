"""Trainer: steps, schedule, optimizer and exact resume, whatever the method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from search_space.space import SearchSpace
from supernet.augment import Augmentation, seeded
from supernet.averaging import Average
from supernet.data.dataset import Batch, Split
from supernet.distributed import ALONE, Group
from supernet.flat import load_tensors, own_tensors
from supernet.importance import orders_by_importance, put_in_order
from supernet.lora import LowRankUpdate
from supernet.memory import OutOfMemory, free_memory, is_out_of_memory
from supernet.network import Supernet
from supernet.optimizers import decayed, make_optimizer, undecayed
from supernet.options import AugmentationOptions, TrainingOptions
from supernet.passes import Passes
from supernet.randomness import derived_rng
from supernet.sharding import gathered, shard, spread, spread_all

__all__ = ["NonFiniteLoss", "Sorting", "Trainer", "TrainingMethod", "TrainingOptions"]


class NonFiniteLoss(ArithmeticError):
    """A step's loss or gradient was NaN or infinite; the step was not applied."""


class TrainingMethod(Protocol):
    """What a folder of `supernet/methods` must offer (see `bignas`): made from its options, it has these verbs."""

    def prepare(self, supernet: Supernet) -> None:
        """Set initial values of a fresh supernet's weights."""

    def step(self, passes: Passes, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
        """Add one step's gradients to `.grad`; return what to show as the training curve.

        Called once a micro-batch with generators of the same state, so that all of them train the same
        sub-networks. Losses are means over the micro-batch and go through `passes.backward`.
        """


@runtime_checkable
class Sorting(Protocol):
    """A training method that wants the important channels, heads and neurons first before widths become elastic."""

    def sorts_after(self, space: SearchSpace, num_steps: int) -> int | None:
        """Number of steps after which they are put first; None: never."""


class Trainer:
    """Trains a supernet step by step; between any two steps it can be saved and resumed exactly.

    Everything random about step `n` (its batch, its augmentation, its sub-networks, its dropout) is derived
    from the seed and `n`, so the state of a run is its tensors and the number of steps done.

    Args:
        supernet: fresh, or loaded; `method.prepare` is called on it.
        train: on the supernet's device, or on the CPU.
        seed: decides batches and sub-networks (initial weights are the caller's).
        augment: augmentation of training images.
        group: the processes that share every batch; each must be given the same weights and arguments.
        num_steps: instead of whole epochs; the schedule of the options is stretched over them.

    Attributes:
        rate_factor: scales the learning rate; the divergence guard lowers it.
        micro_batches: into which a process cuts its share of a batch now; memory may ask for more than the options.
        best_score: best score of the largest network so far; kept for the guard, which sets it.
        units_seen: images or tokens trained on by all processes since this trainer was made.
        before_gathering: called with whether the optimizer's state is wanted too, where spread weights are about to
            be made whole; process 0 tells the others with it to do the same.

    Raises:
        ValueError: options that exclude one another, or that these data cannot honour.
    """

    def __init__(
        self,
        supernet: Supernet,
        method: TrainingMethod,
        train: Split,
        options: TrainingOptions,
        seed: int,
        augment: AugmentationOptions | None = None,
        group: Group = ALONE,
        num_steps: int | None = None,
    ) -> None:
        self.supernet, self.method, self.train, self.options, self.seed, self.group = (
            supernet,
            method,
            train,
            options,
            seed,
            group,
        )
        self.steps_per_epoch = max(1, len(train) // options.batch_size)
        self.num_steps = options.epochs * self.steps_per_epoch if num_steps is None else num_steps
        # Steps of an epoch of the schedule: those of the data, unless the training has a number of its own.
        self._steps_of_schedule = self.steps_per_epoch if num_steps is None else num_steps / options.epochs
        self.steps_done = 0
        self.rate_factor = 1.0
        self.best_score: float | None = None
        self.micro_batches = options.micro_batches
        self.units_seen = 0
        self.before_gathering: Callable[[bool], None] = lambda whole_state: None
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))
        if train.is_pairs:
            _check_whole(options, group)
        method.prepare(supernet)
        self._sorts_after = method.sorts_after(self.space, self.num_steps) if isinstance(method, Sorting) else None
        if self._sorts_after is not None:
            _check_sorted(options)
        if options.sharded:
            _check_sharded(options, group)
            _check_no_transforms(supernet)
            shard(supernet)
        self.low_rank: LowRankUpdate | None = None
        weights = list(supernet.parameters())
        if options.lora_rank:
            generator = torch.Generator().manual_seed(seed)
            self.low_rank = LowRankUpdate(supernet, options.lora_rank, options.lora_alpha, generator)
            weights = self.low_rank.factors
        self._weights = weights
        self.optimizer = make_optimizer(weights, options, undecayed(supernet))
        self.average = Average(supernet, options.ema_decay) if options.ema_decay else None
        self.passes = Passes(supernet, options.precision, options.activation_checkpointing)
        self.passes.num_steps = self.num_steps
        self._batches = Augmentation(train, augment or AugmentationOptions(), seed)
        if options.compile:
            self.passes.compile_ends()

    @property
    def space(self) -> SearchSpace:
        """The supernet's space."""
        return self.supernet.space

    @property
    def result(self) -> Supernet:
        """What the training is for: the averaged weights if there are some, else the weights.

        If the training is sharded, every process must ask for it; process 0 gets a whole copy.
        """
        if self.average is not None:
            return self.average.supernet
        if not self.options.sharded:
            return self.supernet
        self.before_gathering(False)
        weights = gathered(own_tensors(self.supernet), keep=self.group.rank == 0)
        if self.group.rank:
            return self.supernet
        whole = Supernet(self.space).to(self.device)
        load_tensors(whole, weights)
        return whole

    @property
    def device(self) -> torch.device:
        """The supernet's device."""
        return self.supernet.device

    def step(self) -> dict[str, float]:
        """Do the next step; return the losses of its members and the learning rate.

        Raises:
            NonFiniteLoss: the step was not applied; go back to a checkpoint.
            OutOfMemory: the same; cut batches into more parts.
        """
        rate = self.rate_factor * self.options.rate(self.steps_done / self._steps_of_schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.supernet.train()
        self.supernet.zero_grad(set_to_none=True)
        losses = self._gradients()
        if not all(np.isfinite(value) for value in losses.values()):
            self.supernet.zero_grad(set_to_none=True)
            raise NonFiniteLoss(f"The loss of step {self.steps_done + 1} is not finite: {losses}.")
        if self.low_rank is not None:
            self.low_rank.pull()
        norm = self._clip()
        if not np.isfinite(norm):
            self.supernet.zero_grad(set_to_none=True)
            raise NonFiniteLoss(f"The gradient of step {self.steps_done + 1} is not finite; losses: {losses}.")
        self.optimizer.step()
        if self.low_rank is not None:
            self.low_rank.push()
        self.steps_done += 1
        if self.average is not None:
            self.average.update(self.steps_done)
        if self.steps_done == self._sorts_after:
            self._sort()
        return {**losses, "learning_rate": rate}

    def _sort(self) -> None:
        """Put what is important by its weights first, with the optimizer's state and averages; a part of the step."""

        def moments(weight: Tensor) -> list[Tensor]:
            state = self.optimizer.state.get(weight, {})
            return [each for each in state.values() if isinstance(each, Tensor) and each.shape == weight.shape]

        found = orders_by_importance(self.supernet, score="weight")
        orders = [self.group.broadcast(torch.tensor(order, device=self.device)).tolist() for order in found]
        put_in_order(self.supernet, orders, moments)
        if self.average is not None:
            put_in_order(self.average.supernet, orders)

    def _gradients(self) -> dict[str, float]:
        """Fill `.grad` with the gradients of the whole batch; the mean losses of every process."""
        try:
            total = self._own_gradients()
        except (torch.OutOfMemoryError, RuntimeError) as error:
            # Processes that spread their weights meet in every block: the others cannot be told.
            if not is_out_of_memory(error) or self.options.sharded:
                raise
            total = None
        if self.group.any(total is None, self.device):
            free_memory(self)
            raise OutOfMemory(f"Step {self.steps_done + 1} did not fit in memory.")
        assert total is not None
        self.group.add_gradients(self.supernet)
        names = list(total)
        return dict(zip(names, self.group.add(torch.stack([total[name] for name in names])).tolist(), strict=True))

    def _own_gradients(self) -> dict[str, Tensor]:
        """Fill `.grad` with what this process's share of the batch adds; its share of the mean losses."""
        index = self._batch_of(self.steps_done)
        parts = self._parts(index)
        passes, total = self.passes, dict[str, Tensor]()
        passes.step, in_all = self.steps_done, self.train.num_targets(index)
        for part, mine in parts.items():
            batch = self._batches.batch(mine, self.steps_done, part, self.device)
            self._expect_after(part, parts)
            passes.weight = self.train.num_targets(mine) / in_all
            self.units_seen += batch.num_units * self.group.size
            with seeded(self.seed, f"dropout/{part}", self.steps_done, self.device):
                losses = self.method.step(passes, batch, derived_rng(self.seed, "sub-networks", self.steps_done))
            for name, loss in losses.items():
                total[name] = total.get(name, torch.zeros_like(loss)) + passes.weight * loss
        return total

    def _batch_of(self, step: int) -> Tensor:
        """Indices of a step's examples, the same on every process; one that is repeated comes in every round again.

        Repeated augmentation, arXiv 1901.09335: an epoch has as many steps as without, of fewer examples.
        """
        epoch, within = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            self._order = epoch, derived_rng(self.seed, "batches", epoch).permutation(len(self.train))
        size, repeats = self.options.batch_size, self._batches.options.repeats
        different = -(-size // repeats)
        chosen = self._order[1][within * different :][:different]
        return torch.from_numpy(np.tile(chosen, repeats)[:size])

    def _parts(self, index: Tensor) -> dict[int, Tensor]:
        """This process's share of a batch, in micro-batches by their number among those of all processes."""
        share = -(-len(index) // (self.group.size * self.micro_batches))
        first = self.group.rank * self.micro_batches
        mine = {part: index[part * share : (part + 1) * share] for part in range(first, first + self.micro_batches)}
        # A split smaller than a batch may not fill every part.
        return {part: some.to(self.train.y.device) for part, some in mine.items() if len(some)}

    def _expect_after(self, part: int, parts: dict[int, Tensor]) -> None:
        """Let data that lie in a file be read while a micro-batch is learned from: the next one, or the next step's."""
        if not self._batches.reads_ahead:
            return
        if part + 1 in parts:
            self._batches.expect(parts[part + 1], self.steps_done, part + 1)
        elif self.steps_done + 1 < self.num_steps:
            for following, some in list(self._parts(self._batch_of(self.steps_done + 1)).items())[:1]:
                self._batches.expect(some, self.steps_done + 1, following)

    def _clip(self) -> float:
        """Clip the gradients; the norm that they had."""
        kinds = [[w for w in self._weights if isinstance(w, DTensor) is shards] for shards in (True, False)]
        kinds = [weights for weights in kinds if weights]
        squares = torch.zeros((), device=self.device)
        for weights in kinds:
            if self.options.clip_value > 0:
                torch.nn.utils.clip_grad_value_(weights, self.options.clip_value)
            norm = torch.nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None])
            squares = squares + (norm.full_tensor() if isinstance(norm, DTensor) else norm).to(self.device) ** 2
        total = squares.sqrt()
        if self.options.clip_norm:
            for weights in kinds:
                torch.nn.utils.clip_grads_with_norm_(weights, self.options.clip_norm, total)
        return float(total)

    def try_step(self, micro_batches: int) -> None:
        """Compute the next step's gradients in so many parts and drop them, to see whether they fit in memory.

        Raises:
            OutOfMemory: they do not.
        """
        kept, self.micro_batches = self.micro_batches, micro_batches
        seen = self.units_seen
        try:
            self.supernet.train()
            self.supernet.zero_grad(set_to_none=True)
            self._gradients()
        finally:
            self.micro_batches, self.units_seen = kept, seen
            self.supernet.zero_grad(set_to_none=True)

    # --- exact resume ---------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Weights, optimizer state and averages as a flat dict: what a checkpoint stores besides `steps_done`.

        If the training is sharded, every process must ask for it; process 0 gets whole tensors, the others no weights.
        """
        if self.options.sharded:
            self.before_gathering(True)
        tensors = {f"supernet.{name}": value for name, value in own_tensors(self.supernet).items()}
        places = self._places()
        for index, state in self.optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer.{places[index]}.{name}"] = torch.as_tensor(value)
        if self.average is not None:
            tensors |= {f"average.{name}": value for name, value in self.average.tensors().items()}
        if self.low_rank is not None:
            tensors |= {f"low_rank.{name}": value for name, value in self.low_rank.tensors().items()}
        tensors["guard.rate_factor"] = torch.tensor(self.rate_factor, dtype=torch.float64)
        tensors["guard.micro_batches"] = torch.tensor(self.micro_batches)
        if self.best_score is not None:
            tensors["guard.best_score"] = torch.tensor(self.best_score, dtype=torch.float64)
        return gathered(tensors, keep=self.group.rank == 0) if self.options.sharded else tensors

    def _optimized(self) -> list[torch.nn.Parameter]:
        """Weights in the order of the optimizer's groups."""
        return [weight for group in self.optimizer.param_groups for weight in group["params"]]

    def _places(self) -> list[int]:
        """Where checkpoints keep the state of each: by shape alone, whatever else decides on groups by now."""
        by_shape = [weight for group in decayed(self._weights, 0.0) for weight in group["params"]]
        place = {id(weight): number for number, weight in enumerate(by_shape)}
        return [place[id(weight)] for weight in self._optimized()]

    def restore(self, tensors: dict[str, Tensor], steps_done: int) -> None:
        """Continue from what `tensors` gave after `steps_done` steps."""
        weights = _below("supernet.", tensors)
        if self.options.sharded:
            weights = spread_all(weights, self.supernet.state_dict())
        load_tensors(self.supernet, weights)
        state: dict[int, dict[str, Tensor]] = {}
        order, places = self._optimized(), self._places()
        for name, value in _below("optimizer.", tensors).items():
            place, key = name.split(".", 1)
            index = places.index(int(place))
            like = order[index]
            # Moments are spread as their weights are; counts of steps are not.
            state.setdefault(index, {})[key] = spread(value, like) if value.shape == like.shape else value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        if self.average is not None:
            self.average.restore(_below("average.", tensors))
        if self.low_rank is not None:
            self.low_rank.restore(_below("low_rank.", tensors))
        self.rate_factor = float(tensors["guard.rate_factor"])
        self.micro_batches = int(tensors["guard.micro_batches"])
        best = tensors.get("guard.best_score")
        self.best_score = None if best is None else float(best)
        self.steps_done = steps_done


def _check_whole(options: TrainingOptions, group: Group) -> None:
    """Refuse to cut batches of pairs: each is compared with all others of its batch, so parts are another loss."""
    cut = {"training.micro_batches": options.micro_batches, "training.processes": group.size}
    if said := [f"{name} is {number}" for name, number in cut.items() if number > 1]:
        raise ValueError(
            f"{' and '.join(said)}, but a pair is compared with all others of its batch, so a batch that is cut is "
            "another loss. Set it to 1; training.activation_checkpointing and bfloat16 save memory."
        )


def _check_sorted(options: TrainingOptions) -> None:
    """Refuse to sort weights that nobody has whole, or that are written anew from a low-rank update in every step."""
    for name, value, off in (("sharded", options.sharded, "false"), ("lora_rank", options.lora_rank, "0")):
        if value:
            raise ValueError(
                f"training.{name} is {str(value).lower()}, but training.options.sort puts whole weights in another "
                f"order; set training.{name} to {off}, or training.options.sort to false."
            )


def _check_sharded(options: TrainingOptions, group: Group) -> None:
    if group.size == 1:
        raise ValueError("training.sharded spreads weights over processes; give training.processes more than 1.")
    beside = {"ema_decay": options.ema_decay, "lora_rank": options.lora_rank, "compile": options.compile}
    if clashing := [f"training.{name}" for name, value in beside.items() if value]:
        raise ValueError(f"training.sharded does not work with {' and '.join(clashing)}; switch one of them off.")


def _check_no_transforms(supernet: Supernet) -> None:
    if any(len(supernet.slot(name).kernels) for name in supernet.slots):
        raise ValueError(
            "training.sharded is true, but kernels are made by transforms of whole ones; set training.sharded or "
            "training.options.transforms to false."
        )


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
