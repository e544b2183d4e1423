"""``/transfers`` over HTTP: who is refused with which status, real clients that resume, and how a transfer ends."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from blocks.access import Actor
from blocks.age import HybridIdentity, X25519Identity, unseal
from blocks.catalog import Artifact
from blocks.links.signing_keys import LinkKeys
from blocks.links.tokens import issue
from blocks.runs.prefect_api import PrefectApi
from blocks.runtime.background_tasks import running
from blocks.runtime.threads import in_thread
from blocks.storage import open_backend
from blocks.transfers import RESUME_GRACE, get_transfer, progress
from blocks.transfers.expiry import expire_transfers
from blocks.transfers.progress import Progress
from blocks.workers import get_worker
from blocks.workers.sessions import seal_session
from tests.delivery.outbox_place import until
from tests.gateway import CONTENT, Gateway, error_of, running_gateway
from tests.s3 import S3Server
from tests.storage_keys import WRITE_ONLY
from waybill.gateway.transfer_artifacts import TransferArtifacts, key_of
from waybill.services.workers import revoke_worker

TRANSFERS = "/api/v1/transfers"
RECEIVER = X25519Identity.generate()
MIB = 2**20
Start = Callable[..., Awaitable[Gateway]]
Json = dict[str, Any]


@pytest.fixture
async def start(database_url: str, tmp_path: Path) -> AsyncGenerator[Start]:
    """Starts gateways that end with the test."""
    async with AsyncExitStack() as until_done:

        async def begin(**given: Any) -> Gateway:
            opening = running_gateway(database_url, tmp_path / "home", requests_per_minute=1_000_000, **given)
            running = await until_done.enter_async_context(opening)
            running.client.headers["authorization"] = f"Bearer {await running.key('admin')}"
            return running

        yield begin


@pytest.fixture
async def gateway(start: Start) -> Gateway:
    return await start()


async def prepared(gateway: Gateway, artifact: Artifact, **more: Any) -> Json:
    """A download as its preparation answers it."""
    to = {} if "worker" in more else {"recipient": RECEIVER.recipient.text}
    wanted = {"direction": "download", "file_id": str(artifact.file_id), **to, **more}
    answer = await gateway.client.post(TRANSFERS, json=wanted)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def fetched(gateway: Gateway, made: Json, **headers: str) -> httpx.Response:
    return await gateway.get(made["url"], Authorization=f"Bearer {made['token']}", **headers)


async def status_of(gateway: Gateway, made: Json) -> Json:
    answer = await gateway.client.get(f"{TRANSFERS}/{made['transfer_id']}/status")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def until_state(gateway: Gateway, made: Json, state: str) -> Json:
    async def is_so() -> bool:
        return (await status_of(gateway, made))["state"] == state

    await until(is_so, f"the transfer is {state}", told=lambda: status_of(gateway, made))
    return await status_of(gateway, made)


async def until_still(number: Callable[[], Awaitable[int]]) -> None:
    """Wait until *number* is above zero, and the same for longer than progress takes to be written."""
    seen = [-1]

    async def is_still() -> bool:
        await asyncio.sleep(1.5)
        seen.append(await number())
        return 0 < seen[-1] == seen[-2]

    await until(is_still, "nothing moves", told=number)


async def events(gateway: Gateway) -> list[tuple[str, Json]]:
    async with gateway.custody.catalog.connection() as connection:
        cursor = await connection.execute("select event_type, body from webhook_events order by recorded_at")
        rows = await cursor.fetchall()
    return [(row["event_type"], json.loads(bytes(row["body"]))["data"]) for row in rows]


async def worker(gateway: Gateway, name: str) -> X25519Identity:
    """The key of an enrolled worker."""
    identity = X25519Identity.generate()
    async with gateway.custody.catalog.connection() as connection:
        await connection.execute(
            "insert into workers (name, recipient, enrolled_by) values (%s, %s, 'a test')",
            [name, identity.recipient.text],
        )
    return identity


async def session(gateway: Gateway, name: str, identity: X25519Identity) -> dict[str, str]:
    async with gateway.custody.catalog.connection() as connection:
        sealed = seal_session(await get_worker(connection, name), gateway.keys)
    return {"Authorization": f"Bearer {b''.join(unseal([sealed], [identity])).decode()}"}


def signed(gateway: Gateway, keys: LinkKeys | None = None, **given: Any) -> str:
    """A token of the form that transfers have."""
    at = given.pop("at", datetime.now(UTC))
    lasts = given.pop("lasts", timedelta(hours=1))
    token, _ = issue(key=(keys or gateway.keys).signing_key(), expires_at=at + lasts, clock=lambda: at, **given)
    return token


# Who is refused -------------------------------------------------------------------------------------------------------


async def test_every_wrong_token_is_refused_before_the_first_byte(
    gateway: Gateway, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    artifact = await gateway.put()
    made, other = await prepared(gateway, artifact), await prepared(gateway, artifact)
    await worker(gateway, "gpu-1")
    for_worker = await prepared(gateway, artifact, worker="gpu-1")
    mine, its = made["transfer_id"], for_worker["transfer_id"]
    scope = {"scope": "transfer-download", "subject": mine}
    to_worker = {"scope": "transfer-download", "subject": its}
    now, lately = datetime.now(UTC), timedelta(seconds=31)
    head, claims, signature = made["token"].split(".")
    strangers = LinkKeys(tmp_path / "strangers")
    wrong: dict[str, tuple[Json, str, int, str]] = {
        "no token of ours": (made, "abc", 403, "LinkInvalid"),
        "a key": (made, await gateway.key("admin"), 401, "NotAuthenticated"),
        "altered claims": (made, f"{head}.{claims[:-2]}AA.{signature}", 403, "LinkInvalid"),
        "altered signature": (made, f"{head}.{claims}.{signature[:-4]}AAAA", 403, "LinkInvalid"),
        "alg none": (made, _unsigned(made["token"]), 403, "LinkInvalid"),
        "signed elsewhere": (made, signed(gateway, strangers, **scope), 403, "LinkInvalid"),
        "another transfer": (made, other["token"], 403, "LinkInvalid"),
        "another direction": (made, signed(gateway, scope="transfer-upload", subject=mine), 403, "LinkInvalid"),
        "a link to the file": (made, signed(gateway, scope="download", subject=mine), 403, "LinkInvalid"),
        "a worker's, for any bearer": (made, signed(gateway, audience="worker:gpu-1", **scope), 403, "LinkInvalid"),
        "any bearer's, for a worker": (for_worker, signed(gateway, **to_worker), 403, "LinkInvalid"),
        "another worker's": (for_worker, signed(gateway, audience="worker:gpu-2", **to_worker), 403, "LinkInvalid"),
        "signed in the future": (made, signed(gateway, at=now + timedelta(hours=1), **scope), 403, "LinkInvalid"),
        "expired": (made, signed(gateway, at=now - 3 * lately, lasts=2 * lately, **scope), 410, "LinkExpired"),
    }
    for name, (to, token, status, code) in wrong.items():
        with subtests.test(name=name):
            bearer = {"Authorization": f"Bearer {token}"}
            by_header = await gateway.client.get(to["url"], headers=bearer)
            by_query = await gateway.client.get(f"{to['url']}?token={token}", headers={"Authorization": ""})
            for answer in (by_header, by_query):
                assert (answer.status_code, error_of(answer)) == (status, code)
            assert (await gateway.client.head(to["url"], headers=bearer)).status_code == status
            done = {"sha256": artifact.sha256, "size": artifact.size}
            reported = await gateway.client.post(f"{TRANSFERS}/{to['transfer_id']}/complete", json=done, headers=bearer)
            # A report is in the transfer's own direction.
            assert reported.status_code == status
    without = await gateway.client.get(made["url"], headers={"Authorization": ""})
    assert (without.status_code, error_of(without)) == (401, "NotAuthenticated")
    assert without.headers["www-authenticate"] == "Bearer"
    unknown = f"{TRANSFERS}/trf_{'0' * 16}"
    for method, path in (("GET", "/download"), ("GET", "/status"), ("POST", "/token"), ("DELETE", "")):
        bearer = {"Authorization": f"Bearer {made['token']}"} if path == "/download" else {}
        missing = await gateway.client.request(method, unknown + path, headers=bearer)
        assert (missing.status_code, error_of(missing)) == (404, "TransferNotFound")
    for one in (made, other, for_worker):
        assert (await status_of(gateway, one))["bytes_sent"] == 0
    assert await gateway.audited("download") == []
    # An expiry of less than half a minute ago may be the difference of two clocks.
    lately = datetime.now(UTC)
    close = signed(gateway, at=lately - timedelta(seconds=60), lasts=timedelta(seconds=59), **scope)
    assert (await gateway.get(made["url"], Authorization=f"Bearer {close}")).status_code == 200


def _unsigned(token: str) -> str:
    claims = jwt.decode(token, options={"verify_signature": False})
    kid = jwt.get_unverified_header(token)["kid"]
    return jwt.encode(claims, "", algorithm="none", headers={"kid": kid}).rstrip(".") + ".AA"


async def test_a_workers_transfer_is_for_its_key_and_its_session(gateway: Gateway) -> None:
    artifact = await gateway.put()
    one, two = await worker(gateway, "gpu-1"), await worker(gateway, "gpu-2")
    made = await prepared(gateway, artifact, worker="gpu-1")
    assert made["recipient"] == one.recipient.text and made["worker"] == "gpu-1"
    content = (await fetched(gateway, made)).content
    assert b"".join(unseal([content], [one])) == CONTENT
    path = f"{TRANSFERS}/{made['transfer_id']}"
    its, others = await session(gateway, "gpu-1", one), await session(gateway, "gpu-2", two)
    assert (await gateway.client.get(f"{path}/status", headers=its)).json()["worker"] == "gpu-1"
    renewed = await gateway.client.post(f"{path}/token", headers=its)
    assert renewed.status_code == 200
    assert (await fetched(gateway, renewed.json(), Range="bytes=0-9")).status_code == 206
    for method, what in (("GET", "status"), ("POST", "token")):
        answer = await gateway.client.request(method, f"{path}/{what}", headers=others)
        assert (answer.status_code, error_of(answer)) == (403, "WorkerRefused")
    # All of its bytes were sent, and that is not the end: the worker says whether they are right.
    done = {"sha256": artifact.sha256, "size": artifact.size}
    bearer = {"Authorization": f"Bearer {made['token']}"}
    assert (await gateway.client.post(f"{path}/complete", json=done, headers=bearer)).json()["state"] == "completed"
    assert (await fetched(gateway, made)).status_code == 410
    async with gateway.custody.catalog.connection() as connection:
        await connection.execute("update workers set revoked_at = clock_timestamp() where name = 'gpu-2'")
    wanted = {"direction": "download", "file_id": str(artifact.file_id), "worker": "gpu-2"}
    refused = await gateway.client.post(TRANSFERS, json=wanted)
    assert (refused.status_code, error_of(refused)) == (403, "WorkerRefused")
    missing = await gateway.client.post(TRANSFERS, json={**wanted, "worker": "nowhere"})
    assert (missing.status_code, error_of(missing)) == (404, "WorkerNotFound")


async def test_scopes_are_those_of_the_direction(gateway: Gateway) -> None:
    artifact = await gateway.put(b"content")
    download = {
        "direction": "download", "file_id": str(artifact.file_id), "recipient": RECEIVER.recipient.text
    }  # fmt: skip
    upload = {"direction": "upload", "filename": "a.md"}
    reader, writer = await gateway.headers("read"), await gateway.headers("write")
    for wanted, able, unable in ((download, reader, writer), (upload, writer, reader)):
        refused = await gateway.client.post(TRANSFERS, json=wanted, headers=unable)
        assert (refused.status_code, error_of(refused)) == (403, "ScopeMissing")
        made = (await gateway.client.post(TRANSFERS, json=wanted, headers=able)).json()
        path = f"{TRANSFERS}/{made['transfer_id']}"
        assert (await gateway.client.post(f"{path}/token", headers=unable)).status_code == 403
        assert (await gateway.client.post(f"{path}/token", headers=able)).status_code == 200
        assert (await gateway.client.delete(path, headers=unable)).status_code == 403
        assert (await gateway.client.delete(path, headers=able)).json()["state"] == "cancelled"
    assert (await gateway.client.get(TRANSFERS, headers=writer)).status_code == 403


async def test_what_cannot_be_prepared_says_why(gateway: Gateway, start: Start, subtests: pytest.Subtests) -> None:
    artifact = await gateway.put()
    gone = await gateway.put(b"content")
    await gateway.custody.remove(gone.file_id)
    damaged = await gateway.put()
    gateway.stored(damaged).write_bytes(b"nothing of it")
    to = {"direction": "download", "recipient": RECEIVER.recipient.text}
    both = [RECEIVER.recipient.text, HybridIdentity.generate().recipient.text]
    wrong: list[tuple[Json, int, str]] = [
        ({**to, "file_id": str(uuid4())}, 404, "ArtifactNotFound"),
        ({**to, "file_id": str(gone.file_id)}, 410, "ArtifactGone"),
        ({**to, "file_id": str(damaged.file_id)}, 500, "ContentMismatch"),
        ({**to, "file_id": str(artifact.file_id), "recipient": "age1nothing"}, 422, "InvalidOptions"),
        ({**to, "file_id": str(artifact.file_id), "recipient": both}, 422, "InvalidOptions"),
        ({**to, "file_id": str(artifact.file_id), "recipient": None}, 422, "InvalidOptions"),
        ({**to, "file_id": str(artifact.file_id), "expires_in": "31d"}, 422, "InvalidOptions"),
        ({**to, "file_id": str(artifact.file_id), "expires_in": 0}, 422, "InvalidRequest"),
        ({**to, "file_id": str(artifact.file_id), "path": "/etc/passwd"}, 422, "InvalidRequest"),
        ({"direction": "sideways"}, 422, "InvalidRequest"),
        ({"direction": "upload", "filename": "a.md", "sha256": "0"}, 422, "InvalidRequest"),
        ({"direction": "upload", "filename": "a.md", "size": 2**61}, 413, "TooLarge"),
    ]
    for wanted, status, code in wrong:
        with subtests.test(wanted=wanted):
            answer = await gateway.client.post(TRANSFERS, json=wanted)
            assert (answer.status_code, error_of(answer)) == (status, code), answer.text
    without_key = await start(keys=WRITE_ONLY)
    answer = await without_key.client.post(TRANSFERS, json={**to, "file_id": str(artifact.file_id)})
    assert (answer.status_code, error_of(answer)) == (503, "NoMatchingIdentity")
    assert (await gateway.client.get(TRANSFERS)).json()["transfers"] == []


# Real clients ---------------------------------------------------------------------------------------------------------


async def test_the_receiver_opens_what_curl_has_fetched_and_nobody_else(
    gateway: Gateway, curl: str, tmp_path: Path
) -> None:
    age = shutil.which("age")
    if age is None:
        pytest.skip("the age command is not installed")
    artifact = await gateway.put()
    made = await prepared(gateway, artifact)
    await _run(curl, "-sfSOJ", f"{made['url']}?token={made['token']}", cwd=tmp_path)
    got, key, other = tmp_path / "report.pdf.age", tmp_path / "key", tmp_path / "other"
    key.write_text(RECEIVER.text)
    other.write_text(X25519Identity.generate().text)
    assert await _run(age, "-d", "-i", str(key), str(got)) == CONTENT
    with pytest.raises(subprocess.CalledProcessError):
        await _run(age, "-d", "-i", str(other), str(got))
    stored, sealed = gateway.stored(artifact).read_bytes(), got.read_bytes()
    assert sealed[-artifact.size :] == stored[-artifact.size :] and sealed != stored


@pytest.mark.parametrize("storage", ["a folder", "S3"])
@pytest.mark.parametrize("client", ["curl", "wget", "aria2c"])
async def test_clients_resume_byte_for_byte(
    start: Start, client: str, storage: str, tmp_path: Path, s3_server: S3Server, s3_bucket: str
) -> None:
    command = shutil.which(client)
    if command is None:
        pytest.skip(f"the {client} command is not installed")
    on_s3 = storage == "S3"
    gateway = await start(**({"backend": open_backend(f"s3://{s3_bucket}/files", s3_server.options)} if on_s3 else {}))
    content = os.urandom(5 * MIB + 3)
    artifact = await gateway.put(content)
    for kept in (1, 150, len(content) // 2, len(content)):
        made = await prepared(gateway, artifact)
        part = tmp_path / f"{client}-{kept}"
        part.write_bytes((await fetched(gateway, made, Range=f"bytes=0-{kept - 1}")).content)
        header = f"Authorization: Bearer {made['token']}"
        arguments = {
            "curl": ["-sfS", "-C", "-", "-H", header, "-o", str(part), made["url"]],
            "wget": ["-q", "-c", "--header", header, "-O", str(part), made["url"]],
            "aria2c": ["-q", "-x4", "-s4", "-k1M", "-c", "--allow-overwrite=true", "--header", header,
                       "-d", str(tmp_path), "-o", part.name, made["url"]],
        }  # fmt: skip
        await _run(command, *arguments[client])
        assert b"".join(unseal([part.read_bytes()], [RECEIVER])) == content
        done = await until_state(gateway, made, "completed")
        assert done["bytes_done"] == made["size"]
        # What the client's kernel has acknowledged, and of S3 what the gateway's has, is counted: aria2c closes
        # connections that have sent its piece, and throws away what has come after it.
        assert done["bytes_sent"] == made["size"] or (client == "aria2c" and done["bytes_sent"] > made["size"])


async def test_aria2c_fetches_by_four_ranges_at_once(gateway: Gateway, tmp_path: Path) -> None:
    command = shutil.which("aria2c")
    if command is None:
        pytest.skip("the aria2c command is not installed")
    artifact = await gateway.put(os.urandom(12 * MIB))
    made = await prepared(gateway, artifact)
    header = f"Authorization: Bearer {made['token']}"
    await _run(command, "-q", "-x4", "-s4", "-k1M", "--header", header, "-d", str(tmp_path), "-o", "got", made["url"])
    assert b"".join(unseal([(tmp_path / "got").read_bytes()], [RECEIVER])) == await gateway.custody.read(artifact)
    assert len(await gateway.audited("download")) >= 4
    assert (await until_state(gateway, made, "completed"))["bytes_done"] == made["size"]
    assert [name for name, _ in await events(gateway)] == ["transfer_completed"]


async def test_ranges_and_conditions(gateway: Gateway) -> None:
    made = await prepared(gateway, await gateway.put())
    whole = (await fetched(gateway, made)).content
    size = len(whole)
    for spec, start, stop in [
        ("0-", 0, size), ("0-0", 0, 1), ("100-300", 100, 301), ("-5", size - 5, size), (f"{size - 1}-", size - 1, size),
        (f"5-{size * 2}", 5, size), (f"-{size * 2}", 0, size),
    ]:  # fmt: skip
        answer = await fetched(gateway, made, Range=f"bytes={spec}")
        assert (answer.status_code, answer.content) == (206, whole[start:stop])
        assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{size}"
    beyond = await fetched(gateway, made, Range=f"bytes={size}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    tag = made["etag"]
    assert not tag.startswith("W/") and answer.headers["etag"] == tag and answer.headers["accept-ranges"] == "bytes"
    assert (await fetched(gateway, made, Range="bytes=9-", If_Range=tag)).content == whole[9:]
    for stale in ('"other"', f"W/{tag}", "Sun, 06 Nov 1994 08:49:37 GMT"):
        assert (await fetched(gateway, made, Range="bytes=9-", If_Range=stale)).content == whole
    assert (await fetched(gateway, made, If_None_Match=tag)).status_code == 304
    assert (await fetched(gateway, made, If_Match='"other"')).status_code == 412
    several = await fetched(gateway, made, Range="bytes=0-1,5-6")
    assert (several.status_code, several.content) == (200, whole)
    head = await gateway.client.head(made["url"], headers={"Authorization": f"Bearer {made['token']}"})
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(size), b"")
    assert head.headers["waybill-content-sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert head.headers["waybill-content-size"] == str(len(CONTENT))
    assert head.headers["content-type"] == "application/age"
    assert head.headers["cache-control"] == "private, no-store"
    # The same file for another receiver has other bytes, and another name for them.
    assert (await prepared(gateway, await gateway.custody.get(_id(made))))["etag"] != tag


# The end --------------------------------------------------------------------------------------------------------------


async def test_a_report_of_the_receiver_ends_it_and_its_token(gateway: Gateway) -> None:
    artifact = await gateway.put()
    made = await prepared(gateway, artifact)
    assert (await fetched(gateway, made)).status_code == 200
    bearer, path = {"Authorization": f"Bearer {made['token']}"}, f"{TRANSFERS}/{made['transfer_id']}/complete"
    done = {"sha256": artifact.sha256, "size": artifact.size}
    for _ in range(2):
        answer = await gateway.client.post(path, json=done, headers=bearer)
        assert (answer.status_code, answer.json()["state"]) == (200, "completed")
    for method, url in (("GET", made["url"]), ("HEAD", made["url"])):
        assert (await gateway.client.request(method, url, headers=bearer)).status_code == 410
    for what in ("token", ""):
        path = f"{TRANSFERS}/{made['transfer_id']}/{what}".rstrip("/")
        over = await gateway.client.request("POST" if what else "DELETE", path)
        assert (over.status_code, error_of(over)) == (410, "TransferOver")
    ((name, data),) = await events(gateway)
    assert (name, data["status"], data["transfer_id"]) == ("transfer_completed", "completed", made["transfer_id"])
    assert data["bytes_done"] == made["size"] and data["content_sha256"] == artifact.sha256
    assert "download_url" in data and data["download_url"] is None


async def test_a_report_of_other_content_fails_it(gateway: Gateway) -> None:
    artifact = await gateway.put()
    early, late = await prepared(gateway, artifact), await prepared(gateway, artifact)
    await fetched(gateway, late)
    await until_state(gateway, late, "completed")
    for made in (early, late):
        answer = await gateway.client.post(
            f"{TRANSFERS}/{made['transfer_id']}/complete",
            json={"sha256": "0" * 64, "size": artifact.size},
            headers={"Authorization": f"Bearer {made['token']}"},
        )
        assert (answer.status_code, error_of(answer)) == (409, "TransferConflict")
        failed = await status_of(gateway, made)
        assert failed["state"] == "failed" and "0" * 64 in failed["error"]
        assert (await fetched(gateway, made)).status_code == 410
    assert sorted(name for name, _ in await events(gateway)) == [
        "transfer_completed", "transfer_failed", "transfer_failed"
    ]  # fmt: skip


async def test_after_its_last_byte_the_rest_can_be_fetched_once_more_for_some_minutes(gateway: Gateway) -> None:
    made = await prepared(gateway, await gateway.put())
    whole = (await fetched(gateway, made)).content
    done = await until_state(gateway, made, "completed")
    # As a client does that has lost the last bytes with its connection.
    assert (await fetched(gateway, made, Range="bytes=1000-")).content == whole[1000:]

    async def is_counted() -> bool:
        return (await status_of(gateway, made))["bytes_sent"] == 2 * len(whole) - 1000

    await until(is_counted, "what was repeated is counted")
    assert (await status_of(gateway, made))["ended_at"] == done["ended_at"]
    async with gateway.custody.catalog.transaction() as connection:
        await connection.execute("update transfers set ended_at = ended_at - %s", [RESUME_GRACE])
    over = await fetched(gateway, made, Range="bytes=1000-")
    assert (over.status_code, error_of(over)) == (410, "TransferOver")
    assert [name for name, _ in await events(gateway)] == ["transfer_completed"]


async def test_one_whose_time_is_over_is_refused_at_once_and_ended_once(gateway: Gateway) -> None:
    made = await prepared(gateway, await gateway.put())
    assert (await fetched(gateway, made, Range="bytes=0-99")).status_code == 206
    async with gateway.custody.catalog.transaction() as connection:
        await connection.execute("update transfers set expires_at = clock_timestamp()")
    over = await fetched(gateway, made)
    assert (over.status_code, error_of(over)) == (410, "TransferOver")
    assert (await status_of(gateway, made))["state"] == "expired"
    assert (await gateway.client.get(TRANSFERS, params={"state": "expired"})).json()["transfers"] != []
    for _ in range(2):
        await expire_transfers(gateway.custody, gateway.resources.event_links)
    ((name, data),) = await events(gateway)
    assert (name, data["status"]) == ("transfer_failed", "expired")


async def test_a_file_that_is_deleted_meanwhile_fails_the_transfer(gateway: Gateway) -> None:
    artifact = await gateway.put()
    made = await prepared(gateway, artifact)
    assert (await fetched(gateway, made, Range="bytes=0-99")).status_code == 206
    assert (await gateway.client.delete(f"/api/v1/files/{artifact.file_id}")).status_code == 200
    gone = await fetched(gateway, made, Range="bytes=100-")
    assert (gone.status_code, error_of(gone)) == (410, "TransferOver")
    failed = await status_of(gateway, made)
    assert (failed["state"], failed["error"]) == ("failed", "its file was deleted")
    assert [name for name, _ in await events(gateway)] == ["transfer_failed"]


async def test_damage_fails_the_transfer_and_is_recorded(gateway: Gateway) -> None:
    artifact = await gateway.put()
    made = await prepared(gateway, artifact)
    stored = gateway.stored(artifact)
    stored.write_bytes(stored.read_bytes()[:-1])
    answer = await fetched(gateway, made)
    assert (answer.status_code, error_of(answer)) == (500, "ContentMismatch")
    assert (await status_of(gateway, made))["state"] == "failed"
    assert (await gateway.custody.get(artifact.file_id)).damage is not None


async def test_a_transfer_that_is_cancelled_breaks_off_what_is_under_way(gateway: Gateway) -> None:
    artifact = await gateway.put(os.urandom(MIB) * 48)
    made = await prepared(gateway, artifact)
    reader, writer = await _begun(gateway, made)
    await reader.readexactly(MIB)
    cancelled = await gateway.client.delete(f"{TRANSFERS}/{made['transfer_id']}")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    with pytest.raises(asyncio.IncompleteReadError):
        await reader.readexactly(made["size"] - MIB)
    writer.close()
    assert (await fetched(gateway, made)).status_code == 410
    assert await events(gateway) == []
    assert [entry["detail"]["transfer_id"] for entry in await gateway.audited("transfer_cancelled")] == [
        made["transfer_id"]
    ]


@pytest.mark.parametrize("by", ["another process", "the gateway"])
async def test_a_revoked_worker_that_reads_nothing_is_broken_off(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    await worker(gateway, "gpu-1")
    made = await prepared(gateway, await gateway.put(os.urandom(MIB) * 48), worker="gpu-1")
    monkeypatch.setattr(progress, "_LOOK_SECONDS", 0.1 if by == "another process" else 3600)
    reader, writer = await _begun(gateway, made)

    async def done() -> int:
        return (await status_of(gateway, made))["bytes_done"]

    await until_still(done)
    if by == "the gateway":
        revoked = await gateway.client.delete("/api/v1/workers/gpu-1")
        assert revoked.json()["cancelled_transfers"] == [made["transfer_id"]]
    else:
        async with gateway.custody.catalog.transaction() as connection:
            await revoke_worker(connection, "gpu-1", by=Actor(actor="cli:operator"))
    with pytest.raises(asyncio.IncompleteReadError):
        await reader.readexactly(made["size"])
    writer.close()


async def test_progress_can_be_watched_while_it_runs(gateway: Gateway) -> None:
    made = await prepared(gateway, await gateway.put(os.urandom(MIB) * 48))
    reader, writer = await _begun(gateway, made)

    async def is_under_way() -> bool:
        await reader.readexactly(MIB // 4)
        return (await status_of(gateway, made))["bytes_done"] > 0

    await until(is_under_way, "bytes are done")
    found = await status_of(gateway, made)
    assert (found["state"], 0 < found["progress"] < 1) == ("in_progress", True)
    assert found["bytes_per_second"] > 0 and found["seconds_left"] > 0
    bearer = {"Authorization": f"Bearer {made['token']}"}
    by_token = await gateway.client.get(f"{TRANSFERS}/{made['transfer_id']}/status", headers=bearer)
    assert by_token.json()["bytes_done"] >= found["bytes_done"]
    writer.close()


async def test_lists_and_what_is_recorded(gateway: Gateway) -> None:
    artifact, other = await gateway.put(), await gateway.put(b"other")
    one, two = await prepared(gateway, artifact, expires_in="15m"), await prepared(gateway, other)
    assert _lasts(one) == timedelta(minutes=15) and _lasts(two) == timedelta(hours=1)
    upload = (await gateway.client.post(TRANSFERS, json={"direction": "upload", "filename": "../a.md"})).json()
    assert upload["url"].endswith(f"{upload['transfer_id']}/upload") and upload["filename"] == "a.md"
    assert upload["recipient"] == gateway.custody.keys.encrypted_for and "etag" not in upload
    listed = (await gateway.client.get(TRANSFERS)).json()["transfers"]
    assert [entry["transfer_id"] for entry in listed] == [one["transfer_id"] for one in (upload, two, one)]
    assert "token" not in json.dumps(listed)
    by_file = await gateway.client.get(TRANSFERS, params={"file_id": str(artifact.file_id), "direction": "download"})
    assert [entry["transfer_id"] for entry in by_file.json()["transfers"]] == [one["transfer_id"]]
    await fetched(gateway, one, Range="bytes=5-9")
    (entry,) = await gateway.audited("download")
    assert entry["actor"] == "transfer" and entry["file_id"] == artifact.file_id
    assert entry["detail"] == {"transfer_id": one["transfer_id"], "from": 5, "to": 10}
    assert len(await gateway.audited("transfer_prepared")) == 3


async def _begun(gateway: Gateway, made: Json) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A client that has read the head of the response and nothing more."""
    url = httpx.URL(made["url"])
    reader, writer = await asyncio.open_connection(url.host, url.port, limit=64 * 1024)
    request = f"GET {url.path} HTTP/1.1\r\nHost: waybill\r\nAuthorization: Bearer {made['token']}\r\n\r\n"
    writer.write(request.encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    return reader, writer


async def _run(command: str, *arguments: str, cwd: Path | None = None) -> bytes:
    return await in_thread(
        lambda _: subprocess.run([command, *arguments], cwd=cwd, check=True, capture_output=True, timeout=300).stdout
    )


def _id(made: Json) -> UUID:
    return UUID(made["file_id"])


def _lasts(made: Json) -> timedelta:
    lasts = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
    return timedelta(seconds=round(lasts.total_seconds()))


async def test_prefect_shows_the_progress_of_a_long_transfer_until_a_day_later(
    gateway: Gateway, prefect_server: str
) -> None:
    artifact = await gateway.put()
    made = await prepared(gateway, artifact)
    async with gateway.custody.catalog.connection() as connection:
        transfer = await get_transfer(connection, made["transfer_id"])
    key = key_of(transfer.transfer_id)
    async with PrefectApi.open(prefect_server) as prefect, prefect.client(seconds=300) as client:

        async def shown() -> list[tuple[Any, str | None]]:
            found = await client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
            return [(one.data, one.description) for one in found]

        async def is_shown(percent: float) -> bool:
            return [data for data, _ in await shown()] == [percent]

        showing = TransferArtifacts(prefect, long_seconds=0, pause_seconds=0.01)
        async with running(showing.run()):
            half = replace(transfer, filename="`a`.pdf")
            showing.observe(Progress(transfer=half, done_bytes=made["size"] // 2, bytes_per_second=5e6))
            await until(lambda: is_shown(50.0), "the half is shown", told=shown)
            ((_, text),) = await shown()
            assert text is not None and text.startswith("download of `a.pdf`: ") and "5.0 MB a second" in text
            showing.observe(Progress(transfer=transfer, done_bytes=made["size"], bytes_per_second=None))
            await until(lambda: is_shown(100.0), "all is shown", told=shown)
        later = timedelta(days=2)
        async with running(TransferArtifacts(prefect, now=lambda: datetime.now(UTC) + later).run()):

            async def is_gone() -> bool:
                return await shown() == []

            await until(is_gone, "an old one is removed")


async def test_a_transfer_does_not_notice_that_prefect_is_away(start: Start) -> None:
    gateway = await start(prefect_api="http://127.0.0.1:9/api")
    made = await prepared(gateway, await gateway.put())
    assert len((await fetched(gateway, made)).content) == made["size"]
    await until_state(gateway, made, "completed")
