"""API keys: who gets in with what, what the audit log has of it, and the first key of a home."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from blocks.access import (
    ADMIN,
    AuditEntry,
    CreatedKey,
    create_key,
    find_key,
    has_admin_key,
    list_keys,
    parse_key,
    record,
    revoke_key,
)
from blocks.catalog import Catalog, Connection
from blocks.errors import ApiKeyNotFound, InvalidOptions, InvalidSettings
from blocks.settings import Settings
from tests.gateway import Gateway, error_of, running_gateway
from waybill.commands.arguments import this_account
from waybill.gateway.http.rate_limit import RateLimit
from waybill.gateway.routes.audit import AuditLines
from waybill.services.api_keys import KEY_FILE_NAME, create_api_key, ensure_first_key, revoke_api_key

READ_PATH, WRITE_PATH, ADMIN_PATH = "/api/v1/files/list", f"/api/v1/files/{uuid4()}", "/api/v1/audit"
METHODS = {READ_PATH: "GET", WRITE_PATH: "DELETE", ADMIN_PATH: "GET"}
ME = this_account()


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncGenerator[Gateway]:
    async with running_gateway(database_url, tmp_path / "home") as running:
        yield running


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    async with Catalog.open(database_url) as catalog, catalog.connection() as opened:
        yield opened


async def ask(gateway: Gateway, authorization: str | None, path: str = READ_PATH) -> httpx.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    return await gateway.client.request(METHODS[path], path, headers=headers)


async def made(gateway: Gateway, *scopes: str, **more: Any) -> CreatedKey:
    async with gateway.custody.catalog.connection() as connection:
        return await create_key(connection, name="a test", scopes=scopes or ["read"], **more)


# Keys that do not work ------------------------------------------------------------------------------------------------


async def test_every_wrong_key_gets_its_answer_and_its_line_in_the_log(gateway: Gateway) -> None:
    good, revoked = await made(gateway), await made(gateway)
    expired = await made(gateway, keep_for=timedelta(0))
    writer = await made(gateway, "write")
    async with gateway.custody.catalog.connection() as connection:
        await revoke_key(connection, revoked.key.key_id)
    head, _, secret = good.text.rpartition("_")
    unauthenticated = (401, "NotAuthenticated", None)
    refused = (401, "NotAuthenticated", "revoked or expired")

    def without(scope: str) -> tuple[int, str, str]:
        return 403, "ScopeMissing", f"without the scope {scope}"

    table: dict[str, tuple[str | None, str, tuple[int, str, str | None]]] = {
        "none": (None, READ_PATH, unauthenticated),
        "nothing in it": ("", READ_PATH, unauthenticated),
        "no credentials": ("Bearer", READ_PATH, unauthenticated),
        "another scheme": (f"Basic {good.text}", READ_PATH, unauthenticated),
        "no scheme": (good.text, READ_PATH, unauthenticated),
        "malformed": ("Bearer nonsense", READ_PATH, unauthenticated),
        "too short": (f"Bearer {good.text[:-1]}", READ_PATH, unauthenticated),
        "in capitals": (f"Bearer {good.text.upper()}", READ_PATH, unauthenticated),
        "a key and more": (f"Bearer {good.text}, Bearer {good.text}", READ_PATH, unauthenticated),
        "long": (f"Bearer {'A' * 30_000}", READ_PATH, unauthenticated),
        "a signed link's token": (f"Bearer {gateway.link(uuid4()).split('=')[1]}", READ_PATH, unauthenticated),
        "an id that is not known": (f"Bearer wb_{'0' * 12}_{secret}", READ_PATH, unauthenticated),
        "the right id with another secret": (f"Bearer {head}_{'0' * 64}", READ_PATH, unauthenticated),
        "the secret with one digit changed": (
            f"Bearer {good.text[:-1]}{'0' if good.text[-1] != '0' else '1'}", READ_PATH, unauthenticated,
        ),
        "another key's secret": (f"Bearer {head}_{writer.text.rpartition('_')[2]}", READ_PATH, unauthenticated),
        "revoked": (f"Bearer {revoked.text}", READ_PATH, refused),
        "revoked, with another secret": (f"Bearer {revoked.text[:-1]}x", READ_PATH, unauthenticated),
        "expired": (f"Bearer {expired.text}", READ_PATH, refused),
        "to write with one that reads": (f"Bearer {good.text}", WRITE_PATH, without("write")),
        "to read with one that writes": (f"Bearer {writer.text}", READ_PATH, without("read")),
        "to look after it all": (f"Bearer {writer.text}", ADMIN_PATH, without("admin")),
    }  # fmt: skip
    for name, (authorization, path, (status, code, why)) in table.items():
        before = len(await gateway.audited("key_refused"))
        answer = await ask(gateway, authorization, path)
        assert (name, answer.status_code, error_of(answer)) == (name, status, code)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "wb_" not in answer.text.replace("wb_...", "")
        rows = (await gateway.audited("key_refused"))[before:]
        assert (name, [row["detail"] for row in rows]) == (name, [] if why is None else [{"why": why, "path": path}])
        for row in rows:
            assert (row["client"], row["request_id"]) == ("127.0.0.1", answer.headers["x-request-id"])
            assert row["actor"].startswith("key:")
    insufficient = await ask(gateway, f"Bearer {good.text}", WRITE_PATH)
    assert insufficient.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="write"'
    assert (await ask(gateway, f"Bearer {good.text}")).status_code == 200
    assert (await ask(gateway, f"bEARER   {good.text}")).status_code == 200


async def test_nothing_is_told_before_a_key_is_seen(gateway: Gateway) -> None:
    artifact = await gateway.put(b"x")
    for path in (f"/api/v1/files/metadata/{artifact.file_id}", f"/api/v1/files/metadata/{uuid4()}"):
        assert (await gateway.get(path)).status_code == 401
    answer = await gateway.get("/api/v1/files/list?limit=nonsense")
    assert (answer.status_code, error_of(answer)) == (401, "NotAuthenticated")


async def test_a_revoked_key_opens_nothing_from_the_next_request_on(gateway: Gateway) -> None:
    one = await made(gateway)
    assert (await ask(gateway, f"Bearer {one.text}")).status_code == 200
    async with gateway.custody.catalog.connection() as connection:
        await revoke_key(connection, one.key.key_id)
    assert (await ask(gateway, f"Bearer {one.text}")).status_code == 401


async def test_whoever_comes_too_often_is_told_when_to_come_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.resources.gate, "_requests", RateLimit(lambda: 0.0))
    slow, other = await made(gateway, requests_per_minute=3), await made(gateway)
    answers = [await ask(gateway, f"Bearer {slow.text}") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert error_of(answers[3]) == "TooManyRequests"
    wait = int(answers[3].headers["retry-after"])
    assert wait == 20
    assert answers[3].json()["error"]["detail"] == {"retry_after_seconds": wait}
    assert (await ask(gateway, f"Bearer {other.text}")).status_code == 200


async def test_whoever_tries_keys_out_is_slowed_down_and_nobody_else_is(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One more may come each second, and a busy machine takes that long for some of these.
    monkeypatch.setattr(gateway.resources.gate, "_wrong_keys", RateLimit(lambda: 0.0))
    statuses = [(await ask(gateway, f"Bearer wb_{'0' * 12}_{number:064x}")).status_code for number in range(61)]
    assert statuses == [401] * 60 + [429]
    stopped = await ask(gateway, "Bearer nonsense")
    assert (stopped.status_code, error_of(stopped)) == (429, "TooManyRequests")
    assert int(stopped.headers["retry-after"]) >= 1
    # From the same address, as all are behind a proxy.
    assert (await ask(gateway, f"Bearer {(await made(gateway)).text}")).status_code == 200


async def test_the_use_of_a_key_is_noted_once_for_each_address(gateway: Gateway) -> None:
    one = await made(gateway)
    for _ in range(3):
        await ask(gateway, f"Bearer {one.text}")
    (row,) = await gateway.audited("key_used")
    assert (row["actor"], row["client"]) == (f"key:{one.key.key_id}", "127.0.0.1")
    async with gateway.custody.catalog.connection() as connection:
        found = await find_key(connection, one.key.key_id)
    assert found is not None and found.last_used_at is not None


# Making and revoking --------------------------------------------------------------------------------------------------


async def test_a_use_that_could_not_be_noted_is_noted_with_the_next_request(gateway: Gateway) -> None:
    key = await made(gateway, "read")

    async def run(statement: str) -> None:
        async with gateway.custody.catalog.connection() as connection:
            await connection.execute(statement)

    await run("alter table audit_log rename to away")
    assert (await ask(gateway, f"Bearer {key.text}")).status_code == 503
    await run("alter table away rename to audit_log")
    assert (await ask(gateway, f"Bearer {key.text}")).status_code == 200
    assert len(await gateway.audited("key_used")) == 1


async def test_what_is_done_with_keys_is_in_the_log_and_no_key_is(gateway: Gateway) -> None:
    async with gateway.custody.catalog.transaction() as connection:
        one = await create_api_key(connection, name="nightly", scopes=["write", "read"], requests_per_minute=7, by=ME)
        assert (one.key.scopes, one.key.requests_per_minute, one.key.usable) == (("read", "write"), 7, True)
        for _ in range(2):
            revoked = await revoke_api_key(connection, one.key.key_id, by=ME)
        assert not revoked.usable
        with pytest.raises(ApiKeyNotFound, match="keys list"):
            await revoke_api_key(connection, "0" * 12, by=ME)
    (created,), (ended,) = await gateway.audited("key_created"), await gateway.audited("key_revoked")
    assert created["actor"] == ended["actor"] == ME.actor
    assert created["detail"] == {"key_id": one.key.key_id, "name": "nightly", "scopes": ["read", "write"]}
    assert ended["detail"] == {"key_id": one.key.key_id, "name": "nightly"}
    secret = one.text.rpartition("_")[2]
    assert secret not in json.dumps([created, ended], default=str) and secret not in repr(one)


async def test_a_key_that_cannot_be_made_leaves_nothing(connection: Connection) -> None:
    for wrong in ({"scopes": []}, {"scopes": ["all"]}, {"name": ""}):
        with pytest.raises(InvalidOptions):
            await create_api_key(connection, **{"name": "x", "scopes": ["read"], **wrong}, by=ME)  # type: ignore[arg-type]
    assert await list_keys(connection) == []


async def test_an_expired_key_is_no_admin(connection: Connection) -> None:
    assert not await has_admin_key(connection)
    await create_key(connection, name="x", scopes=[ADMIN], keep_for=timedelta(0))
    assert not await has_admin_key(connection)
    last = await create_key(connection, name="x", scopes=[ADMIN], keep_for=timedelta(days=1))
    assert await has_admin_key(connection)
    await revoke_key(connection, last.key.key_id)
    assert not await has_admin_key(connection)


# The first key --------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, database_url=database_url)


def file_of(settings: Settings) -> Path:
    return settings.home / KEY_FILE_NAME


async def test_the_first_key_is_made_once_and_only_its_owner_can_read_it(
    settings: Settings, connection: Connection
) -> None:
    text = await ensure_first_key(settings, by=ME)
    assert text is not None
    assert file_of(settings).read_text() == f"{text}\n"
    assert stat.S_IMODE(file_of(settings).stat().st_mode) == 0o600
    (key,) = await list_keys(connection)
    assert (key.scopes, key.expires_at) == ((ADMIN,), None)
    shown = parse_key(text)
    assert shown is not None and shown.is_of(key)
    assert await ensure_first_key(settings, by=ME) is None
    assert file_of(settings).read_text() == f"{text}\n"
    assert len(await list_keys(connection)) == 1


async def test_where_somebody_can_look_after_the_rest_no_key_is_made(
    settings: Settings, connection: Connection
) -> None:
    await create_key(connection, name="x", scopes=["read", "write"])
    await create_key(connection, name="theirs", scopes=[ADMIN])
    assert await ensure_first_key(settings, by=ME) is None
    assert not file_of(settings).exists()


@pytest.mark.parametrize("text", [f"wb_{'0' * 12}_{'0' * 64}", "", "nonsense", "\0", "x" * 5000])
async def test_a_file_of_another_database_is_replaced(settings: Settings, connection: Connection, text: str) -> None:
    await create_key(connection, name="theirs", scopes=[ADMIN])
    file_of(settings).write_text(text)
    made = await ensure_first_key(settings, by=ME)
    assert made is not None
    assert file_of(settings).read_text() == f"{made}\n"
    assert stat.S_IMODE(file_of(settings).stat().st_mode) == 0o600


async def test_the_right_id_with_another_secret_is_not_known(settings: Settings, connection: Connection) -> None:
    text = await ensure_first_key(settings, by=ME)
    assert text is not None
    file_of(settings).write_text(f"{text[:-64]}{'0' * 64}\n")
    assert await ensure_first_key(settings, by=ME) not in {None, text}
    assert len(await list_keys(connection)) == 2


async def test_a_key_that_was_revoked_is_made_anew_only_for_want_of_another(
    settings: Settings, connection: Connection
) -> None:
    await ensure_first_key(settings, by=ME)
    (first,) = await list_keys(connection)
    other = await create_key(connection, name="theirs", scopes=[ADMIN])
    await revoke_key(connection, first.key_id)
    assert await ensure_first_key(settings, by=ME) is None
    await revoke_key(connection, other.key.key_id)
    assert await ensure_first_key(settings, by=ME) is not None


async def test_others_lose_the_right_to_read_the_file(settings: Settings) -> None:
    await ensure_first_key(settings, by=ME)
    file_of(settings).chmod(0o644)
    assert await ensure_first_key(settings, by=ME) is None
    assert stat.S_IMODE(file_of(settings).stat().st_mode) == 0o600


async def test_a_file_that_cannot_be_written_leaves_no_key(settings: Settings, connection: Connection) -> None:
    file_of(settings).mkdir()
    with pytest.raises(InvalidSettings, match="api-key"):
        await ensure_first_key(settings, by=ME)
    nowhere = replace(settings, home=settings.home / "nowhere")
    with pytest.raises(InvalidSettings, match="api-key"):
        await ensure_first_key(nowhere, by=ME)
    assert await list_keys(connection) == []


# The audit log over HTTP ----------------------------------------------------------------------------------------------


async def test_the_log_is_filtered_and_paged_newest_first(gateway: Gateway) -> None:
    file_id = uuid4()
    entries = [
        AuditEntry(action="download", actor="key:0123456789ab", file_id=file_id, client="192.0.2.7"),
        AuditEntry(action="delete", actor="link", file_id=file_id),
        AuditEntry(action="pin", actor="cli:ada", detail={"note": "a\0b"}),
    ]
    async with gateway.custody.catalog.connection() as connection:
        await record(connection, *entries)
        await connection.execute(
            "update audit_log set recorded_at = recorded_at - interval '2 hours' where action = 'pin'"
        )
    headers = await gateway.headers("admin")

    async def page(**params: Any) -> dict[str, Any]:
        answer = await gateway.client.get(ADMIN_PATH, params=params, headers=headers)
        assert answer.status_code == 200, answer.text
        AuditLines.model_validate(answer.json())
        return answer.json()

    async def actions(**params: Any) -> list[str]:
        return [line["action"] for line in (await page(**params))["entries"]]

    assert await actions() == ["key_used", "pin", "delete", "download"]
    assert await actions(hours=1) == ["key_used", "delete", "download"]
    assert await actions(file_id=file_id) == ["delete", "download"]
    assert await actions(key_id="0123456789ab") == ["download"]
    assert await actions(action="pin", hours=48) == ["pin"]
    (line,) = (await page(action="pin"))["entries"]
    assert (line["actor"], line["detail"]) == ("cli:ada", {"note": "ab"})
    found: list[str] = []
    after: dict[str, int] = {}
    while True:
        one = await page(limit=1, **after)
        found += [line["action"] for line in one["entries"]]
        if one["next"] is None:
            break
        after = {"after": one["next"]}
    assert found == ["key_used", "pin", "delete", "download"]
    wrong = [
        {"hours": "0"}, {"hours": "nan"}, {"hours": "inf"}, {"hours": "1e9"}, {"action": "look"}, {"file_id": "7"},
        {"key_id": "7"}, {"key_id": "0123456789AB"}, {"limit": "0"}, {"after": "0"}, {"after": str(2**63)},
        {"action": "\0"},
    ]  # fmt: skip
    for params in wrong:
        answer = await gateway.client.get(ADMIN_PATH, params=params, headers=headers)
        assert (params, answer.status_code) == (params, 422)
        error_of(answer)
