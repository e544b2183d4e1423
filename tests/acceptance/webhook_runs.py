"""A document, and what receivers must get of a run over it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from blocks.webhooks.secrets import secret_bytes
from blocks.webhooks.signature import verify
from tests.webhooks import Request

ALL_OF_A_RUN = {"task_started", "task_progress", "stage_completed", "stage_chain_completed", "task_completed"}


def document(tmp_path: Path, text: str = "# Snow\n\nThe plough leaves at five.\n") -> Path:
    path = tmp_path / "snow clearance.md"
    path.write_text(f"{text}\n{time.monotonic_ns()}\n")
    return path


def bodies(requests: list[Request]) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in requests]


def require_signed(request: Request, *secrets: str) -> None:
    verify([secret_bytes(one) for one in secrets], request.headers, request.body, now=time.time())
