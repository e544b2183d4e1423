"""Clean-up, plans and statistics over HTTP: the reports of the commands, for keys that may have them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from blocks.catalog import Artifact
from tests.gateway import Gateway, error_of, running_gateway
from waybill.client import Client
from waybill.gateway.resources import TIMEOUTS

CLEANUP = "/api/v1/files/cleanup"


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncGenerator[Gateway]:
    async with running_gateway(
        database_url, tmp_path / "home", retention={"keep_newest": 0, "max_files": 100}
    ) as running:
        yield running


async def stored(gateway: Gateway, count: int, *, expired: int, **given: str) -> list[Artifact]:
    files = [await gateway.put(f"{number}".encode(), name=f"{number}.pdf", **given) for number in range(count)]
    async with gateway.custody.catalog.connection() as connection:
        ids = [one.file_id for one in files[:expired]]
        await connection.execute("update artifacts set expires_at = now() where file_id = any(%s)", [ids])
    return files


async def age(gateway: Gateway, artifact: Artifact, hours: int) -> None:
    async with gateway.custody.catalog.connection() as connection:
        values = [hours, artifact.file_id]
        await connection.execute(
            "update artifacts set created_at = now() - make_interval(hours => %s) where file_id = %s", values
        )


async def test_a_clean_up_reports_what_went_and_what_stayed(gateway: Gateway) -> None:
    headers = await gateway.headers("admin")
    gone, pinned, _ = await stored(gateway, 3, expired=2)
    async with gateway.custody.catalog.connection() as connection:
        await connection.execute("update artifacts set pinned_at = now() where file_id = %s", [pinned.file_id])
    dry = (await gateway.client.delete(CLEANUP, params={"dry_run": "true"}, headers=headers)).json()
    assert [one["file_id"] for one in dry["removed"]] == [str(gone.file_id)]
    assert [one["rule"] for one in dry["kept"]] == ["pinned", "not_due"]
    assert (dry["dry_run"], dry["before"]["total"]["count"], dry["after"]["total"]["count"]) == (True, 3, 2)
    assert gateway.stored(gone).exists()

    done = (await gateway.client.post(CLEANUP, params={"plan_id": dry["plan_id"]}, headers=headers)).json()
    assert (done["counts"]["removed"], done["digest"], done["after"]) == (1, dry["digest"], dry["after"])
    assert not gateway.stored(gone).exists()
    repeated = await gateway.client.post(CLEANUP, params={"plan_id": dry["plan_id"]}, headers=headers)
    assert (repeated.status_code, error_of(repeated)) == (409, "PlanExecuted")
    (entry,) = await gateway.audited("expire")
    assert entry["actor"].startswith("key:") and entry["detail"]["plan_id"] == dry["plan_id"]


async def test_an_age_removes_what_its_own_time_would_keep(gateway: Gateway) -> None:
    headers = await gateway.headers("admin")
    old, older, _ = await stored(gateway, 3, expired=0)
    await age(gateway, old, 30)
    await age(gateway, older, 80)
    report = (await gateway.client.post(CLEANUP, params={"days": 3}, headers=headers)).json()
    assert [(one["file_id"], one["rule"]) for one in report["removed"]] == [(str(older.file_id), "older_than")]
    other_kind = {"max_age_hours": 24, "kind": "export"}
    assert (await gateway.client.delete(CLEANUP, params=other_kind, headers=headers)).json()["removed"] == []
    report = (await gateway.client.delete(CLEANUP, params={"max_age_hours": 24}, headers=headers)).json()
    assert [one["file_id"] for one in report["removed"]] == [str(old.file_id)]


async def test_parameters_have_bounds(gateway: Gateway) -> None:
    headers = await gateway.headers("admin")
    await stored(gateway, 1, expired=1)
    wrong = [("DELETE", {"max_age_hours": value}) for value in ("0", "-1", "nan", "inf", "1e9", "x", "")]
    wrong += [("POST", {"days": value}) for value in ("0", "-1", "1.5", "36501", "x", "")]
    wrong += [("DELETE", {"dry_run": "perhaps"}), ("POST", {"kind": "secret"}), ("POST", {"plan_id": "last"})]
    wrong += [("POST", {"plan_id": str(uuid4()), "days": "1"})]
    # A dry run that is misspelt must not become a real one.
    wrong += [("POST", {"dryrun": "true"}), ("DELETE", {"dry-run": "true"}), ("POST", {"max_age_hours": "1"})]
    for method, parameters in wrong:
        answer = await gateway.client.request(method, CLEANUP, params=parameters, headers=headers)
        assert answer.status_code == 422, (method, parameters, answer.text)
    in_body = await gateway.client.request("DELETE", CLEANUP, json={"dry_run": True}, headers=headers)
    assert (in_body.status_code, error_of(in_body)) == (422, "InvalidOptions")
    missing = await gateway.client.post(CLEANUP, params={"plan_id": str(uuid4())}, headers=headers)
    assert (missing.status_code, error_of(missing)) == (404, "PlanNotFound")
    for scopes in (("write",), ("read", "write")):
        assert (await gateway.client.delete(CLEANUP, headers=await gateway.headers(*scopes))).status_code == 403
    assert await gateway.audited("expire") == [], "nothing was removed"


async def test_a_file_that_cannot_be_deleted_is_named_without_its_place(gateway: Gateway) -> None:
    headers = await gateway.headers("admin")
    (odd, _) = await stored(gateway, 2, expired=2)
    gateway.stored(odd).unlink()
    gateway.stored(odd).mkdir()
    answer = await gateway.client.delete(CLEANUP, headers=headers)
    report = answer.json()
    assert (report["counts"]["removed"], report["counts"]["failed"]) == (1, 1)
    assert report["failed"][0]["file_id"] == str(odd.file_id) and "store" not in report["failed"][0]["error"]


async def test_a_clean_up_may_take_longer_than_other_requests(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its statements have no time limit, and other requests are answered meanwhile."""
    headers = await gateway.headers("admin")
    await stored(gateway, 1, expired=1)
    loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    delete_many = gateway.custody.backend.delete_many

    def slow(paths: Sequence[str]) -> dict[str, str]:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait()
        return delete_many(paths)

    monkeypatch.setattr(gateway.custody.backend, "delete_many", slow)
    cleaning = asyncio.create_task(gateway.client.delete(CLEANUP, headers=headers))
    await begun.wait()
    (plan,) = (await gateway.client.get("/api/v1/retention/plans", headers=headers)).json()["plans"]
    assert plan["state"] == "executing"
    assert TIMEOUTS.answer_seconds is not None
    go_on.set()
    assert (await cleaning).json()["counts"]["removed"] == 1
    shown = (await gateway.client.get(f"/api/v1/retention/plans/{plan['plan_id']}", headers=headers)).json()
    assert (shown["state"], [one["state"] for one in shown["removes"]]) == ("done", ["deleted"])


async def test_statistics_show_what_goes_next(gateway: Gateway) -> None:
    headers = await gateway.headers("read")
    files = await stored(gateway, 3, expired=1)
    async with gateway.custody.catalog.connection() as connection:
        await connection.execute(
            "update artifacts set expires_at = now() + interval '1 hour' where file_id = %s", [files[1].file_id]
        )
    found = (await gateway.client.get("/api/v1/stats", headers=headers)).json()
    assert found["by_kind"]["upload"]["count"] == 3
    assert found["retention"]["next"]["file_id"] == str(files[1].file_id)
    assert (found["retention"]["expired"], found["retention"]["pinned"], found["retention"]["held"]) == (1, 0, 0)


async def test_the_client_cleans_up(gateway: Gateway) -> None:
    await stored(gateway, 2, expired=1)
    key = await gateway.key("admin", "read")

    def use() -> None:
        with Client(gateway.url, key) as client:
            dry = client.clean_up(dry_run=True)
            assert client.clean_up(plan_id=dry["plan_id"])["counts"]["removed"] == 1
            assert client.retention_plans()[0]["state"] == "done"
            assert client.statistics()["total"]["count"] == 1

    await asyncio.to_thread(use)
