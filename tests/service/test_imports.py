"""The API process stays light: no torch, and little more than its frameworks at import."""

from __future__ import annotations

import statistics
import subprocess
import sys

import pytest

from service.embedded import EmbeddedServers

CALL_EVERY_ROUTE = """
import sys
from fastapi.testclient import TestClient
from service.api.app import create_app
from service.settings import Settings

app = create_app(Settings(database_url=sys.argv[1], redis_url=sys.argv[2], auth="off", allowed_hosts="testserver"))
called = 0
with TestClient(app, raise_server_exceptions=False, headers={"X-Winnow": "1"}) as client:
    job = client.post("/v1/jobs", json={"recipe": "bignas"}).json()["id"]
    paths = [(route.path, method) for route in app.routes for method in getattr(route, "methods", None) or ()]
    paths += [(path, method.upper()) for path, item in app.openapi()["paths"].items() for method in item]
    # Cancelled first, so that the stream of its events ends; then every route, in whatever order they stand.
    client.post(f"/v1/jobs/{job}/cancel")
    for path, method in sorted(set(paths)):
        address = path.replace("{job_id}", job).replace("{architecture_id}", "0" * 16).replace("{export_id}", "0" * 12)
        answer = client.request(method, address, json={"architecture_id": "x"} if method == "POST" else None)
        # No worker is here, so /readyz says that it is not ready.
        assert answer.status_code < 500 or path == "/readyz", (path, method, answer.status_code, answer.text)
        called += 1
heavy = {"torch", "pymoo", "onnx", "onnxruntime", "transformers", "sklearn", "datasets", "lm_eval"}
print(called, sorted(heavy & {name.split(".")[0] for name in sys.modules}))
"""

CPU_SECONDS = "import resource; used = resource.getrusage(resource.RUSAGE_SELF); print(used.ru_utime + used.ru_stime)"


def test_calling_every_route_loads_no_torch(servers: EmbeddedServers) -> None:
    command = [sys.executable, "-c", CALL_EVERY_ROUTE, servers.database_url, servers.redis_url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    called, heavy = done.stdout.split(" ", 1)
    assert int(called) >= 20
    assert heavy.strip() == "[]"


@pytest.mark.thorough
def test_importing_the_app_costs_little_more_than_its_frameworks() -> None:
    def cost(statement: str) -> float:
        done = subprocess.run(
            [sys.executable, "-c", f"{statement}; {CPU_SECONDS}"], capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    # Frameworks as the API uses them: FastAPI imports pydantic.v1 for its first route. Most of ours is the models of
    # what a job may say, which FastAPI makes schemas of.
    frameworks = (
        "import celery, fastapi, pydantic_settings, redis, sqlalchemy.orm; fastapi.FastAPI().get('/')(lambda: 'route')"
    )
    pairs = [(cost("import service.api.app"), cost(frameworks)) for _ in range(3)]
    # The median of ratios of neighbours: a moment in which the machine was fast or slow for one of them tips neither
    # way. 1.3 to 1.8, the latter beside ten other programs; with torch above 3.
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    assert ratio <= 2.2, f"{ratio:.2f} times the frameworks' processor time; in seconds: {pairs}"
