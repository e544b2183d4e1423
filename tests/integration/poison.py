"""Records that Prefect's server takes and cannot list afterwards, written as any client of its API may write them."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient

from tests.stack_driver import PATIENCE_SECONDS

# Deeper than the server's serialiser goes.
NESTED: Any = json.loads("[" * 300 + "]" * 300)
NOT_A_NUMBER = float("nan")
# What a run may hold that makes every list with it fail.
RUN_POISONS: dict[str, dict[str, Any]] = {
    "nested parameters": {"parameters": {"sources": ["a.pdf"], "more": NESTED}},
    "a label that is not a number": {"labels": {"more": NOT_A_NUMBER}},
}


async def write(client: PrefectClient, path: str, body: dict[str, Any]) -> None:
    """Send *body* as JSON, also where a strict writer of JSON would not. The server may store it and answer 500."""
    base = str(client.api_url).rstrip("/")
    # A connection of its own: the server closes it after such an answer.
    async with httpx.AsyncClient() as sender:
        credential = client._client.headers["authorization"]  # pyright: ignore[reportPrivateUsage]
        headers = {"content-type": "application/json", "authorization": credential}
        answer = await sender.post(base + path, content=json.dumps(body), headers=headers, timeout=PATIENCE_SECONDS)
    assert answer.status_code in (200, 201, 500), answer.text


async def write_run(client: PrefectClient, flow_id: UUID, poison: str, *, state: str = "RUNNING") -> UUID:
    """Write a run that no list can have. Return its id, which the server does not give."""
    before = set(await run_ids(client, flow_id))
    body = {"flow_id": str(flow_id), "name": "poison", "state": {"type": state}, "parameters": {}}
    await write(client, "/flow_runs/", body | RUN_POISONS[poison])
    (new,) = set(await run_ids(client, flow_id)) - before
    return new


async def run_ids(client: PrefectClient, flow_id: UUID) -> list[UUID]:
    """The ids of a flow's newest runs, also of those that cannot be read."""
    these = {"flows": {"id": {"any_": [str(flow_id)]}}, "sort": "ID_DESC", "limit": 1000}
    answer = await client.request("POST", "/ui/flow_runs/history", json=these)
    return [UUID(run["id"]) for run in answer.json()]
