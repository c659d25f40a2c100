"""A search by gradient through the real API, broker, database and worker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from service.client import Client, ClientError
from tests.conftest import open_folder
from tests.e2e.helpers import is_finished, wait_for
from tests.proxyless.test_strategy import CHOICES, table

pytestmark = pytest.mark.e2e


def job(targets: list[str], **gradient: Any) -> dict[str, Any]:
    return {
        "recipe": "proxylessnas",
        "hardware": {"seconds": 0.02},
        "supernet": {"choices": CHOICES},
        "training": {"epochs": 3, "batch_size": 256},
        "objectives": [{"metric": "accuracy"}, {"metric": "macs"}],
        "search": {"calibration_images": 64},
        "gradient": {
            "targets": targets,
            "latency_weights": [1.0],
            "warmup_epochs": 6,
            "every": 1,
            "learning_rate": 0.1,
            "final": {"epochs": 3, "batch_size": 256},
            **gradient,
        },
    }


@pytest.fixture(scope="module")
def phone() -> Any:
    with open_folder() as folder:
        yield table(folder, "phone", 40, 0.01)


@pytest.mark.thorough
def test_a_search_by_gradient_ends_in_an_export(client: Client, phone: str) -> None:
    """What was derived is on the front, priced by the table, measured here, and exported with its own weights."""
    first = client.submit(job([phone]))
    done = wait_for(client, first["id"], is_finished)
    assert done["state"] == "succeeded", done["message"]
    (network,) = client.gradient(first["id"])["networks"]
    (point,) = client.front(first["id"])["points"]
    assert point["architecture_id"] == network["derived"]["architecture_id"]
    assert point["metrics"]["latency_ms"] > 0
    assert point["sources"]["latency_ms"] == "measured"
    assert network["search"][-1]["epoch"] == 3
    formats = client.export(first["id"], point["architecture_id"])["report"]["formats"]
    assert formats["safetensors"]["max_abs_difference"] == 0
    assert formats["onnx"]["same_predictions"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"budgets_ms": [0.2]}, "A budget of 0.2 ms cannot be kept: the cheapest network"),
        ({"latency_weights": [-0.1]}, "at least 0"),
        ({"latency_weights": ["much"]}, "must be a number"),
        ({"latency_weights": []}, "gradient.latency_weights or gradient.budgets_ms; got neither"),
        ({"targets": ["nobody"]}, "There is no target 'nobody'"),
        ({"targets": ["cpu-abacus!"]}, "target name"),
    ],
)
def test_what_cannot_be_had_is_refused_with_its_reason(
    client: Client, phone: str, change: dict[str, Any], said: str
) -> None:
    asked = job(**{"targets": [phone], **change})
    if "budgets_ms" in change:
        del asked["gradient"]["latency_weights"]
    with pytest.raises(ClientError, match=said):
        client.submit(asked)


def test_spaces_and_tables_that_do_not_go_with_it_are_refused(client: Client, phone: str) -> None:
    data = {"source": "cifar10", "path": os.fspath(Path(phone).parent)}
    cifar = {**job([phone]), "supernet": {"preset": "cifar"}, "data": data}
    with pytest.raises(ClientError, match=r"lacks \d+ rows: conv"):
        client.submit(cifar)
    single = {"choices": {**CHOICES, "stage1_block1": ["k3e1"]}}
    with pytest.raises(ClientError, match=r"stage1_block1.* has a single candidate operation"):
        client.submit({**job([phone]), "supernet": single})
    other = client.submit({"recipe": "bignas", "training": {"epochs": 1}})
    client.verb(other["id"], "cancel")
    with pytest.raises(ClientError, match="does not search by gradient"):
        client.gradient(other["id"])
