"""Contract of a training method, whatever it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from job.spec import JobSpec
from plugins import kinds
from search_space.plugins import load_family
from supernet.data import load_dataset
from supernet.network import Supernet
from supernet.options import MethodOptions
from supernet.trainer import Trainer
from winnow.testing.contract import Declared, example

# Steps in which losses must fall, unless the plug-in's `example.py` says otherwise.
STEPS = 40


def trainer(plugin: str, epochs: int = 2) -> Trainer:
    """A training of digits with the method's default options."""
    training = JobSpec.model_validate({"training": {"epochs": epochs, "lr_decay_epochs": 1}}).training
    method: Any = kinds.METHODS.load(plugin).METHOD(kinds.METHODS.options(plugin).OPTIONS())
    torch.manual_seed(0)
    supernet = Supernet(load_family("mobilenet", "digits"))
    return Trainer(supernet, method, load_dataset("digits", 0).train, training, seed=0)


# pytest forgets the filter that Winnow sets for the gradients that it shares on purpose.
@pytest.mark.filterwarnings("ignore:grad and param do not obey the gradient layout contract:UserWarning")
class MethodContract(Declared):
    """What holds of every training method."""

    kind = kinds.METHODS

    def test_it_says_what_it_cannot_train(self, plugin: str) -> None:
        """A method trains from scratch with its defaults."""
        declared = self.declared(plugin)
        assert issubclass(declared, MethodOptions)
        assert declared().refusal(pretrained=False) is None

    def test_a_job_may_name_the_method_alone(self, plugin: str) -> None:
        """The method's defaults complete such a job."""
        training = JobSpec.model_validate({"training": {"method": plugin}}).training
        assert training.method == plugin
        assert training.options == self.declared(plugin)().model_dump()
        assert training.method_options == self.declared(plugin)()

    def test_losses_fall_in_few_steps(self, plugin: str) -> None:
        """The method learns."""
        made = trainer(plugin, epochs=20)
        curves = [made.step() for _ in range(example(kinds.METHODS, plugin, "STEPS", STEPS))]
        losses = [sum(value for key, value in step.items() if key.startswith("loss")) for step in curves]
        assert losses
        assert sum(losses[-5:]) < 0.8 * sum(losses[:5])

    def test_a_step_reports_finite_numbers(self, plugin: str) -> None:
        """The dashboard shows these numbers while the job trains."""
        for key, value in trainer(plugin).step().items():
            assert isinstance(value, float), key
            assert value == value, key
            assert abs(value) < 1e6, key
