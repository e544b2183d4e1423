"""The manifests for Kubernetes say the same as the compose file, which `tests/acceptance/test_topology.py` runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.without_containers import expanded

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = ("setup", "gateway", "dispatcher", "worker", "prefect")


def manifests() -> list[dict[str, Any]]:
    files = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    return [document for file in files for document in yaml.safe_load_all(file.read_text())]


def container(name: str) -> dict[str, Any]:
    """The container of a deployment or job."""
    named = [one for one in manifests() if one.get("metadata", {}).get("name") == name]
    (only,) = [one for one in named if "template" in one.get("spec", {})]
    (inside,) = only["spec"]["template"]["spec"]["containers"]
    return inside


@pytest.mark.parametrize("name", OURS)
def test_each_service_has_the_same_command_on_kubernetes(name: str) -> None:
    assert container(name)["command"] == shlex.split(COMPOSE["services"][name]["command"])


def test_the_same_settings_are_given_on_kubernetes() -> None:
    (config,) = [one for one in manifests() if one["kind"] == "ConfigMap"]
    secrets = {one["metadata"]["name"]: one["stringData"] for one in manifests() if one["kind"] == "Secret"}
    assert {*config["data"], *secrets["waybill"]} == set(COMPOSE["services"]["gateway"]["environment"])
    given = {one["name"] for one in container("prefect")["env"]} - {"HOME"}
    assert given | set(secrets["prefect"]) == set(COMPOSE["services"]["prefect"]["environment"])


def test_every_manifest_is_part_of_the_kustomization_but_the_secrets() -> None:
    kustomization = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())
    there = {file.name for file in (DEPLOY / "kubernetes").glob("*.yaml")}
    assert there - set(kustomization["resources"]) == {"kustomization.yaml", "secrets.example.yaml"}


def test_no_secret_has_a_default() -> None:
    values = {"POSTGRES_PASSWORD": "from-the-operator", "PREFECT_AUTH": "user:from-the-operator"}
    for service in COMPOSE["services"].values():
        for name, text in (service.get("environment") or {}).items():
            if "PASSWORD" in name or "AUTH" in name or "DATABASE_URL" in name:
                assert "from-the-operator" in expanded(text, values), name
    with pytest.raises(ValueError, match="POSTGRES_PASSWORD: set it"):
        expanded(COMPOSE["services"]["gateway"]["environment"]["WAYBILL_DATABASE_URL"], {})
