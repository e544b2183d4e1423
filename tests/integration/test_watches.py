"""Watches as schedules in Prefect, over HTTP, and of buckets and web servers, on real servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from fsspec.config import conf
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.flow_engine import run_flow_async
from prefect.states import Running

from blocks.errors import InvalidOptions, SourceNotFound
from blocks.runs.ownership import Owner
from flows.process import process_documents
from flows.watch import watch_source
from tasks.sources import SourceAccess, SourceReader
from tasks.watching.listing import list_place
from tests.gateway import Gateway, error_of, running_gateway
from tests.http_server import Answer, running_document_server
from tests.integration.conftest import Workspace
from tests.s3.server import S3Server
from tests.shared_servers import PREFECT_ALONE
from waybill.stack.deployments import project_directory, read_deployments
from waybill.stack.flow_server import _runner_deployment

# It registers deployments of the names that the product looks for.
pytestmark = PREFECT_ALONE

WATCHES = "/api/v1/watches"
NOW = timedelta(0)


@pytest.fixture
async def gateway(workspace: Workspace, prefect_server: str, client: PrefectClient) -> AsyncIterator[Gateway]:
    del client
    await (await process_documents.ato_deployment(name="waybill")).aapply()
    await (await watch_source.ato_deployment(name="waybill")).aapply()
    async with running_gateway(workspace.database_url, workspace.home, prefect_api=prefect_server) as running:
        running.client.headers.update(await running.headers())
        yield running


async def schedules(client: PrefectClient) -> list[dict[str, Any]]:
    deployment = await client.read_deployment_by_name("watch-source/waybill")
    return (await cast("Any", client).request("GET", f"/deployments/{deployment.id}/schedules")).json()


async def test_a_watch_is_a_schedule_in_prefect_that_is_changed_listed_and_removed(
    workspace: Workspace, gateway: Gateway, client: PrefectClient
) -> None:
    inbox = str(workspace.documents)
    wanted = {"source": inbox, "every": "1m", "stages": "1-3", "keep_for": "30d"}
    made = await gateway.client.post(WATCHES, json=wanted)
    assert made.status_code == 201, made.text
    watch_id = made.json()["watch_id"]
    (schedule,) = await schedules(client)
    assert (schedule["schedule"]["interval"], schedule["active"]) == (60.0, True)
    parameters = {"settle": "10s", "stages": [1, 2, 3], "keep_for": "30d"}
    assert schedule["parameters"] == {"source": inbox, **parameters}
    # The first look does not wait for the schedule.
    assert (await client.read_flow_run(made.json()["task_id"])).parameters == schedule["parameters"]

    again = await gateway.client.post(WATCHES, json={"source": inbox, "every": "2h"})
    assert again.json()["watch_id"] == watch_id
    (changed,) = await schedules(client)
    assert (changed["id"], changed["schedule"]["interval"]) == (schedule["id"], 7200.0)
    (listed,) = (await gateway.client.get(WATCHES)).json()["watches"]
    assert (listed["watch_id"], listed["every"], listed["active"], listed["files"]) == (watch_id, "2h", True, 0)
    assert listed["parameters"] == {"settle": "10s"}

    assert (await gateway.client.delete(f"{WATCHES}/{watch_id}")).json() == {"watch_id": watch_id, "removed": True}
    answer = await gateway.client.delete(f"{WATCHES}/{watch_id}")
    assert (answer.status_code, error_of(answer)) == (404, "WatchNotFound")
    assert await schedules(client) == []
    # A look that is still queued would record the watch anew.
    for look in (made, again):
        run = await client.read_flow_run(look.json()["task_id"])
        assert run.state is not None and run.state.is_cancelled() and run.state.message == "Its watch was removed."
    assert (await gateway.client.get(WATCHES)).json() == {"watches": []}
    assert len(await gateway.audited("watch_added")) == 2 and len(await gateway.audited("watch_removed")) == 1


async def test_a_look_that_has_begun_does_not_record_its_removed_watch_and_one_by_hand_does(
    workspace: Workspace, gateway: Gateway, client: PrefectClient
) -> None:
    inbox = str(workspace.documents)
    made = (await gateway.client.post(WATCHES, json={"source": inbox, "every": "1m"})).json()
    # Its process has started, and has not yet come to the catalogue.
    await client.set_flow_run_state(made["task_id"], Running(), force=True)
    assert (await gateway.client.delete(f"{WATCHES}/{made['watch_id']}")).status_code == 200
    begun = await client.read_flow_run(made["task_id"])
    assert begun.state is not None and begun.state.is_running()
    ended = await looked(begun)
    assert ended.is_completed() and ended.message == f"the watch of {inbox} was removed"
    assert (await gateway.client.get(WATCHES)).json() == {"watches": []}

    deployment = await client.read_deployment_by_name("watch-source/waybill")
    by_hand = await client.create_flow_run_from_deployment(deployment.id, parameters={"source": inbox})
    assert (await looked(by_hand)).is_completed()
    (listed,) = (await gateway.client.get(WATCHES)).json()["watches"]
    assert (listed["watch_id"], listed["schedule_id"]) == (made["watch_id"], None)


async def looked(run: FlowRun) -> State[Any]:
    """The state of a look after its run, as the flow server runs it."""
    parameters = watch_source.validate_parameters(run.parameters)
    return cast(
        "State[Any]", await run_flow_async(watch_source, flow_run=run, parameters=parameters, return_type="state")
    )


async def test_wrong_watches_are_refused_before_there_is_a_schedule(gateway: Gateway, client: PrefectClient) -> None:
    for wrong in (
        {"source": "inbox"},
        {"source": str(gateway.resources.settings.home)},
        {"source": "ftp://ada:secret@ftp.example.org/in"},
        {"source": "/data", "every": "1s"},
        {"source": "/data", "every": "9999999d"},
        {"source": "/data", "stages": "99"},
        {"source": "/data", "options": {"chunker": {"no_such": 1}}},
        {"source": "/data", "settle": "soon"},
        {"source": "/data", "webhook_url": "not a url"},
    ):
        answer = await gateway.client.post(WATCHES, json=wrong)
        assert answer.status_code in {403, 422}, (wrong, answer.text)
        assert "secret" not in answer.text
    assert await schedules(client) == []
    refused = await gateway.client.post(
        WATCHES, json={"source": "/data"}, headers=await gateway.headers("read", "write")
    )
    assert refused.status_code == 403


async def test_schedules_that_people_have_made_outlive_a_restart_of_up(
    workspace: Workspace, gateway: Gateway, client: PrefectClient
) -> None:
    owner = Owner(catalogue="0badcafe", home="0badcafe")
    project = project_directory()
    (ours,) = [one for one in read_deployments(project) if one.entrypoint == "flows/process.py:process_documents"]
    deployment_id = await (await _runner_deployment(client, project, ours, owner)).aapply()
    path = f"/deployments/{deployment_id}/schedules"
    schedule = {"schedule": {"cron": "30 6 * * *"}, "parameters": {"sources": ["/data"]}, "active": True}
    await cast("Any", client).request("POST", path, json=[schedule])
    await client.pause_deployment(deployment_id)
    await (await _runner_deployment(client, project, ours, owner)).aapply()
    (kept,) = (await cast("Any", client).request("GET", path)).json()
    assert (kept["parameters"], kept["active"]) == ({"sources": ["/data"]}, True)
    assert not (await client.read_deployment(deployment_id)).paused


def listed(source: str, folder: Path) -> dict[str, str]:
    with SourceReader(SourceAccess(), scratch=folder, max_file_bytes=2**20) as reader:
        found = list_place(source, reader, NOW)
    assert all(one.is_whole for one in found)
    return {one.source: one.version for one in found}


def test_objects_of_a_bucket_have_versions_and_one_that_is_away_is_not_empty(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(conf, "s3", s3_server.options)
    place = f"s3://{s3_bucket}/letters"
    assert listed(place, tmp_path) == listed(f"{place}/", tmp_path) == {}
    for key, content in {"letters/a.md": b"one", "letters/sub/b[1].md": b"two", "letters/empty/": b""}.items():
        s3_server.administrator.put_object(Bucket=s3_bucket, Key=key, Body=content)
    before = listed(place, tmp_path)
    assert list(before) == [f"{place}/a.md", f"{place}/sub/b[1].md"]
    # Of the same length.
    s3_server.administrator.put_object(Bucket=s3_bucket, Key="letters/a.md", Body=b"six")
    after = listed(f"s3://{s3_bucket}", tmp_path)
    assert [key for key in before if before[key] != after[key]] == [f"{place}/a.md"]
    assert list(listed(f"{place}/*.md", tmp_path)) == [f"{place}/a.md"]
    assert list(listed(f"{place}/sub/b[1].md", tmp_path)) == [f"{place}/sub/b[1].md"]
    with pytest.raises(SourceNotFound, match="no such bucket"):
        listed(f"s3://no-such-{s3_bucket}/letters", tmp_path)


def test_a_url_has_the_version_that_its_server_says(tmp_path: Path) -> None:
    with running_document_server() as server:
        url = server.answer(
            "/prices.xlsx",
            *(Answer(b"some bytes", headers={"ETag": tag}) for tag in ('"1"', '"1"', '"2"')),
        )
        versions = [listed(url, tmp_path)[url] for _ in range(3)]
        assert versions[0] == versions[1] != versions[2]
        with pytest.raises(InvalidOptions, match="cannot be watched"):
            listed(server.answer("/plain", Answer(b"some bytes")), tmp_path)
        with pytest.raises(SourceNotFound):
            listed(server.answer("/gone", Answer(status=404)), tmp_path)
