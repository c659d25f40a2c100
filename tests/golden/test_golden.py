"""Numbers that a refactoring must not move."""

import pytest
import torch

from job.spec import JobSpec
from search.algorithms import make_algorithm
from search.objectives import Objective
from search_space.plugins import load_family
from supernet.data import load_dataset
from supernet.methods.bignas.method import BigNAS
from supernet.network import Supernet
from supernet.trainer import Trainer, TrainingOptions

SPACE = load_family("mobilenet", "digits")


def test_losses_of_the_third_bignas_step_on_digits():
    """The tolerance is that of another processor: it sums in another order. On one machine the losses
    are equal bit for bit (tests/supernet/test_trainer.py)."""
    torch.manual_seed(0)
    supernet = Supernet(SPACE)
    training = JobSpec.model_validate({"training": {"lr_decay_epochs": 0.2}}).training
    options = TrainingOptions(**training.model_dump(include=set(TrainingOptions.model_fields)))
    trainer = Trainer(supernet, BigNAS(), load_dataset("digits", 0).train, options, seed=0)
    for _ in range(3):
        losses = trainer.step()
    assert losses == pytest.approx(
        {
            "loss_largest": 2.082392,
            "loss_smallest": 2.215959,
            "loss_random": 2.147957,
            "learning_rate": 0.00392457,
        },
        abs=1e-4,
    )


def test_the_first_batch_of_nsga2():
    """Resume is replay: a stored search continues only if the algorithm asks for the same again."""
    objectives = [Objective("accuracy", "maximize"), Objective("macs")]
    algorithm = make_algorithm("nsga2", SPACE, objectives, seed=0, evaluations=250, population=8)
    assert [architecture.id for architecture in algorithm.ask()] == [
        "8adbc1cdabf0018d",
        "099d5ed96ecfccec",
        "77d331873677801b",
        "963ed7c781a42a12",
        "555f89624e94af82",
        "fba5f8b42e97c47e",
        "db1c53c0d88e96ce",
        "72ce62448ff7fed9",
    ]
