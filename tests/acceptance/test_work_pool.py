"""The deployments on a Prefect server and a worker of one's own: what ``prefect.yaml`` says, as printed there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from blocks.runs.remote_stages import REMOTE_POOL
from tests.shared_servers import PREFECT_ALONE
from tests.stack_driver import PATIENCE_SECONDS, eventually, plain_environment, prefect_login, prefect_variables
from tests.webhooks import Receiver

_END_SECONDS = 30
POOL = "waybill-pool"


def deployments(prefect_api: str) -> list[dict[str, Any]]:
    return call("POST", f"{prefect_api}/deployments/filter", json={})


def call(method: str, url: str, **body: Any) -> Any:
    """An answer of Prefect's API; None for one without content."""
    answer = httpx.request(method, url, auth=prefect_login(), timeout=PATIENCE_SECONDS, **body).raise_for_status()
    return answer.json() if answer.content else None


@pytest.fixture
def environment(prefect_alone: str, database_url: str, tmp_path: Path) -> dict[str, str]:
    """What a worker's machine has: Prefect's address, and what Waybill's flows need."""
    return {
        **plain_environment(),
        "DO_NOT_TRACK": "1",
        **prefect_variables(prefect_alone),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "WAYBILL_ALLOW_PRIVATE_WEBHOOKS": "127.0.0.0/8",
        "WAYBILL_DATABASE_URL": database_url,
        # The stage that tests add takes a millisecond.
        "WAYBILL_EXTRA_STAGES": "tests.stages.hostile:HOSTILE",
        "WAYBILL_HOME": str(tmp_path / "home"),
        "COLUMNS": "200",
    }


def prefect(environment: Mapping[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@contextmanager
def working(environment: Mapping[str, str], log: Path) -> Iterator[None]:
    """A worker of the pool, until the end of the block."""
    with log.open("w") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL],
            env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield
    finally:
        worker.terminate()
        try:
            worker.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:  # how Prefect's worker ends is not what is tested
            worker.kill()
            worker.wait()


def run_to_the_end(prefect_api: str, deployment_id: str, parameters: Mapping[str, object]) -> dict[str, Any]:
    """The state in which a run of the deployment ended."""
    url = f"{prefect_api}/deployments/{deployment_id}/create_flow_run"
    run_id = call("POST", url, json={"parameters": parameters})["id"]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        state = call("GET", f"{prefect_api}/flow_runs/{run_id}")["state"]
        if state["type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"} or time.monotonic() > deadline:
            return dict(state)
        time.sleep(0.2)


# A dozen processes that import Prefect, one after the other.
@pytest.mark.timeout(1500)
@PREFECT_ALONE
def test_all_deployments_run_on_a_work_pool(
    environment: dict[str, str], prefect_alone: str, database_url: str, receiver: Receiver, tmp_path: Path
) -> None:
    for pool in (POOL, REMOTE_POOL):
        prefect(environment, "work-pool", "create", pool, "--type", "process")
    prefect(environment, "--no-prompt", "deploy", "--all")
    found = deployments(prefect_alone)
    assert {(re.split("[.:]", one["entrypoint"])[-1], one["name"]) for one in found} == {
        ("process_documents", "waybill"),
        ("process_slice", "waybill"),
        ("expire_artifacts", "nightly"),
        ("expire_artifacts", "hourly"),
        ("expire_artifacts", "transfers"),
        ("export_table", "waybill"),
        ("trim_history", "nightly"),
        ("deliver_webhooks", "deliver-webhooks"),
        ("reconcile_events", "reconcile-events"),
        ("run_stage", "remote"),
        ("watch_source", "waybill"),
        ("forget_document", "waybill"),
    }
    (remote,) = [one for one in found if one["name"] == "remote"]
    assert (remote["path"], remote["pull_steps"], remote["work_pool_name"]) == (None, [], REMOTE_POOL)
    for one in found:  # its schedule: a run of this minute would leave no room for the one that is asked for here
        call("POST", f"{prefect_alone}/deployments/{one['id']}/pause_deployment")
    document = tmp_path / "letter.md"
    document.write_text("# A letter\n\nThe ferry leaves at five.\n")
    parameters = {"sources": [str(document)], "stages": [6], "webhook_url": receiver.url("/hook")}
    with working(environment, tmp_path / "worker.log"):
        for entrypoint, name, given in (
            ("process_documents", "waybill", parameters), ("deliver_webhooks", "deliver-webhooks", {}),
            ("expire_artifacts", "nightly", {}),
        ):  # fmt: skip
            (chosen,) = [
                one["id"] for one in found if one["entrypoint"].endswith(f":{entrypoint}") and one["name"] == name
            ]
            state = run_to_the_end(prefect_alone, chosen, given)
            assert state["type"] == "COMPLETED", f"{state}\n{(tmp_path / 'worker.log').read_text()[-3000:]}"
    with psycopg.connect(database_url) as connection:
        kept = connection.execute("select filename, state from artifacts order by stage nulls first").fetchall()
    assert kept == [("letter.md", "available"), ("letter.hostile.txt", "available")]
    receiver.wait_for(7)
    expected = {"task_started", "stage_completed", "stage_chain_completed", "task_completed"}
    # One of the seven may have come twice.
    eventually(
        lambda: expected <= {json.loads(request.body)["event_type"] for request in receiver.received()},
        f"all of {expected} have come",
    )
