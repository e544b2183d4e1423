"""Old history goes, on a real Prefect server and a real catalogue; what is not over, read and delivered stays."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.settings import PREFECT_API_AUTH_STRING, temporary_settings
from prefect.states import Cancelled, Completed, Crashed, Failed, Running, Scheduled

from blocks.catalog import Catalog
from blocks.history import database_sizes
from blocks.runs.home_id import home_id
from blocks.runs.ownership import Owner, catalogue_id
from blocks.runs.prefect_api import REFUSED
from blocks.settings import Settings
from blocks.webhooks import registration as registry
from blocks.webhooks.outbox import history
from blocks.webhooks.secrets import SecretBox
from flows.events.reconciler import LAST_DAY, Reconciler
from flows.events.record_run_events import RunEventRecorder
from flows.history import trim_history
from tests.integration.conftest import Workspace
from tests.integration.history_place import NOW, OLD, Place, foreign
from tests.integration.prefect_runs import stand_in
from tests.shared_servers import PREFECT_ALONE
from tests.stack_driver import prefect_variables

pytestmark = PREFECT_ALONE


@pytest.fixture
async def place(workspace: Workspace, client: PrefectClient, settings: Settings) -> AsyncIterator[Place]:
    async with Catalog.open(workspace.database_url) as catalog:
        opened = Place(client, catalog, settings)
        a_month_ago = OLD - timedelta(days=30)
        await opened.execute("update webhook_history_read set began_at = %s, read_until = %s", a_month_ago, NOW)
        yield opened
    # The next test looks at all of the server.
    for run in await client.read_flow_runs(limit=200):
        await client.delete_flow_run(run.id)


async def test_old_runs_go_with_their_artifacts_and_the_others_stay(place: Place) -> None:
    async with place.catalog.connection() as connection:
        here = await catalogue_id(connection)
    ours = Owner(catalogue=here, home="0" * 8).tag
    gone = [
        await place.old_run(),
        await place.old_run(tags=[ours]),
        await place.run(Running(timestamp=OLD), Failed(timestamp=OLD)),
        await place.run(Running(timestamp=OLD), Crashed(timestamp=OLD)),
        await place.run(Cancelled(timestamp=OLD)),
        await place.old_run(of=trim_history, read=False),
    ]
    stay = [
        await place.run(Running(timestamp=OLD), Completed(timestamp=NOW - timedelta(days=6))),
        await place.run(),
        await place.run(Running(timestamp=OLD)),
        await place.run(Scheduled(scheduled_time=OLD)),
        await place.old_run(of=foreign),
        await place.old_run(tags=[Owner(catalogue="f" * 8, home="f" * 8).tag]),
    ]
    for run in (gone[0], stay[0]):
        for kind in ("table", "progress"):
            await place.client.create_artifact(ArtifactCreate(key="some-key", type=kind, data=1, flow_run_id=run.id))
    shown = await place.trim(dry_run=True)
    assert await place.left(*gone, *stay) == [True] * len([*gone, *stay])
    done = await place.trim()
    assert await place.left(*gone) == [False] * len(gone)
    assert await place.left(*stay) == [True] * len(stay)
    assert (done.counted.removed["flow runs"], done.counted.removed["run artifacts"]) == (len(gone), 2)
    assert shown.counted.removed == done.counted.removed + Counter(), "the dry run names what goes"
    assert done.counted.kept["flow runs"] == {"other_catalogue": 1, "not_over": 1}
    left = await place.client.read_artifacts(
        artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[gone[0].id, stay[0].id]))
    )
    assert {one.flow_run_id for one in left} == {stay[0].id}
    assert (await place.trim()).counted.removed["flow runs"] == 0


async def test_a_run_stays_until_its_events_are_delivered_and_its_end_is_read(place: Place, settings: Settings) -> None:
    await place.endpoint()
    waiting, unread, changed = await place.old_run(), await place.old_run(read=False), await place.old_run()
    event_id = await place.event(waiting.id, "task_completed")
    await place.execute(
        "update webhook_deliveries set state = 'pending', settled_at = null where event_id = %s", event_id
    )
    await place.execute("update webhook_history_read set read_until = %s", OLD - timedelta(hours=1))
    await place.client.set_flow_run_state(changed.id, Failed(timestamp=OLD), force=True)
    done = await place.trim()
    assert await place.left(waiting, unread, changed) == [True, True, True]
    assert done.counted.kept["flow runs"] == {"pending_delivery": 1, "not_read": 2}
    assert done.counted.kept["webhook_events"] == {"pending_delivery": 1}

    reconciler = Reconciler(client=place.client, catalog=place.catalog, recorder=RunEventRecorder(settings))
    await reconciler.reconcile_once(LAST_DAY)
    assert (await place.trim()).counted.kept["flow runs"]["pending_delivery"] == 3, "what was read has to be sent first"
    await place.execute("update webhook_deliveries set state = 'dead', settled_at = %s", OLD)
    await place.execute("update webhook_events set recorded_at = %s", OLD)
    await place.trim()
    assert await place.left(waiting, unread, changed) == [False, False, False]
    assert await place.rows("webhook_events") == 0
    await reconciler.reconcile_once(LAST_DAY)
    assert await place.rows("webhook_events") == 0, "nothing is recorded a second time"


async def test_subflow_runs_go_before_their_parent_and_keep_it_while_they_are_not_over(place: Place) -> None:
    async def with_child(parent: FlowRun, *states: State[Any], of: Any = foreign) -> FlowRun:
        task = await place.client.create_task_run(
            stage, flow_run_id=parent.id, dynamic_key=str(uuid4()), state=Completed()
        )
        return await place.run(*states, of=of, task=task.id)

    from prefect import task as task_decorator

    @task_decorator(name="stage")
    async def stage() -> None: ...

    over = (Running(timestamp=OLD), Completed(timestamp=OLD))
    whole, kept, alive = await place.old_run(), await place.old_run(), await place.run(Running(timestamp=OLD))
    child = await with_child(whole, *over)
    grandchild = await with_child(child, *over)
    unfinished = await with_child(kept, Running(timestamp=OLD))
    of_alive = await with_child(alive, *over, of=stand_in)
    done = await place.trim()
    assert await place.left(whole, child, grandchild) == [False, False, False]
    assert await place.left(kept, unfinished, alive, of_alive) == [True, True, True, True]
    assert (done.counted.removed["flow runs"], done.counted.removed["subflow runs"]) == (1, 2)
    assert done.counted.kept["flow runs"] == {"subflow_not_over": 1, "parent_not_over": 1, "not_over": 1}


async def test_own_rows_go_when_nothing_needs_them(place: Place) -> None:
    endpoint = await place.endpoint()
    old, alive, late = uuid4(), uuid4(), uuid4()
    for kind in ("task_started", "stage_completed", "task_completed"):
        await place.event(old, kind)
    await place.event(alive, "task_started")
    await place.event(late, "task_completed")
    await place.event(late, "stage_completed", age=timedelta(days=1))
    await place.event(None, "files_expired")
    box = SecretBox.of(place.settings)
    async with place.catalog.transaction() as connection:
        for run, url in ((old, "https://run.example/a"), (alive, "https://run.example/b")):
            await registry.set_run_webhook(connection, box, run_id=run, url=url)
            await history.note_read(connection, run, uuid4())
    ten_days = NOW - timedelta(days=10)
    await place.execute("update webhook_runs set recorded_at = %s", ten_days)
    await place.execute("update webhook_runs_read set read_at = %s", ten_days)
    await place.execute("update webhook_endpoints set created_at = %s", ten_days)
    await place.execute("update webhook_secrets set created_at = %s", ten_days)
    for days in (8, 6):
        await place.execute(
            "insert into artifacts (file_id, state, kind, filename, source_file, document_sha256, media_type, location,"
            " expires_at, deleted_at) values (gen_random_uuid(), 'deleted', 'upload', 'a', 'a',"
            " decode(repeat('0', 64), 'hex'), 'a/b', gen_random_uuid()::text, %s, %s)",
            NOW,
            NOW - timedelta(days=days),
        )
    await place.execute(
        "insert into run_outputs (run_id, file_id, source_file, reused)"
        " select file_id, file_id, '', false from artifacts"
    )
    for days in (366, 8):
        await place.execute(
            "insert into audit_log (recorded_at, action, actor) values (%s, 'pin', 'cli:a')", NOW - timedelta(days=days)
        )
    before = await place.rows("webhook_deliveries")
    done = await place.trim(prefect_missing="there is no Prefect server")
    assert done.prefect_problem == "there is no Prefect server"
    assert before - await place.rows("webhook_deliveries") == 4
    assert {row["task_id"] for row in await place.execute("select task_id from webhook_events")} == {alive, late}
    assert done.counted.kept["webhook_events"] == {"not_over": 1, "recent_event": 1}
    assert [row["run_id"] for row in await place.execute("select run_id from webhook_runs")] == [alive]
    urls = await place.execute("select url from webhook_endpoints order by url")
    assert [row["url"] for row in urls] == ["https://a.example/", "https://run.example/b"]
    assert await place.rows("artifacts") == await place.rows("run_outputs") == await place.rows("audit_log") == 1
    assert await place.rows("webhook_secrets") == 2, "that of the endpoint, and that of all runs"
    async with place.catalog.transaction() as connection:
        await registry.rotate(
            connection,
            box,
            (await place.execute("select secret_id from webhook_endpoints where endpoint_id = %s", endpoint))[0][
                "secret_id"
            ],
        )
    assert sum((await place.trim(prefect_missing="none")).counted.removed.values()) == 0


async def test_a_retried_delivery_keeps_its_event(place: Place) -> None:
    await place.endpoint()
    event_id = await place.event(None, "export_completed")
    await place.execute("update webhook_deliveries set settled_at = %s where event_id = %s", NOW, event_id)
    assert (await place.trim()).counted.kept["webhook_events"] == {"recent_delivery": 1}


async def test_what_does_not_fit_into_the_time_is_left_to_the_next_run(place: Place) -> None:
    run = await place.old_run()
    done = await place.trim(max_seconds=0)
    assert (done.as_json()["complete"], await place.left(run)) == (False, [True])
    assert (await place.trim()).as_json()["complete"]


async def test_a_login_that_prefect_refuses_is_a_failure_and_the_rows_of_the_catalogue_go_all_the_same(
    place: Place,
) -> None:
    run = await place.old_run()
    await place.event(None, "files_expired")
    with temporary_settings({PREFECT_API_AUTH_STRING: "waybill:another"}):
        shown, done = await place.trim(dry_run=True), await place.trim()
    for one, outcome, problem in (
        (shown, "1 records would go: 1 events", "Prefect's history was not counted, only that of the catalogue"),
        (done, "1 records removed; database ", "Prefect's history was not trimmed, only that of the catalogue"),
    ):
        view = one.as_json()
        assert (view["prefect"], view["complete"], view["removed"]) == (REFUSED, False, {"webhook_events": 1})
        assert one.outcome().startswith(outcome)
        assert one.summary() == f"{one.outcome()}; {problem}: {REFUSED}"
    assert await place.left(run) == [True]
    assert await place.rows("webhook_events") == 0
    missing = await place.trim(prefect_missing="there is no Prefect server")
    assert (missing.prefect_problem, missing.is_complete) == ("there is no Prefect server", False)
    assert (await place.trim()).as_json()["prefect"] == "trimmed"


async def test_a_dry_run_says_what_would_go(place: Place) -> None:
    await place.old_run()
    await place.event(None, "files_expired")
    shown = await place.trim(dry_run=True)
    assert shown.summary() in {
        "2 records would go: 1 flow runs, 1 events",
        "2 records would go: 1 events, 1 flow runs",
    }
    assert shown.as_json()["prefect"] == "counted"


async def test_a_run_that_its_schedule_has_missed_is_cancelled_unless_it_is_gone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with place.catalog.connection() as connection:
        owner = Owner(catalogue=await catalogue_id(connection), home=home_id(place.settings.home))
    missed, gone = [
        await place.run(Scheduled(scheduled_time=OLD), of=trim_history, tags=[owner.tag], read=False) for _ in range(2)
    ]
    with psycopg.connect(place.prefect_database(missed.id)) as connection:
        connection.execute(
            "update flow_run set auto_scheduled = true, expected_start_time = %s where id = any(%s)",
            [OLD, [missed.id, gone.id]],
        )
    shown = await place.trim(dry_run=True)
    assert shown.counted.removed["missed schedules"] == 2
    set_state = PrefectClient.set_flow_run_state

    async def set_when_one_is_gone(client: PrefectClient, run_id: UUID, *state: Any, **more: Any) -> Any:
        """Another process has deleted it since it was listed."""
        if run_id == gone.id:
            await client.delete_flow_run(run_id)
        return await set_state(client, run_id, *state, **more)

    monkeypatch.setattr(PrefectClient, "set_flow_run_state", set_when_one_is_gone)
    done = await place.trim()
    assert (done.prefect_problem, done.counted.removed["missed schedules"]) == (None, 2)
    assert done.counted.kept == {}
    assert (await place.client.read_flow_run(missed.id)).state_type is StateType.CANCELLED
    assert await place.left(gone) == [False]


async def test_the_flow_leaves_a_table_and_notifies_no_consumer(place: Place) -> None:
    await place.old_run()
    state = await trim_history(return_state=True)
    assert state.is_completed()
    assert "1 records removed" in str(state.message)
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    found = await place.client.read_artifacts(
        artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    )
    assert [one.key for one in found] == ["trimmed-history"]
    assert '"what": "flow runs", "outcome": "removed", "count": "1"' in str(found[0].data)
    assert await place.rows("webhook_events") == 0
    assert sum((await database_sizes(place.catalog)).values()) > 0


_PROGRAM = """
import asyncio
from blocks.settings import current_settings
from flows.history import trim
asyncio.run(trim(current_settings()))
"""


async def test_a_trim_that_is_killed_is_finished_by_the_next_one(place: Place, prefect_server: str) -> None:
    await place.endpoint()
    runs = [await place.old_run() for _ in range(12)]
    for run in runs:
        await place.event(run.id, "task_completed")
        for _ in range(2):
            await place.client.create_artifact(ArtifactCreate(key="some-key", type="table", data=1, flow_run_id=run.id))
    kept = await place.run(Running(timestamp=OLD))
    ids = [run.id for run in runs]
    these = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=ids))
    environment = {**os.environ, **prefect_variables(prefect_server)}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _PROGRAM, env=environment)
    try:
        # Somewhere among the artifacts, which are deleted one by one.
        while len(await place.client.read_artifacts(artifact_filter=these)) == 2 * len(runs):
            pass
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    done = await place.trim()
    assert done.as_json()["complete"]
    assert not any(await place.left(*runs))
    assert await place.left(kept) == [True]
    assert await place.client.read_artifacts(artifact_filter=these) == []
    assert await place.rows("webhook_events") == await place.rows("webhook_deliveries") == 0
