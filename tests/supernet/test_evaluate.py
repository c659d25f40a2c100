"""Accuracy: the share of correct top-1 predictions."""

import pytest
import torch
from torch import nn

from supernet.data import Split
from supernet.evaluate import BATCH, accuracy


class ByFirstPixel(nn.Module):
    """Predicts the class that the input names."""

    def forward(self, x):
        return nn.functional.one_hot(x[:, 0].long(), 10).float()


def test_accuracy_is_the_share_of_correct_predictions():
    split = Split(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([0, 1, 2, 9]))
    assert accuracy(ByFirstPixel(), split) == 0.75


@pytest.mark.parametrize("count", [1, BATCH, BATCH + 1, 2 * BATCH + 7])
def test_every_example_counts_however_the_batches_fall(count):
    x = torch.arange(count).remainder(10)[:, None].float()
    y = x[:, 0].long()
    y[-1] = (y[-1] + 1) % 10
    assert accuracy(ByFirstPixel(), Split(x, y)) == pytest.approx((count - 1) / count)


def test_a_network_is_scored_in_evaluation_mode_and_left_there():
    network = nn.Sequential(nn.Dropout(1.0), ByFirstPixel()).train()
    split = Split(torch.full((4, 1), 3.0), torch.full((4,), 3))
    assert accuracy(network, split) == 1.0
    assert not network.training


def test_scoring_builds_no_gradients():
    class Watcher(ByFirstPixel):
        def forward(self, x):
            assert not torch.is_grad_enabled()
            return super().forward(x)

    assert accuracy(Watcher(), Split(torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64))) == 1.0
