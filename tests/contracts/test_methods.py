"""Contract of a training method, whatever it is."""

import pytest
import torch

from job.spec import JobSpec
from plugins import kinds
from search_space import plugins
from supernet.data import load_dataset
from supernet.network import Supernet
from supernet.trainer import Trainer, TrainingOptions

NAMES = kinds.METHODS.names()
pytestmark = pytest.mark.parametrize("name", NAMES)


def method_class(name: str):
    return kinds.METHODS.load(name).METHOD


def trainer(name: str, epochs: int = 2) -> Trainer:
    training = JobSpec.model_validate({"training": {"epochs": epochs, "lr_decay_epochs": 1}}).training
    options = TrainingOptions(**training.model_dump(include=set(TrainingOptions.model_fields)))
    torch.manual_seed(0)
    supernet = Supernet(plugins.load_family("mobilenet", "digits"))
    return Trainer(supernet, method_class(name)(), load_dataset("digits", 0).train, options, seed=0)


def test_a_job_may_name_the_method_alone(name):
    assert JobSpec.model_validate({"training": {"method": name}}).training.method == name


def test_losses_fall_in_few_steps(name):
    made = trainer(name, epochs=20)
    curves = [made.step() for _ in range(getattr(kinds.METHODS.example(name), "STEPS", 40))]
    losses = [sum(value for key, value in step.items() if key.startswith("loss")) for step in curves]
    assert losses
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_a_step_reports_finite_numbers(name):
    for key, value in trainer(name).step().items():
        assert isinstance(value, float), key
        assert value == value, key
        assert abs(value) < 1e6, key
