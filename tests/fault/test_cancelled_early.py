"""A run is cancelled while Prefect's runner has not registered a process of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.gateway.up import KILLED_IN_PARTS, Up
from tests.stack_driver import PATIENCE_SECONDS, eventually, prefect_login
from waybill.stack.cancellations import runs_of_children

pytestmark = KILLED_IN_PARTS


@pytest.fixture
def prefect(up: Up) -> Iterator[httpx.Client]:
    port = json.loads((up.home / "stack.json").read_text())["prefect_server"]["port"]
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}/api/", auth=prefect_login(up.home), timeout=PATIENCE_SECONDS
    ) as client:
        yield client


def start(prefect: httpx.Client, source: Path, **body: object) -> str:
    deployment = prefect.get("deployments/name/process-documents/waybill").raise_for_status().json()["id"]
    given = {"parameters": {"sources": [str(source)], "stages": [1]}, **body}
    return prefect.post(f"deployments/{deployment}/create_flow_run", json=given).raise_for_status().json()["id"]


def put(prefect: httpx.Client, run_id: str, state: str) -> None:
    answer = prefect.post(f"flow_runs/{run_id}/set_state", json={"state": {"type": state}})
    assert answer.raise_for_status().json()["status"] == "ACCEPT"


def state_of(prefect: httpx.Client, run_id: str) -> dict[str, str]:
    return prefect.get(f"flow_runs/{run_id}").raise_for_status().json()["state"]


def test_a_run_that_is_cancelled_before_its_process_starts_is_cancelled_in_the_end(
    up: Up, prefect: httpx.Client
) -> None:
    # As the runner leaves it in that moment: "Pending", and without a process.
    later = {"type": "SCHEDULED", "state_details": {"scheduled_time": "2099-01-01T00:00:00Z"}}
    run_id = start(prefect, up.home, state=later)
    put(prefect, run_id, "PENDING")
    put(prefect, run_id, "CANCELLING")
    eventually(lambda: state_of(prefect, run_id)["type"] == "CANCELLED", "the run is cancelled")
    assert state_of(prefect, run_id)["message"] == "There was no process that could confirm it."
    eventually(lambda: events(up, run_id) == ["task_cancelled"], "the event is recorded")


def test_the_process_of_a_run_is_known_by_its_environment(up: Up, prefect: httpx.Client, tmp_path: Path) -> None:
    note = tmp_path / "b.md"
    note.write_text("# Another heading\n\nSome words.\n")
    flow_server = int(json.loads((up.home / "serve.json").read_text())["pid"])
    with database(up) as connection:
        # It cannot store its source before it was seen.
        connection.execute("lock table artifacts in share mode")
        run_id = start(prefect, note)
        eventually(lambda: run_id in runs_of_children(flow_server), "the run has a process")
    eventually(lambda: run_id not in runs_of_children(flow_server), "its process has ended")
    assert state_of(prefect, run_id)["type"] == "COMPLETED"
    up.run_ids.append(run_id)


def database(up: Up) -> psycopg.Connection[tuple[str]]:
    return psycopg.connect(f"postgresql://postgres@/waybill?host={up.home / 'postgres'}")


def events(up: Up, run_id: str) -> list[str]:
    with database(up) as connection:
        found = connection.execute("select event_type from webhook_events where task_id = %s", [run_id])
        return [event_type for (event_type,) in found]
