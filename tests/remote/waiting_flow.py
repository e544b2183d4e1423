"""What stands for a remote stage: a flow that logs and shows its progress, and waits for a file if it is told to."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact


@flow(name="a-remote-flow")
async def waiting_flow(until: str | None = None) -> None:
    """Complete once the file *until* is there; without one, immediately. Tell by a file that it has begun."""
    get_run_logger().info("variables: %s", " ".join(f"{name}={value}" for name, value in sorted(os.environ.items())))
    artifact_id = await acreate_progress_artifact(0.0, description="begun")
    if until is not None:
        begun_of(Path(until)).touch()
    while until is not None and not Path(until).exists():  # noqa: ASYNC110, ASYNC240 - a test's own
        await asyncio.sleep(0.02)
    await aupdate_progress_artifact(artifact_id, 100.0, description="done")


def begun_of(until: Path) -> Path:
    """The file by which such a flow tells that it has begun."""
    return until.with_name(f"{until.name}.begun")
