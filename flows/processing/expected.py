"""What a run hands over to the command that has left it to `waybill up`: its report, or the error that ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.context import FlowRunContext

from blocks.errors import WaybillError
from blocks.postgres import single_connection
from blocks.runs.expected_report import deliver_error, deliver_report
from blocks.settings import current_settings
from blocks.webhooks.outbox.delivery_log import count_waiting


@contextmanager
def errors_delivered(home: Path) -> Generator[None]:
    """Hand over an error that ends the block, and raise it."""
    try:
        yield
    except WaybillError as error:
        deliver_error(home, _key(), error)
        raise


async def deliver_expected(report: dict[str, Any]) -> None:
    """Hand over *report*, with how many webhooks of the run are still to be delivered."""
    settings, key = current_settings(), _key()
    if key is None:
        return
    waiting = 0
    with suppress(WaybillError):  # the database does not say
        async with single_connection(settings.required_database_url) as connection:
            waiting = await count_waiting(connection, UUID(report["run_id"]))
    await asyncio.to_thread(deliver_report, settings.home, key, {**report, "webhooks_waiting": waiting})


def _key() -> str | None:
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    return run.idempotency_key if run is not None else None
