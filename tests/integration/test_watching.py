"""Looks at watched places: real folders, the run's Postgres, and a real Prefect server that the runs are started on."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import psycopg
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State
from prefect.flow_engine import run_flow_async
from prefect.states import Cancelled, Crashed

from blocks.catalog import Catalog
from blocks.errors import InvalidOptions, PrefectUnavailable, SourceNotFound, SourceRefused
from blocks.runs.prefect_api import PrefectApi
from blocks.settings import Settings, current_settings
from blocks.watching import watch_id_of, watched_files
from flows.process import process_documents
from flows.watch import watch_source
from tasks.watching import LookReport, Watch, look
from tests.integration.conftest import Workspace
from tests.shared_servers import PREFECT_ALONE
from tests.stack_driver import PREFECT_AUTH, eventually, plain_environment

# It registers a deployment of the name that the product looks for.
pytestmark = PREFECT_ALONE

# The package has its function under the name of the module.
looking = cast("Any", sys.modules[look.__module__])

_LIGHT: dict[str, Any] = {"stages": [6]}


class Place:
    """A folder that is watched, and looks at it."""

    def __init__(self, settings: Settings, catalog: Catalog, prefect: PrefectApi, folder: Path) -> None:
        self.settings, self.catalog, self.prefect, self.folder = settings, catalog, prefect, folder

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    async def look(self, source: object = None, *, settle: timedelta = timedelta(0)) -> LookReport:
        watch = Watch(source=str(source or self.folder), settle=settle, parameters=_LIGHT)
        return await look(self.settings, self.catalog, self.prefect, watch)

    def states(self) -> dict[str, str]:
        """The state of each file, by its name."""
        with psycopg.connect(self.settings.required_database_url) as connection:
            rows = connection.execute("select source, state from watched_files").fetchall()
        return {Path(source).name: state for source, state in rows}


@pytest.fixture
async def place(workspace: Workspace, prefect_server: str, client: PrefectClient) -> AsyncIterator[Place]:
    del client
    # The tests' own stage is not in the schema, which was made before it was added.
    deployment = await process_documents.ato_deployment(name="waybill", enforce_parameter_schema=False)
    await deployment.aapply()
    async with Catalog.open(workspace.database_url) as catalog, PrefectApi.open(prefect_server) as prefect:
        folder = workspace.documents / "inbox"
        folder.mkdir()
        yield Place(current_settings(), catalog, prefect, folder)


async def sources_of(client: PrefectClient, run_ids: list[UUID]) -> list[str]:
    """The names of the files that these runs are to process, in order."""
    runs = [await client.read_flow_run(run_id) for run_id in run_ids]
    return sorted(Path(source).name for run in runs for source in run.parameters["sources"])


async def execute(client: PrefectClient, run_id: UUID) -> None:
    """Run it, as the flow server would."""
    run = await client.read_flow_run(run_id)
    parameters = process_documents.validate_parameters(run.parameters)
    await run_flow_async(process_documents, flow_run=run, parameters=parameters, return_type="state")


async def test_each_version_of_a_file_is_taken_once(place: Place, client: PrefectClient) -> None:
    place.write("a.txt", "first")
    place.write("b.txt", "second")
    place.write(".hidden", "no")
    first = await place.look()
    assert (first.files, first.taken, first.being_written) == (2, 2, 0)
    assert await sources_of(client, first.run_ids) == ["a.txt", "b.txt"]
    assert (await client.read_flow_run(first.run_ids[0])).parameters["stages"] == [6]
    again = await place.look()
    assert (again.files, again.taken, again.run_ids) == (2, 0, [])
    await execute(client, first.run_ids[0])
    (place.folder / "sub").mkdir()
    place.write("sub/c.txt", "third")
    place.write("a.txt", "changed")
    changed = await place.look()
    assert await sources_of(client, changed.run_ids) == ["a.txt", "c.txt"]
    assert place.states() == {"a.txt": "running", "b.txt": "done", "c.txt": "running"}
    # A file that is gone and comes back as it was is the same.
    moved = place.folder.parent / "elsewhere.txt"
    (place.folder / "b.txt").rename(moved)
    await place.look()
    moved.rename(place.folder / "b.txt")
    assert (await place.look()).taken == 0


async def test_a_file_that_may_still_be_written_is_left_for_a_later_look(place: Place) -> None:
    path = place.write("slow.txt", "so far")
    waits = await place.look(settle=timedelta(hours=1))
    assert (waits.taken, waits.being_written) == (0, 1)
    # With the clock of a network share that is ahead, only a second look can say that it does not change.
    ahead = time.time() + 3600
    os.utime(path, (ahead, ahead))
    assert (await place.look()).being_written == 1
    path.write_text("so far, and more")
    os.utime(path, (ahead, ahead))
    assert (await place.look()).being_written == 1
    assert (await place.look()).taken == 1


async def test_a_document_that_failed_is_tried_again_only_when_it_has_changed(
    place: Place, client: PrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_files, "RETRY_AFTER", timedelta(0))
    place.write("good.txt", "fine")
    place.write("bad.txt", "raise")
    await execute(client, (await place.look()).run_ids[0])
    assert (await place.look()).taken == 0
    assert place.states() == {"good.txt": "done", "bad.txt": "failed"}
    place.write("bad.txt", "mended")
    assert await sources_of(client, (await place.look()).run_ids) == ["bad.txt"]


async def test_a_run_that_died_is_tried_three_times_in_all_and_a_cancelled_one_once(
    place: Place, client: PrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write("a.txt", "text")
    (run_id,) = (await place.look()).run_ids
    await client.set_flow_run_state(run_id, Crashed(), force=True)
    # Not at once: what it failed of may last for some minutes.
    assert (await place.look()).taken == 0
    monkeypatch.setattr(watched_files, "RETRY_AFTER", timedelta(0))
    for _ in range(2):
        (run_id,) = (await place.look()).run_ids
        await client.set_flow_run_state(run_id, Crashed(), force=True)
    assert (await place.look()).run_ids == []
    assert place.states() == {"a.txt": "failed"}
    place.write("a.txt", "other text")
    (run_id,) = (await place.look()).run_ids
    await client.set_flow_run_state(run_id, Cancelled(), force=True)
    assert (await place.look()).run_ids == []
    assert place.states() == {"a.txt": "cancelled"}


async def test_thousands_of_files_are_a_few_runs_with_parameters_that_prefect_takes(
    place: Place, client: PrefectClient
) -> None:
    folder = place.folder / ("a long name " * 15)
    folder.mkdir()
    names = sorted(f"{number:05}{'-' * 20}.txt" for number in range(2500))
    for name in names:
        (folder / name).write_text(name)
    report = await place.look()
    assert report.taken == 2500 and 2 <= len(report.run_ids) <= 6
    assert await sources_of(client, report.run_ids) == names
    assert (await place.look()).taken == 0


async def test_two_looks_at_the_same_time_take_nothing_twice(place: Place, client: PrefectClient) -> None:
    names = [f"{number}.txt" for number in range(50)]
    for name in names:
        place.write(name, name)
    reports = await asyncio.gather(*(place.look() for _ in range(4)))
    assert sum(report.taken for report in reports) == 50
    assert await sources_of(client, [run for report in reports for run in report.run_ids]) == sorted(names)


async def test_a_look_that_is_killed_around_the_start_of_its_run_neither_loses_nor_doubles_it(
    place: Place, client: PrefectClient, prefect_server: str
) -> None:
    for function, name in (("record_started", "after.txt"), ("find_deployment", "before.txt")):
        place.write(name, "text")
        program = (
            "import asyncio, os, signal, sys\n"
            "from datetime import timedelta\n"
            "from blocks.catalog import Catalog\n"
            "from blocks.runs.prefect_api import PrefectApi\n"
            "from blocks.settings import current_settings\n"
            "from tasks.watching import Watch, look\n"
            "module = sys.modules[look.__module__]\n"
            f"module.{function} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
            "async def main():\n"
            "    settings = current_settings()\n"
            "    async with Catalog.open(settings.required_database_url) as catalog:\n"
            f"        async with PrefectApi.open({prefect_server!r}) as prefect:\n"
            f"            watch = Watch(source={str(place.folder)!r}, settle=timedelta(0), parameters={_LIGHT!r})\n"
            "            await look(settings, catalog, prefect, watch)\n"
            "asyncio.run(main())\n"
        )
        added = {name: value for name, value in os.environ.items() if name.startswith("WAYBILL_")}
        environment = {**plain_environment(), **added, "PREFECT_API_AUTH_STRING": PREFECT_AUTH}
        killed = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", program], env=environment, capture_output=True, check=False
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
        assert place.states()[name] == "starting"
        report = await place.look()
        assert report.taken == 1
        assert await sources_of(client, report.run_ids) == [name]
        assert (await place.look()).taken == 0
        runs = [run for run in await client.read_flow_runs(limit=200) if _names(run.parameters) == [name]]
        assert [run.id for run in runs] == report.run_ids


def _names(parameters: dict[str, Any]) -> list[str]:
    return [Path(source).name for source in parameters.get("sources", [])]


def remove(place: Place) -> None:
    with psycopg.connect(place.settings.required_database_url) as connection:
        connection.execute("delete from watches where watch_id = %s", [watch_id_of(str(place.folder))])


def watches(place: Place) -> list[Any]:
    with psycopg.connect(place.settings.required_database_url) as connection:
        both = "select watch_id from watches union all select watch_id from watched_files"
        return connection.execute(both).fetchall()


@pytest.mark.parametrize("function", ["list_place", "find_deployment"])
async def test_a_watch_that_is_removed_during_a_look_does_not_come_back_and_starts_no_run(
    place: Place, client: PrefectClient, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """The look has then listed the place, or has taken files for a run that it has not started."""
    before = len(await client.read_flow_runs(limit=200))
    place.write("a.txt", "text")
    listed, found = looking.list_place, looking.find_deployment

    def list_place(*given: Any) -> Any:
        remove(place)
        return listed(*given)

    async def find_deployment(*given: Any) -> UUID:
        assert place.states() == {"a.txt": "starting"}
        await asyncio.to_thread(remove, place)
        return await found(*given)

    monkeypatch.setattr(looking, function, {"list_place": list_place, "find_deployment": find_deployment}[function])
    report = await place.look()
    assert (report.is_removed, report.taken, report.run_ids) == (True, 0, [])
    assert report.line() == f"the watch of {place.folder} was removed"
    assert watches(place) == []
    assert len(await client.read_flow_runs(limit=200)) == before


async def test_a_removal_waits_for_the_start_of_a_run_and_nothing_comes_back_after_it(
    place: Place, client: PrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write("a.txt", "text")
    removal: list[asyncio.Task[None]] = []
    started = looking.record_started

    async def record_started(*given: Any) -> None:
        removal.append(asyncio.create_task(asyncio.to_thread(remove, place)))
        await asyncio.to_thread(eventually, lambda: _waits_for_a_row(place), "removal that waits")
        await started(*given)

    monkeypatch.setattr(looking, "record_started", record_started)
    report = await place.look()
    await removal[0]
    assert await sources_of(client, report.run_ids) == ["a.txt"]
    assert watches(place) == []


def _waits_for_a_row(place: Place) -> bool:
    with psycopg.connect(place.settings.required_database_url) as connection:
        waiting = (
            "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            " and query like 'delete from watches%'"
        )
        return connection.execute(waiting).fetchone() is not None


async def test_a_prefect_that_is_away_loses_nothing(place: Place, client: PrefectClient) -> None:
    place.write("a.txt", "text")
    async with PrefectApi.open("http://127.0.0.1:9/api") as away:
        elsewhere = Place(place.settings, place.catalog, away, place.folder)
        with pytest.raises(PrefectUnavailable):
            await elsewhere.look()
    assert await sources_of(client, (await place.look()).run_ids) == ["a.txt"]


async def test_a_place_that_is_away_is_a_problem_and_loses_nothing_when_it_is_back(
    place: Place, client: PrefectClient
) -> None:
    place.write("a.txt", "text")
    await place.look()
    away = place.folder.with_name("away")
    place.folder.rename(away)
    with pytest.raises(SourceNotFound):
        await place.look()
    assert "inbox" in (problem_of(place) or "")
    away.rename(place.folder)
    place.write("b.txt", "new")
    assert await sources_of(client, (await place.look()).run_ids) == ["b.txt"]
    assert problem_of(place) is None
    shutil.rmtree(place.folder)
    place.folder.mkdir()
    assert (await place.look()).files == 0


def problem_of(place: Place) -> str | None:
    with psycopg.connect(place.settings.required_database_url) as connection:
        (problem,) = connection.execute("select problem from watches").fetchone() or (None,)
    return problem


async def test_what_cannot_be_watched_is_refused(place: Place) -> None:
    for source, kind in (
        ("relative/path", InvalidOptions),
        ("waybill:0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a", InvalidOptions),
        ("ftp://ada:secret@ftp.example.org/inbox", InvalidOptions),
        (f"zip://*::{place.folder}/a.zip", InvalidOptions),
        (place.settings.home, SourceRefused),
    ):
        with pytest.raises(kind) as raised:
            await place.look(source)
        assert "secret" not in str(raised.value)


async def test_a_glob_takes_what_matches_it(place: Place, client: PrefectClient) -> None:
    pattern = place.folder / "*.txt"
    assert (await place.look(pattern)).files == 0
    place.write("a.txt", "text")
    place.write("b.md", "text")
    place.write("c[1].txt", "text")
    report = await place.look(pattern)
    assert await sources_of(client, report.run_ids) == ["a.txt", "c[1].txt"]
    await execute(client, report.run_ids[0])
    await place.look(pattern)
    assert set(place.states().values()) == {"done"}


async def test_the_flow_looks_and_says_what_it_has_found(place: Place, workspace: Workspace) -> None:
    place.write("a.txt", "text")
    state = await flow_state(source=str(place.folder), stages=[6], settle="1s")
    assert state.is_completed() and state.message is not None and state.message.startswith("1 files, ")
    gone = await flow_state(source=str(workspace.documents / "nothing"))
    assert gone.is_failed() and "nothing" in (gone.message or "")


async def flow_state(**parameters: Any) -> State[Any]:
    return await cast("Awaitable[State[Any]]", watch_source(**parameters, return_state=True))
