"""The form of a run as Prefect serves it, and what its API refuses before a run exists; on a real `waybill up`."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from prefect.flows import load_flow_from_entrypoint

from tests.acceptance.conftest import WITH_UP, CommandLine
from tests.stack_driver import PATIENCE_SECONDS, prefect_login
from tests.unit.test_parameter_bounds import DEPLOYMENTS, fields
from waybill.stack.deployments import Deployment

pytestmark = WITH_UP

PROCESS, EXPORT, EXPIRE = "process-documents/waybill", "export-table/waybill", "expire-artifacts/nightly"
TRIM, DELIVER = "trim-history/nightly", "deliver-webhooks/deliver-webhooks"
A_FILE = {"sources": ["/data/report.pdf"]}
# Each with the field that the answer names.
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (PROCESS, {}, "sources"),
    (PROCESS, {"sources": []}, "sources"),
    (PROCESS, {"sources": [""]}, "sources"),
    (PROCESS, {"sources": "report.pdf"}, "sources"),
    (PROCESS, {**A_FILE, "optoins": {}}, "optoins"),
    (PROCESS, {**A_FILE, "stages": [9]}, "stages"),
    (PROCESS, {**A_FILE, "stages": ["chonker"]}, "stages"),
    (PROCESS, {**A_FILE, "stages": "1-3"}, "stages"),
    (PROCESS, {**A_FILE, "webhook_url": "not a url"}, "webhook_url"),
    (PROCESS, {**A_FILE, "webhook_url": "ftp://example.org/hook"}, "webhook_url"),
    (PROCESS, {**A_FILE, "keep_for": "soon"}, "keep_for"),
    (PROCESS, {**A_FILE, "options": {"chunker": {"max_tokens": 0}}}, "options"),
    (PROCESS, {**A_FILE, "options": {"chunker": {"max_token": 100}}}, "options"),
    (PROCESS, {**A_FILE, "run_on": {"chonker": "gpu-pool"}}, "run_on"),
    (EXPORT, {"format": "pdf"}, "format"),
    (EXPORT, {"keep_for": "soon"}, "keep_for"),
    # A run's parameters are kept and shown, so a URL with a password must not get there.
    (EXPORT, {"query": "select 1", "database": "postgresql://me:word@host/db"}, "database"),
    (EXPORT, {"encrypt_for": ["ssh-ed25519 AAAA"]}, "encrypt_for"),
    (EXPORT, {"job_id": "exp_1"}, "job_id"),
    (EXPORT, {"formt": "csv"}, "formt"),
    (EXPIRE, {"kinds": ["everything"]}, "kinds"),
    (EXPIRE, {"plan_id": "the last one"}, "plan_id"),
    (EXPIRE, {"policy": {"older_then": "1d"}}, "policy"),
    (EXPIRE, {"max_failed_share": 2}, "max_failed_share"),
    (TRIM, {"history": "a week"}, "history"),
    (DELIVER, {"seconds": 0}, "seconds"),
]
# What callers send today, and what the form offers.
ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    (PROCESS, A_FILE),
    (PROCESS, {**A_FILE, "stages": [1, 2, 3]}),
    (PROCESS, {**A_FILE, "stages": ["markdown-conversion", "chunker"]}),
    (PROCESS, {**A_FILE, "stages": None, "options": None, "webhook_url": None, "keep_for": None, "run_on": None}),
    (PROCESS, {**A_FILE, "options": {"fact_generator": {"max_facts": 10}}, "reuse": False}),
    (PROCESS, {**A_FILE, "webhook_url": "https://example.org:8443/hook?for=me", "keep_for": "90d"}),
    (PROCESS, {**A_FILE, "run_on": {"fact_generator": "gpu-pool", "chunker": {"label": "a", "wait": "10m"}}}),
    (EXPORT, {"export_type": "mine", "query": "select 1", "database": "sales", "format": "xlsx"}),
    (EXPORT, {"encrypt_for": ["storage"], "keep_for": "24h", "job_id": "exp_0123456789abcdef"}),
    (EXPIRE, {"plan_id": "6e9d0c4e-7a4f-4d0e-9b8a-0d8f2f2f6a11", "kinds": ["export"], "policy": {"max_share": 0.1}}),
    (TRIM, {"history": "7d", "audit": "365d", "max_seconds": 60}),
]


class Server:
    """Prefect's API of the running stack."""

    def __init__(self, waybill: CommandLine) -> None:
        lines = (waybill.home / "up.log").read_text().splitlines()
        (address,) = [line.split()[-1] for line in lines if "Prefect API" in line]
        self._client = httpx.Client(base_url=address, auth=prefect_login(waybill.home), timeout=PATIENCE_SECONDS)

    def deployment(self, name: str) -> dict[str, Any]:
        return self._client.get(f"/deployments/name/{name}").raise_for_status().json()

    def begin_run(self, deployment: str, parameters: dict[str, Any]) -> httpx.Response:
        """A run that is due in a century."""
        scheduled = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2125-01-01T00:00:00Z"}}
        asked = {"parameters": parameters, "state": scheduled}
        return self._client.post(f"/deployments/{self.deployment(deployment)['id']}/create_flow_run", json=asked)

    def forget_run(self, run_id: str) -> None:
        self._client.delete(f"/flow_runs/{run_id}").raise_for_status()


@pytest.fixture
def server(waybill: CommandLine) -> Server:
    return Server(waybill)


# `waybill up` serves these, or has them for remote workers; that of slices is made in the pool that a run names.
UP_HAS = [one for one in DEPLOYMENTS if one.is_served or one.is_remote]


@pytest.mark.parametrize("deployment", UP_HAS, ids=lambda one: f"{one.entrypoint.split(':')[-1]}-{one.name}")
def test_the_served_form_explains_every_field_in_its_order_and_takes_no_other(
    server: Server, deployment: Deployment
) -> None:
    flow = load_flow_from_entrypoint(deployment.entrypoint)
    served = server.deployment(f"{flow.name}/{deployment.name}")
    schema = served["parameter_openapi_schema"]
    assert served["enforce_parameter_schema"] is True
    assert served["description"] == deployment.description
    assert set(deployment.tags) < set(served["tags"])
    assert schema["additionalProperties"] is False
    assert schema["properties"].keys() == flow.parameters.properties.keys()
    for where, found in fields(schema):
        for name, field in found.items():
            assert field.get("title") not in {None, name} and field["description"], (where, name)
        assert sorted(field["position"] for field in found.values()) == list(range(len(found))), where


def test_stages_are_offered_by_name_in_their_order(server: Server) -> None:
    stages = server.deployment(PROCESS)["parameter_openapi_schema"]["properties"]["stages"]
    by_name, by_number, left_out = stages["anyOf"]
    assert by_name["items"]["enum"] == [
        "markdown-conversion",
        "markdown-optimizer",
        "chunker",
        "fact-generator",
        "ingestor",
    ]
    assert by_number["items"]["enum"] == [1, 2, 3, 4, 5]
    assert left_out == {"type": "null", "title": "Left out"}


@pytest.mark.parametrize(("deployment", "parameters", "field"), REFUSED)
def test_wrong_parameters_are_refused_before_there_is_a_run(
    server: Server, deployment: str, parameters: dict[str, Any], field: str
) -> None:
    answer = server.begin_run(deployment, parameters)
    assert answer.status_code == 409, answer.text
    assert field in answer.json()["detail"]


@pytest.mark.parametrize(("deployment", "parameters"), ACCEPTED)
def test_right_parameters_are_accepted(server: Server, deployment: str, parameters: dict[str, Any]) -> None:
    answer = server.begin_run(deployment, parameters)
    assert answer.status_code == 201, answer.text
    server.forget_run(answer.json()["id"])
