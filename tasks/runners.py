"""Where the stages of a run run: in processes of its own, or on a Dask cluster. Both are a `tasks.job.StageRunner`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from blocks.settings import Settings
from tasks.contract import Services
from tasks.job import StageRunner
from tasks.pool import WorkerPool


def open_runner(settings: Settings, services: Services) -> AbstractAsyncContextManager[StageRunner]:
    """Open the runner that the setting `dask` asks for. At the end of the block nothing of it runs any more.

    Raises `InvalidSettings` when what it needs is not installed.
    """
    if settings.dask is None:
        return WorkerPool.open(settings, services)
    # Not at the top: the package of Dask is an extra.
    from tasks.on_dask.runner import DaskRunner

    return DaskRunner.open(settings.dask, settings, services)
