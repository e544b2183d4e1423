"""A run is cancelled in the moment in which Prefect's runner starts its process."""

from __future__ import annotations

import json

import httpx
import psycopg

from tests.gateway.up import KILLED_IN_PARTS, Up
from tests.stack_driver import eventually

pytestmark = KILLED_IN_PARTS


def test_a_run_that_is_cancelled_before_its_process_starts_is_cancelled_in_the_end(up: Up) -> None:
    port = json.loads((up.home / "stack.json").read_text())["prefect_server"]["port"]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/", timeout=30) as prefect:
        deployment = prefect.get("deployments/name/process-documents/waybill").raise_for_status().json()["id"]
        created = prefect.post(f"deployments/{deployment}/create_flow_run", json={"parameters": {"sources": ["x.md"]}})
        run_id = created.raise_for_status().json()["id"]

        def state() -> str:
            return prefect.get(f"flow_runs/{run_id}").raise_for_status().json()["state"]["type"]

        eventually(lambda: state() != "SCHEDULED", "the runner has taken the run")
        cancelling = prefect.post(f"flow_runs/{run_id}/set_state", json={"state": {"type": "CANCELLING"}})
        assert cancelling.raise_for_status().json()["status"] == "ACCEPT"
        eventually(lambda: state() == "CANCELLED", "the run is cancelled")
        eventually(lambda: events(up, run_id) == ["task_cancelled"], "the event is recorded")


def events(up: Up, run_id: str) -> list[str]:
    with psycopg.connect(f"postgresql://postgres@/waybill?host={up.home / 'postgres'}") as connection:
        found = connection.execute("select event_type from webhook_events where task_id = %s", [run_id])
        return [event_type for (event_type,) in found]
