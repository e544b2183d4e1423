"""Stages on a real Dask cluster: the same outputs as in the pool, the same errors, and what happens to lost workers."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
import pytest_asyncio

from blocks.custody.sealing import KeepOrder
from blocks.errors import (
    InvalidSettings,
    StageCrashed,
    StageFailed,
    StageOutOfMemory,
    StageTimedOut,
    WaybillError,
)
from blocks.settings import Settings, current_settings
from tasks.contract import Services
from tasks.job import RunnerUnavailable
from tasks.on_dask import runner as dask_runner
from tasks.on_dask.messages import SentBatch
from tasks.on_dask.runner import DaskRunner
from tasks.registry import all_stages
from tests.dask import Cluster, dask_packages, running_cluster
from tests.integration.test_pool import job
from tests.stack_driver import PATIENCE_SECONDS, eventually
from tests.stages.in_workers import add_hostile_stage
from waybill.services.doctor.findings import Findings
from waybill.services.doctor.shared import check_dask


@pytest.fixture(scope="module")
def stages() -> Iterator[None]:
    """The hostile stage here and in the cluster, and Dask on the path behind everything else."""
    packages = str(dask_packages())
    with pytest.MonkeyPatch.context() as patch:
        add_hostile_stage(patch, "tests.stages.hostile:TOGETHER")
        current_settings.cache_clear()
        all_stages.cache_clear()
        sys.path.append(packages)
        yield
        sys.path.remove(packages)
    current_settings.cache_clear()
    all_stages.cache_clear()


@pytest.fixture(scope="module")
def cluster(stages: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    # The second loss of a worker with the same batch is one too many.
    with running_cluster(tmp_path_factory.mktemp("dask"), DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1") as cluster:
        (cluster.folder / "home").mkdir()
        yield cluster


def limits(home: Path, seconds: float = PATIENCE_SECONDS) -> Settings:
    return Settings(
        home=home, workers=2, stage_timeout_seconds=seconds, stage_silence_seconds=seconds, stage_memory_mib=256
    )


@pytest_asyncio.fixture
async def runner(cluster: Cluster, tmp_path: Path) -> AsyncIterator[DaskRunner]:
    async with DaskRunner.open(cluster.address, limits(tmp_path), Services(home=tmp_path)) as opened:
        yield opened


async def test_many_jobs_have_their_own_outputs(runner: DaskRunner, tmp_path: Path) -> None:
    jobs = [job(tmp_path, f"text {n}", stage="hostile" if n % 3 else "hostile-together") for n in range(60)]
    results = await asyncio.gather(*map(runner.run, jobs))
    assert [one.target.read_text() for one in jobs] == [f"TEXT {n}" for n in range(60)]
    assert [result.metadata["letters"] for result in results] == [len(f"text {n}") for n in range(60)]
    assert all(result.seconds > 0 and result.peak_memory_bytes > 2**20 for result in results)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        ("spin", StageTimedOut),
        ("eat", StageOutOfMemory),
        ("exit", StageCrashed),
        ("raise", StageFailed),
    ],
)
async def test_a_hostile_document_fails_alone_and_ends_no_dask_worker(
    cluster: Cluster, tmp_path: Path, behaviour: str, expected: type[WaybillError]
) -> None:
    before = cluster.worker_pids()
    async with DaskRunner.open(cluster.address, limits(tmp_path, 2.0), Services(home=tmp_path)) as runner:
        bad, *good = await asyncio.gather(
            *(runner.run(job(tmp_path, text)) for text in (behaviour, "one", "two", "three")), return_exceptions=True
        )
    assert type(bad) is expected and "secret" not in str(bad)
    assert not [one for one in good if isinstance(one, BaseException)]
    assert cluster.worker_pids() == before


async def test_a_worker_that_is_killed_in_the_middle_loses_nothing(
    cluster: Cluster, runner: DaskRunner, tmp_path: Path
) -> None:
    home = cluster.folder / "home"
    jobs = [job(tmp_path, f"linger {n}") for n in range(8)]
    running = [asyncio.create_task(runner.run(one)) for one in jobs]
    attempts = home / "attempts"
    await asyncio.to_thread(eventually, attempts.exists, "a job to begin")
    os.kill(cluster.worker_pids()[0], signal.SIGKILL)
    (home / "go").touch()
    await asyncio.gather(*running)
    (home / "go").unlink()
    assert [one.target.read_text() for one in jobs] == [f"LINGER {n}" for n in range(8)]
    attempts.unlink()


async def test_a_document_that_kills_dask_workers_fails_alone(runner: DaskRunner, tmp_path: Path) -> None:
    texts = ("before", "assassin", "after", *(f"other {n}" for n in range(5)))
    outcomes = await asyncio.gather(*(runner.run(job(tmp_path, text)) for text in texts), return_exceptions=True)
    failed = {text: one for text, one in zip(texts, outcomes, strict=True) if isinstance(one, BaseException)}
    assert list(failed) == ["assassin"] and isinstance(failed["assassin"], StageCrashed)
    assert "assassin.txt" in str(failed["assassin"])


async def test_a_cancelled_job_leaves_room_for_others(cluster: Cluster, runner: DaskRunner, tmp_path: Path) -> None:
    # As those of a run, they are to be stored: a process that goes on must not store afterwards.
    keep = KeepOrder(
        reservation=cast("Any", None),
        draft=cast("Any", None),
        now=(datetime.now(UTC), time.monotonic()),
        spool=tmp_path / "spool",
        encrypted_for=None,
    )
    jobs = [replace(job(tmp_path, f"linger on {n}"), keep=keep) for n in range(4)]
    lingering = [asyncio.create_task(runner.run(one)) for one in jobs]
    attempts = cluster.folder / "home/attempts"
    await asyncio.to_thread(eventually, attempts.exists, "a job to begin")
    for task in lingering:
        task.cancel()
    outcomes = await asyncio.gather(*lingering, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in outcomes)
    pids = [int(line.split()[-1]) for line in attempts.read_text().splitlines()]
    await asyncio.to_thread(eventually, lambda: not any(map(psutil.pid_exists, pids)), "their processes to end")
    attempts.unlink()
    assert (await runner.run(job(tmp_path, "next"))).metadata["letters"] == 4


async def test_a_large_document_runs_at_home(
    runner: DaskRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: object) -> None:
        raise AssertionError("it was sent")

    monkeypatch.setattr(dask_runner, "MOST_INPUT_BYTES", 3)
    monkeypatch.setattr(dask_runner, "_sent", refused)
    assert (await runner.run(job(tmp_path, "large"))).metadata["letters"] == 5


async def test_what_is_sent_has_no_secret(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    whole = SentBatch.__init__

    def noted(self: SentBatch, **given: object) -> None:
        whole(self, **given)  # type: ignore[arg-type]
        sent.append(pickle.dumps(self))

    monkeypatch.setattr(SentBatch, "__init__", noted)
    services = Services(home=tmp_path, database_url="postgresql://waybill:hunter2@127.0.0.1/x")
    async with DaskRunner.open(cluster.address, limits(tmp_path), services) as runner:
        await runner.run(job(tmp_path, "its own content"))
    assert sent and b"its own content" in sent[0]
    assert not any(b"hunter2" in one or str(tmp_path / "home").encode() in one for one in sent)


async def test_a_scheduler_that_is_not_there_is_a_passing_condition(
    stages: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_runner, "_CONNECT_SECONDS", 0.5)
    async with DaskRunner.open("tcp://127.0.0.1:9", limits(tmp_path), Services(home=tmp_path)) as runner:
        with pytest.raises(RunnerUnavailable, match="does not answer"):
            await runner.run(job(tmp_path, "x"))


async def test_the_loss_of_the_scheduler_is_a_passing_condition(stages: None, tmp_path: Path) -> None:
    with running_cluster(tmp_path / "dask", workers=1) as cluster:
        (cluster.folder / "home").mkdir()
        async with DaskRunner.open(cluster.address, limits(tmp_path), Services(home=tmp_path)) as runner:
            running = asyncio.create_task(runner.run(job(tmp_path, "linger")))
            await asyncio.to_thread(eventually, (cluster.folder / "home/attempts").exists, "the job to begin")
            cluster.scheduler.kill()
            with pytest.raises(RunnerUnavailable):
                await running


async def test_another_version_of_a_stage_is_refused(
    runner: DaskRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.on_dask.messages import SentJob

    whole = SentJob.of
    monkeypatch.setattr(SentJob, "of", classmethod(lambda _, job, inputs, _version: whole(job, inputs, "99")))
    with pytest.raises(InvalidSettings, match="99"):
        await runner.run(job(tmp_path, "x"))


async def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InvalidSettings, match=r"waybill\[dask\]"):
        async with DaskRunner.open("tcp://127.0.0.1:9", limits(tmp_path), Services(home=tmp_path)):
            pass


async def test_the_doctor_reports_a_cluster_that_does_not_answer_or_has_no_workers(
    stages: None, cluster: Cluster, tmp_path: Path
) -> None:
    async def examined(address: str) -> list[tuple[str, str]]:
        found = Findings()
        await check_dask(replace(limits(tmp_path), dask=address), found)
        assert "dask" in found.examined
        return [(one.status, f"{one.message}; {one.remedy}") for one in found.found]

    assert await examined(cluster.address) == []
    with running_cluster(tmp_path / "empty", workers=0) as empty:
        ((status, text),) = await examined(empty.address)
        assert (status, f"dask worker {empty.address}" in text) == ("warning", True)
        empty.scheduler.terminate()
        empty.scheduler.wait()
        ((status, text),) = await examined(empty.address)
        assert (status, "does not answer" in text) == ("problem", True)


async def test_the_doctor_says_what_is_no_address_and_repeats_no_password(stages: None, tmp_path: Path) -> None:
    found = Findings()
    await check_dask(replace(limits(tmp_path), dask="tcp://user:SECRETPW@host:x"), found)
    ((status, message),) = [(one.status, one.message) for one in found.found]
    assert (status, "no address of a scheduler" in message, "SECRETPW" in message) == ("problem", True, False)


@pytest.mark.parametrize(("address", "seconds"), [("tcp://host:x", 20.0), ("tcp://127.0.0.1:9", 0.2)])
async def test_a_client_that_does_not_connect_is_closed(
    address: str, seconds: float, stages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_runner, "_CONNECT_SECONDS", seconds)
    left = left_by_the_collector(monkeypatch)
    with pytest.raises((InvalidSettings, RunnerUnavailable)):
        await dask_runner.threads_of(address)
    assert await left() == []


async def test_a_client_whose_caller_is_cancelled_is_closed(stages: None, monkeypatch: pytest.MonkeyPatch) -> None:
    left = left_by_the_collector(monkeypatch)
    connecting = asyncio.create_task(dask_runner.threads_of("tcp://127.0.0.1:9"))
    for _ in range(5):  # it has begun to connect
        await asyncio.sleep(0)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    del connecting
    assert await left() == []


def left_by_the_collector(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Awaitable[list[object]]]:
    """Return what reports the errors of objects that were deleted before they were closed."""
    errors: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", errors.append)

    async def collected() -> list[object]:
        for _ in range(5):  # the loop holds what it will call in its next turns
            await asyncio.sleep(0)
            gc.collect()
        return errors

    return collected
