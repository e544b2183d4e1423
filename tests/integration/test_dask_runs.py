"""Runs whose stages run on a Dask cluster: the outputs are those of a run with processes of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import psycopg
import pytest
from prefect.states import State

from blocks.errors import WaybillError
from blocks.settings import current_settings
from flows.process import process_documents
from tasks.job import Job, JobResult
from tasks.on_dask import runner as dask_runner
from tasks.on_dask.messages import Returned
from tests.dask import Cluster, dask_packages, running_cluster
from tests.integration.conftest import Workspace
from tests.stack_driver import eventually

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    packages = str(dask_packages())
    sys.path.append(packages)
    with running_cluster(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster
    sys.path.remove(packages)


async def process(*sources: Path, **more: Any) -> UUID:
    run = process_documents(sources=[str(one) for one in sources], reuse=False, return_state=True, **more)
    state = await cast("Awaitable[State[Any]]", run)
    assert state.is_completed(), state.message
    assert state.state_details.flow_run_id is not None
    return state.state_details.flow_run_id


async def on_dask(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, *sources: Path, **more: Any) -> UUID:
    """Process the sources on the cluster, where all outputs are sealed; those of stage 5 are made at home."""
    sealed: list[str] = []
    taken = dask_runner._taken

    def noted(returned: Returned, job: Job) -> JobResult | WaybillError:
        if returned.sealed is not None:
            sealed.append(job.stage_name)
        return taken(returned, job)

    with monkeypatch.context() as patch:
        patch.setattr(dask_runner, "_taken", noted)
        patch.setenv("WAYBILL_DASK", cluster.address)
        current_settings.cache_clear()
        run_id = await process(*sources, **more)
    current_settings.cache_clear()
    assert {"markdown-conversion", "markdown-optimizer"} <= set(sealed) and "ingestor" not in sealed
    return run_id


def outputs(workspace: Workspace, run_id: UUID) -> dict[tuple[str, str], tuple[str, int]]:
    """Content hash and size of each output, by document and stage; none of the run is half stored."""
    with psycopg.connect(workspace.database_url) as connection:
        rows = connection.execute(
            "select encode(document_sha256, 'hex'), stage_name, encode(sha256, 'hex'), size, state from artifacts "
            "where run_id = %s and kind = 'stage_output'",
            [run_id],
        ).fetchall()
    assert {row[4] for row in rows} == {"available"}
    return {(str(row[0]), row[1]): (str(row[2]), row[3]) for row in rows}


async def test_the_samples_have_the_same_outputs_as_in_the_pool(
    workspace: Workspace, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = [1, 2, 3, 4, 5]
    in_pool = outputs(workspace, await process(SAMPLES, stages=stages))
    assert len({document for document, _ in in_pool}) > 3 and len({stage for _, stage in in_pool}) == 5
    assert outputs(workspace, await on_dask(cluster, monkeypatch, SAMPLES, stages=stages)) == in_pool


async def test_a_worker_that_is_killed_in_the_middle_of_a_run_loses_nothing(
    workspace: Workspace, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [workspace.write(f"{n}.md", f"# Report {n}\n\n" + f"Line {n} holds.\n\n" * 50) for n in range(40)]
    stages = [1, 2]
    in_pool = outputs(workspace, await process(*documents, stages=stages))
    running = asyncio.create_task(on_dask(cluster, monkeypatch, *documents, stages=stages))

    def has_begun() -> bool:
        with psycopg.connect(workspace.database_url) as connection:
            found = connection.execute("select count(*) from artifacts where kind = 'stage_output'").fetchone()
        return found is not None and found[0] > len(in_pool)

    await asyncio.to_thread(eventually, has_begun, "an output of the run")
    os.kill(cluster.worker_pids()[0], signal.SIGKILL)
    assert outputs(workspace, await running) == in_pool and len(in_pool) == 80
