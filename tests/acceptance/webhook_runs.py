"""A document, and what receivers must get of a run over it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from blocks.webhooks.secrets import secret_bytes
from blocks.webhooks.signature import verify
from tests.stack_driver import eventually
from tests.webhooks import Receiver, Request

ALL_OF_A_RUN = {"task_started", "task_progress", "stage_completed", "stage_chain_completed", "task_completed"}


def document(tmp_path: Path, text: str = "# Snow\n\nThe plough leaves at five.\n") -> Path:
    path = tmp_path / "snow clearance.md"
    path.write_text(f"{text}\n{time.monotonic_ns()}\n")
    return path


def bodies(requests: list[Request]) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in requests]


def of_run(receiver: Receiver, run_id: str) -> list[Request]:
    """What has come of the run, each event once: it may come twice, and so may events of what other tests have left."""
    found: dict[str, Request] = {}
    for request in receiver.received():
        if json.loads(request.body)["task_id"] == run_id:
            found.setdefault(request.event_id, request)
    return list(found.values())


def wait_for_events_of(receiver: Receiver, run_id: str, count: int) -> list[Request]:
    """What `of_run` returns, once it is *count*."""
    eventually(lambda: len(of_run(receiver, run_id)) >= count, f"{count} events of run {run_id} have come")
    return of_run(receiver, run_id)


def require_signed(request: Request, *secrets: str) -> None:
    verify([secret_bytes(one) for one in secrets], request.headers, request.body, now=time.time())
