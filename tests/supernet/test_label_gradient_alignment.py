"""Label-Gradient Alignment against its definition, worked out in other ways."""

import pytest
import torch
from torch import nn

from supernet import label_gradient_alignment as lga
from supernet.label_gradient_alignment import alignment, gradient_kernel, label_gradient_alignment


def labels_of(n, classes=4):
    return torch.arange(n) % classes


def matrix(labels):
    return (labels[:, None] == labels[None, :]).double() * 2 - 1


def small_network(seed=0, features=6, classes=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(features, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, classes))


class TestAlignment:
    @pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (3.0, 7.0), (1e-6, -2.0)])
    def test_a_kernel_that_is_the_labels_is_aligned(self, scale, shift):
        target = matrix(labels_of(12))
        assert alignment(scale * target + shift, target) == pytest.approx(1)
        assert alignment(-scale * target + shift, target) == pytest.approx(-1)

    def test_is_pearsons_correlation_over_all_entries(self):
        kernel = torch.rand(10, 10, dtype=torch.float64)
        target = matrix(labels_of(10))
        expected = torch.corrcoef(torch.stack([kernel.flatten(), target.flatten()]))[0, 1]
        assert alignment(kernel, target) == pytest.approx(float(expected))
        assert alignment(5 * kernel + 3, target) == pytest.approx(float(expected))

    @pytest.mark.parametrize("n", [100, 400])
    def test_random_gradients_are_aligned_only_with_themselves(self, n):
        torch.manual_seed(0)
        gradients = torch.randn(n, 4000)
        # Of random rows the diagonal alone stands out, whose correlation with the labels of 4 classes is sqrt(3 / n).
        assert alignment(gradients @ gradients.T, matrix(labels_of(n))) == pytest.approx((3 / n) ** 0.5, abs=0.02)

    def test_a_constant_kernel_is_not_aligned(self):
        assert alignment(torch.ones(6, 6), matrix(labels_of(6))) == 0.0


class TestKernel:
    def test_of_a_linear_layer_is_the_products_of_its_inputs(self):
        x = torch.randn(5, 6)
        network = nn.Linear(6, 3)
        # d sum(Wx + b) / dW = 1 x^T, and the bias does not count.
        assert gradient_kernel(network, x).numpy() == pytest.approx((3 * x @ x.T).numpy(), rel=1e-5)

    @pytest.mark.parametrize("coupled", [False, True])
    def test_is_what_backward_gives_for_weights_alone(self, coupled):
        network, x = small_network(), torch.randn(7, 6)
        network(torch.randn(50, 6))  # statistics that are not those of a fresh network
        kernel = gradient_kernel(network, x, coupled=coupled)
        network.train(coupled)
        rows = []
        for i in range(7):
            network.zero_grad()
            network(x)[i].sum().backward()
            rows.append(torch.cat([network[j].weight.grad.flatten() for j in (0, 1, 3)]))
        gradients = torch.stack(rows)
        assert kernel.numpy() == pytest.approx((gradients @ gradients.T).numpy(), rel=1e-4, abs=1e-5)

    def test_in_parts_it_is_the_same(self, monkeypatch):
        network, x = small_network(), torch.randn(6, 6)
        whole = gradient_kernel(network, x)
        monkeypatch.setattr(lga, "MOST_BYTES", 100)
        assert gradient_kernel(network, x).numpy() == pytest.approx(whole.numpy(), rel=1e-6)

    @pytest.mark.parametrize("coupled", [False, True])
    def test_leaves_the_network_as_it_was(self, coupled):
        network = small_network()
        network[1].eval()
        network[0].weight.requires_grad_(False)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        with torch.no_grad():
            gradient_kernel(network, torch.randn(6, 6), coupled=coupled)
        assert [module.training for module in network] == [True, False, True, True]
        assert not network[0].weight.requires_grad
        assert network[3].weight.grad is None
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_training_on_separable_classes_raises_it():
    torch.manual_seed(0)
    labels = labels_of(60, 3)
    x = torch.randn(60, 6) + 2 * torch.eye(6)[labels]
    network = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
    before = label_gradient_alignment(network, x, labels)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), labels).backward()
        optimizer.step()
    assert label_gradient_alignment(network, x, labels) > before + 0.05


@pytest.mark.parametrize(
    ("labels", "network", "message"),
    [
        (torch.zeros(4, dtype=torch.long), nn.Linear(6, 3), "two classes"),
        (torch.arange(4), nn.Linear(6, 3), "some samples of one class"),
        (torch.zeros(3, dtype=torch.long), nn.Linear(6, 3), "4 samples and 3 labels"),
        (labels_of(4, 2), nn.Tanh(), "no parameter called 'weight'"),
        (labels_of(4, 2), nn.Sequential(nn.Linear(6, 3), nn.Flatten(0)), r"output of shape \(3,\) for 1 samples"),
    ],
)
def test_what_has_no_alignment_is_refused(labels, network, message):
    with pytest.raises(ValueError, match=message):
        label_gradient_alignment(network, torch.randn(4, 6), labels)
