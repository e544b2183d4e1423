"""Whether the other machines that a run is to use can be reached, before a command begins it."""

from __future__ import annotations

from prefect.client.orchestration import PrefectClient

from blocks.runs.work_pools import check_pool
from blocks.settings import Settings
from tasks.on_dask.runner import threads_of


async def check_machines(client: PrefectClient, settings: Settings, pool: str | None) -> None:
    """Ask for the work *pool* of a run that is spread, or for the Dask cluster of one that is not.

    Raises `InvalidOptions` when there is no such pool, `RunnerUnavailable` for a cluster that does not answer in time,
    `InvalidSettings` for an address that is none or a package that is missing, and what *client* raises.
    """
    if pool is not None:
        await check_pool(client, pool)
    elif settings.dask is not None:
        await threads_of(settings.dask, within_seconds=settings.answer_seconds)
