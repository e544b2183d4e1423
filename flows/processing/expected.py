"""What a run hands over to the command that has left it to `waybill up`: its report, or the error that ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext

from blocks.errors import WaybillError
from blocks.runs.expected_report import deliver_error, deliver_report
from blocks.settings import current_settings


@contextmanager
def errors_delivered(home: Path) -> Generator[None]:
    """Hand over an error that ends the block, and raise it."""
    try:
        yield
    except WaybillError as error:
        deliver_error(home, _key(), error)
        raise


async def deliver_expected(report: dict[str, Any]) -> None:
    """Hand over *report*."""
    await asyncio.to_thread(deliver_report, current_settings().home, _key(), report)


def _key() -> str | None:
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    return run.idempotency_key if run is not None else None
