"""The services of ``deploy/compose.yaml`` on hosts of their own: what one gateway takes, any other one shows, any
worker runs, and no single machine is missed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from deploy.without_containers import Copy, Topology, running, wait_for
from tests.stack_driver import PATIENCE_SECONDS, private_directory
from tests.two_hosts import can_have_hosts

pytestmark = pytest.mark.skipif(not can_have_hosts(), reason="network namespaces take root and ip")

# Starting a flow run on a machine that does other things too.
_STEP_SECONDS = 3 * PATIENCE_SECONDS


@pytest.fixture(scope="module")
def topology() -> Iterator[Topology]:
    with private_directory() as folder, running(folder, {"gateway": 2, "worker": 2, "dispatcher": 2}) as topology:
        yield topology


def call(topology: Topology, gateway: Copy, method: str, path: str, **more: Any) -> httpx.Response:
    key = (topology.folder / "volumes" / "keys" / "api-key").read_text().strip()
    while True:
        answer = httpx.request(
            method, f"http://{gateway.address}:8000/api/v1/{path}", headers={"Authorization": f"Bearer {key}"},
            timeout=PATIENCE_SECONDS, trust_env=False, **more,
        )  # fmt: skip
        # A Prefect server that is busy: the client is asked to try again in a moment.
        if answer.status_code != 503 or answer.json()["error"]["code"] != "PrefectUnavailable":
            break
        time.sleep(float(answer.headers["Retry-After"]))
    assert answer.is_success, f"{answer.status_code} {answer.text}\n{topology.log(gateway)[-2000:]}"
    return answer


def upload(topology: Topology, gateway: Copy, name: str) -> str:
    content = f"# {name}\n\nThe ferry {name} leaves at five and carries 40 passengers.\n".encode()
    return str(
        call(topology, gateway, "POST", "ingest/file", files={"file": (f"{name}.md", content)}).json()["task_id"]
    )


def ended(topology: Topology, gateway: Copy, task_id: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        found.update(call(topology, gateway, "GET", f"status/{task_id}").json())
        return found["status"] in {"completed", "failed", "cancelled"}

    wait_for(has_ended, f"{task_id} has ended", _STEP_SECONDS)
    return found


def test_what_one_gateway_takes_the_other_one_shows_and_reads(topology: Topology) -> None:
    first, second = topology.copies_of("gateway")
    task_id = upload(topology, first, "Vermilion")
    assert ended(topology, second, task_id)["status"] == "completed"
    listed = call(topology, second, "GET", "files/list", params={"run_id": task_id, "stage": 1}).json()
    (markdown,) = [one["file_id"] for one in listed["files"]]
    content = call(topology, second, "GET", f"files/download/{markdown}").text
    assert "carries 40 passengers" in content
    found = call(topology, first, "GET", "search", params={"q": "ferry passengers"}).json()
    assert "Vermilion" in json.dumps(found)


def test_each_host_is_apart(topology: Topology) -> None:
    """Nothing of another host answers on its own loopback address: only the names of the file connect them."""
    first, *_ = topology.copies_of("gateway")
    with pytest.raises(httpx.ConnectError):
        httpx.get("http://127.0.0.1:8000/health", trust_env=False, timeout=5)
    assert httpx.get(f"http://{first.address}:8000/health", trust_env=False, timeout=PATIENCE_SECONDS).is_success


def test_a_gateway_a_worker_and_a_dispatcher_that_lose_power_are_not_missed(topology: Topology) -> None:
    gateway, other = topology.copies_of("gateway")
    worker, _ = topology.copies_of("worker")
    dispatcher, _ = topology.copies_of("dispatcher")
    for copy in (gateway, worker, dispatcher):
        topology.kill(copy)
    assert ended(topology, other, upload(topology, other, "Saffron"))["status"] == "completed"
    for copy in (gateway, worker, dispatcher):
        topology.start(copy)


def test_gateways_are_replaced_one_at_a_time_without_a_failed_request(topology: Topology) -> None:
    gateways = topology.copies_of("gateway")
    wait_until_ready(gateways)
    for copy, other in zip(gateways, reversed(gateways), strict=True):
        # What a proxy does: it sends nothing to the one that is being replaced.
        topology.stop(copy)
        task_id = upload(topology, other, f"during-{copy.name}")
        topology.start(copy)
        wait_until_ready([copy])
        assert ended(topology, copy, task_id)["status"] == "completed"


def wait_until_ready(gateways: list[Copy]) -> None:
    for copy in gateways:
        wait_for(lambda copy=copy: is_ready(copy), f"{copy.name} is ready")


def is_ready(gateway: Copy) -> bool:
    try:
        return httpx.get(f"http://{gateway.address}:8000/ready", trust_env=False, timeout=10).status_code == 200
    except httpx.HTTPError:
        time.sleep(0.2)
        return False
