"""The stage that trains a supernet: resume, divergence, memory, checkpoints, and the finished resource."""

from __future__ import annotations

import structlog

from pipeline import supernets
from pipeline.checkpoints import Checkpoints
from pipeline.curve import Curve, fallen, is_better
from pipeline.materials import fresh_supernet, make_trainer
from pipeline.reporter import Interrupted
from pipeline.workshop import JobFailed, Workshop
from service.store.models import JobState, Stage
from supernet.data import Dataset
from supernet.distributed import Orders
from supernet.flat import load_tensors, own_tensors
from supernet.memory import OutOfMemory, fits, is_out_of_memory
from supernet.network import Supernet
from supernet.trainer import NonFiniteLoss, Trainer

log = structlog.get_logger()

# How often a training that diverges is taken back before the job fails, and what its rate is then scaled by.
MOST_ROLLBACKS = 3
ROLLBACK_RATE = 0.5
MORE_MICRO_BATCHES = "Raise training.micro_batches, use more processes, activation_checkpointing or bfloat16."


def train_supernet(shop: Workshop, data: Dataset) -> Supernet:
    """A trained supernet: the job's own if it is stored, another one's to reuse, or trained now.

    Raises:
        Interrupted: the job is to be paused or cancelled; what was done is stored.
        JobFailed: it diverged too often, or its steps do not fit in memory.
    """
    stored = supernets.stored(shop)
    if stored is not None:
        Orders(shop.group, shop.device).stop()
        supernet = Supernet(shop.space).to(shop.device)
        load_tensors(supernet, shop.artifacts.load(stored.path, stored.sha256))
        return supernet
    if shop.spec.training.epochs == 0:
        Orders(shop.group, shop.device).stop()
        shop.reporter.stage(Stage.TRAIN_SUPERNET)
        return _finished(shop, data, fresh_supernet(shop.spec, shop.space, data, shop.device), 0)
    return _Training(shop, data).run()


def _finished(shop: Workshop, data: Dataset, supernet: Supernet, steps: int) -> Supernet:
    """Store a supernet as a resource that is ready for searches."""
    written = shop.artifacts.save(f"supernets/{shop.job_id}.safetensors", own_tensors(supernet))
    supernets.record(shop, data, supernet, written, steps)
    return supernet


class _Training:
    """One training, from its start or its newest checkpoint to its end."""

    def __init__(self, shop: Workshop, data: Dataset) -> None:
        self._shop, self._data = shop, data
        self._checkpoints = Checkpoints(shop)
        self._curve = Curve(shop, data)
        self._orders = Orders(shop.group, shop.device)
        self._trainer = self._fresh()

    def _fresh(self) -> Trainer:
        supernet = fresh_supernet(self._shop.spec, self._shop.space, self._data, self._shop.device)
        trainer = make_trainer(self._shop.spec, supernet, self._data, self._shop.group)
        trainer.before_gathering = self._orders.gather
        return trainer

    def run(self) -> Supernet:
        self._resume()
        reporter = self._shop.reporter
        reporter.stage(Stage.TRAIN_SUPERNET, self._done)
        try:
            while self._trainer.steps_done < self._trainer.num_steps:
                self._step()
                try:
                    reporter.progress(self._done)
                except Interrupted as interrupted:
                    if interrupted.state == JobState.PAUSING:
                        self._checkpoints.save(self._trainer)
                    raise
                self._checkpoints.save_if_due(self._trainer)
            result = self._trainer.result
        finally:
            self._orders.stop()
        result = _finished(self._shop, self._data, result, self._trainer.steps_done)
        self._checkpoints.remove_all()
        return result

    @property
    def _done(self) -> float:
        return self._trainer.steps_done / self._trainer.num_steps

    def _resume(self) -> None:
        checkpoint = self._checkpoints.restore_newest(self._trainer)
        if checkpoint is not None:
            self._orders.restore(checkpoint.id)
            self._shop.tell("info", f"Resumed at step {checkpoint.step} of {self._trainer.num_steps}.")

    # --- one step, and what may go wrong in it ----------------------------------------------------

    def _step(self) -> None:
        try:
            self._orders.step()
            losses = self._trainer.step()
        except NonFiniteLoss as error:
            self._roll_back(str(error))
            return
        except OutOfMemory:
            self._halve_micro_batch()
            return
        except RuntimeError as error:
            if is_out_of_memory(error):  # of a sharded training, whose processes cannot go on together
                self._orders.abandon()
                raise JobFailed(f"Out of memory. {MORE_MICRO_BATCHES}") from error
            raise
        scores = self._curve.add(self._trainer, losses)
        if scores is None:
            return
        largest, metric, best = scores["largest"], self._data.metric, self._trainer.best_score
        if best is not None and fallen(metric, largest, best):
            self._roll_back(f"{metric.capitalize()} of the largest network fell to {largest:.4g} from {best:.4g}.")
        elif is_better(metric, largest, best):
            self._trainer.best_score = largest
            if self._trainer.steps_done < self._trainer.num_steps:
                self._checkpoints.save_best(self._trainer)

    def _roll_back(self, reason: str) -> None:
        """Go back to the last good checkpoint, or to the start, at half the learning rate."""
        factor = self._trainer.rate_factor * ROLLBACK_RATE
        if factor < ROLLBACK_RATE**MOST_ROLLBACKS:
            raise JobFailed(
                f"{reason} The training diverged {MOST_ROLLBACKS + 1} times, although its learning rate was halved "
                f"{MOST_ROLLBACKS} times. Lower training.learning_rate "
                f"(now {self._shop.spec.training.learning_rate:g}), clip gradients (training.clip_norm), or look "
                "for broken examples in the data."
            )
        micro_batches = self._trainer.micro_batches
        checkpoint = self._checkpoints.restore_good(self._trainer)
        self._orders.restore(0 if checkpoint is None else checkpoint.id, factor)
        self._orders.cut(micro_batches)
        if checkpoint is None:
            self._trainer = self._fresh()
        self._trainer.rate_factor, self._trainer.micro_batches = factor, micro_batches
        self._curve.forget()
        # Checkpoints after the good one have gone astray; the next resume must find this one, with its rate.
        self._checkpoints.remove_newest()
        self._checkpoints.save(self._trainer)
        text = f"{reason} Back to step {self._trainer.steps_done} with {factor:g} of the learning rate."
        self._shop.tell("warning", text)
        log.warning("rolled back", step=self._trainer.steps_done, reason=reason)

    def _halve_micro_batch(self) -> None:
        """Cut batches into twice as many parts, once; the second time say what would fit.

        Raises:
            JobFailed: it was done before, or the parts would be too small.
        """
        trainer, training = self._trainer, self._shop.spec.training
        share = training.batch_size // self._shop.group.size
        now = share // trainer.micro_batches
        halved = trainer.micro_batches > training.micro_batches
        if halved or now % 2 or now < 4:
            raise JobFailed(f"Out of memory with {now} examples at once on {self._shop.device}. {self._advice()}")
        trainer.micro_batches *= 2
        self._orders.cut(trainer.micro_batches)
        text = (
            f"Out of memory with {now} examples at once: batches are cut into {trainer.micro_batches} micro-batches of "
            f"{now // 2}. The batch of {training.batch_size} that a step learns from is unchanged."
        )
        self._shop.tell("warning", text)
        log.warning("micro-batch halved", micro_batches=trainer.micro_batches)

    def _advice(self) -> str:
        """Sizes that fit, found by trying."""
        parts = fitting_micro_batches(self._trainer, self._orders)
        if parts is None:
            return "Not even 2 examples fit: choose a smaller space, activation_checkpointing or bfloat16."
        size = self._shop.spec.training.batch_size // (parts * self._shop.group.size)
        batch = size * self._shop.group.size
        return (
            f"{size} examples at once do fit: set training.micro_batches to {parts}, or training.batch_size to {batch}."
        )


def fitting_micro_batches(trainer: Trainer, orders: Orders) -> int | None:
    """The fewest micro-batches, doubling from the current number, whose gradients fit in memory; None: none do."""
    count = trainer.micro_batches * 2
    while trainer.options.batch_size // (count * trainer.group.size) >= 2:
        orders.try_step(count)
        if fits(trainer, count):
            return count
        count *= 2
    return None
