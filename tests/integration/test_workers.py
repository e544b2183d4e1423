"""Remote workers at a real gateway: enrolment once and only once, sessions only for the key, and revocation at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from blocks.age import X25519Identity, unseal
from blocks.assignments import (
    CHANNEL,
    Assignment,
    NewAssignment,
    NewJob,
    claim,
    create_assignment,
    get_assignment,
)
from blocks.errors import (
    EnrolmentRefused,
    GatewayUnavailable,
    InvalidOptions,
    InvalidSettings,
    NoMatchingIdentity,
    SessionUnreadable,
    WorkerExists,
    WorkerNotFound,
    WorkerRefused,
)
from blocks.hand_over.session import WorkerSession, enroll
from blocks.hand_over.worker_home import WorkerHome
from blocks.links.tokens import issue
from blocks.postgres import connect_async
from blocks.transfers import NewTransfer, create_transfer, get_transfer
from blocks.workers import Worker, get_worker, hold_worker
from blocks.workers.sessions import SESSION_LIFETIME, seal_session
from tests.delivery.outbox_place import until
from tests.gateway import Gateway, error_of, running_gateway
from tests.gateway.place import HOUR
from tests.gateway.remote_worker import OPERATOR, enrolled, invited, new_home
from tests.stack_driver import PATIENCE_SECONDS
from waybill.gateway.access import WRONG_KEYS_PER_MINUTE
from waybill.gateway.http.rate_limit import RateLimit
from waybill.services.workers import revoke_worker

_BLOCKED = """
    select count(*) as blocked from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
"""


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncGenerator[Gateway]:
    async with running_gateway(database_url, tmp_path / "home") as running:
        yield running


async def row(gateway: Gateway, name: str = "gpu-1") -> Worker:
    async with gateway.custody.catalog.connection() as connection:
        return await get_worker(connection, name)


async def execute(gateway: Gateway, statement: str) -> None:
    async with gateway.custody.catalog.connection() as connection:
        await connection.execute(statement)


async def enrol(gateway: Gateway, **given: Any) -> httpx.Response:
    """What a request to enrol is answered, with a fresh key unless one is given."""
    body = {"name": "gpu-1", "recipient": X25519Identity.generate().recipient.text, **given}
    return await gateway.client.post("/api/v1/workers/enroll", json=body)


async def revoke(gateway: Gateway, name: str = "gpu-1") -> dict[str, Any]:
    async with gateway.custody.catalog.transaction() as connection:
        return (await revoke_worker(connection, name, by=OPERATOR)).as_json()


async def assigned(gateway: Gateway, worker: str) -> Assignment:
    """An assignment that *worker* has claimed."""
    new = NewAssignment(
        run_id=uuid4(),
        stage=1,
        stage_name="convert",
        stage_version="1",
        label="gpu-pool",
        lasts=HOUR,
        jobs=[NewJob(stage_key="a" * 64, document={}, options={}, inputs={})],
    )
    async with gateway.custody.catalog.transaction() as connection:
        made = await create_assignment(connection, new)
        return await claim(connection, made.assignment_id, worker=worker, labels=["gpu-pool"], remote_run_id=None)


async def downloading(gateway: Gateway, worker: str | None) -> str:
    """An open transfer to *worker*."""
    new = NewTransfer(
        direction="download",
        filename="report.pdf",
        media_type="application/pdf",
        sealed_for="recipient",
        size=1000,
        lasts=HOUR,
        requested_by="cli:operator",
        worker=worker,
    )
    async with gateway.custody.catalog.transaction() as connection:
        return (await create_transfer(connection, new)).transfer_id


class Clock:
    """A clock that a test sets: of a worker's machine, or of the time that passes on it."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class TestEnrolment:
    async def test_an_invited_worker_learns_where_it_is_and_has_its_row(self, gateway: Gateway, tmp_path: Path) -> None:
        home = new_home(tmp_path / "worker")
        code = await invited(gateway, "gpu-pool", "big", name="gpu-1")
        config, labels = await enroll(home, gateway.client, f"{gateway.url}/", code, name=None, version="1.0")
        assert (config.name, config.gateway_url, config.pool) == ("gpu-1", gateway.url, "waybill-remote")
        assert config.storage_recipient == gateway.custody.keys.encrypted_for is not None
        assert labels == ["big", "gpu-pool"]
        assert WorkerHome(home.path).config() == config
        found = await row(gateway)
        assert (found.recipient, found.labels) == (home.identity().recipient.text, ("big", "gpu-pool"))
        assert (found.version, found.address, found.enrolled_by) == ("1.0", "127.0.0.1", "cli:operator")
        for path in (home.identity_path, home.config_path):
            assert path.stat().st_mode & 0o777 == 0o600
        assert home.path.stat().st_mode & 0o777 == 0o700

    async def test_of_two_that_enrol_with_one_code_at_once_one_does(self, gateway: Gateway) -> None:
        code = await invited(gateway)
        answers = await asyncio.gather(*(enrol(gateway, code=code, name=f"gpu-{number}") for number in range(5)))
        assert sorted(answer.status_code for answer in answers) == [201, 410, 410, 410, 410]
        assert {error_of(answer) for answer in answers if answer.status_code == 410} == {"EnrolmentRefused"}
        async with gateway.custody.catalog.connection() as connection:
            rows = await (await connection.execute("select name from workers")).fetchall()
        assert len(rows) == 1

    async def test_codes_that_are_unknown_used_or_expired_are_answered_alike(self, gateway: Gateway) -> None:
        used, expired = await invited(gateway), await invited(gateway)
        assert (await enrol(gateway, code=used)).status_code == 201
        await execute(gateway, "update worker_codes set expires_at = created_at where used_at is null")
        codes = (used, expired, "wbw_" + "0" * 40, "nothing of the kind")
        answers = [await enrol(gateway, code=code, name="gpu-2") for code in codes]
        assert [answer.status_code for answer in answers] == [410] * 4
        assert len({json.dumps(answer.json()) for answer in answers}) == 1
        refused = await gateway.audited("worker_refused")
        assert [entry["actor"] for entry in refused] == ["anonymous"] * 4
        assert {entry["detail"]["why"] for entry in refused} == {"enrolment: EnrolmentRefused"}

    async def test_a_name_or_a_key_that_is_taken_is_refused_and_the_code_stays_good(self, gateway: Gateway) -> None:
        key = X25519Identity.generate().recipient.text
        assert (await enrol(gateway, code=await invited(gateway), recipient=key)).status_code == 201
        await revoke(gateway)  # keeps both
        code = await invited(gateway)
        for given in ({"recipient": X25519Identity.generate().recipient.text}, {"recipient": key, "name": "gpu-2"}):
            answer = await enrol(gateway, code=code, **given)
            assert (answer.status_code, error_of(answer)) == (409, "WorkerExists")
        assert (await enrol(gateway, code=code, name="gpu-2")).status_code == 201
        with pytest.raises(WorkerExists, match="gpu-1"):
            await invited(gateway, name="gpu-1")

    async def test_a_code_with_a_name_is_for_no_other(self, gateway: Gateway) -> None:
        named, free = await invited(gateway, name="gpu-7"), await invited(gateway)
        for given in ({"code": named, "name": "gpu-8"}, {"code": free, "name": None}):
            answer = await enrol(gateway, **given)
            assert (answer.status_code, error_of(answer)) == (422, "InvalidOptions")
        assert (await enrol(gateway, code=named, name="gpu-7")).json()["name"] == "gpu-7"

    @pytest.mark.parametrize(
        "given",
        [
            {"recipient": "age1nothing"},
            {"recipient": "AGE-SECRET-KEY-1" + "Q" * 58},
            {"name": "Gpu"},
            {"name": "../codes"},
            {"name": "a" * 64},
            {"name": "codes"},
        ],
        ids=["no key", "a secret key", "upper case", "a path", "too long", "reserved"],
    )
    async def test_bad_keys_and_names_use_no_code(self, gateway: Gateway, given: dict[str, str]) -> None:
        code = await invited(gateway)
        answer = await enrol(gateway, **{"code": code, **given})
        assert answer.status_code == 422
        assert given.get("recipient", "AGE-SECRET") not in answer.text
        assert (await enrol(gateway, code=code)).status_code == 201

    async def test_an_address_that_tries_too_often_is_slowed_down(
        self, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # One more may come each second, and a busy machine takes that long for some of these.
        monkeypatch.setattr(gateway.resources.worker_gate, "_anonymous", RateLimit(lambda: 0.0))
        answers = [await enrol(gateway, code="x") for _ in range(WRONG_KEYS_PER_MINUTE + 1)]
        assert [answer.status_code for answer in answers] == [410] * WRONG_KEYS_PER_MINUTE + [429]
        assert int(answers[-1].headers["retry-after"]) >= 1

    async def test_the_client_gets_the_errors_as_types(self, gateway: Gateway, tmp_path: Path) -> None:
        home = new_home(tmp_path / "worker")
        with pytest.raises(EnrolmentRefused, match="waybill worker invite"):
            await enroll(home, gateway.client, gateway.url, "wbw_" + "0" * 40, name="gpu-1", version="1")
        with pytest.raises(InvalidOptions, match="--name"):
            await enroll(home, gateway.client, gateway.url, await invited(gateway), name=None, version="1")
        with pytest.raises(GatewayUnavailable, match="did not answer"):
            await enroll(home, gateway.client, "http://127.0.0.1:9", "wbw_" + "0" * 40, name="gpu-1", version="1")
        assert not home.is_enrolled()


class TestSessions:
    async def test_only_the_key_of_the_worker_opens_its_session(self, gateway: Gateway, tmp_path: Path) -> None:
        worker = await enrolled(gateway, tmp_path / "worker", "gpu-pool")
        answer = await gateway.client.post("/api/v1/workers/gpu-1/session")
        assert answer.status_code == 200 and answer.content.startswith(b"age-encryption.org/v1\n")
        assert answer.headers["cache-control"] == "private, no-store"
        with pytest.raises(NoMatchingIdentity):
            b"".join(unseal([answer.content], [X25519Identity.generate()]))
        token = b"".join(unseal([answer.content], [worker.identity])).decode()
        headers = {"Authorization": f"Bearer {token}"}
        beat = await gateway.client.post("/api/v1/workers/heartbeat", json={"version": "1.1"}, headers=headers)
        assert beat.json() == {"name": "gpu-1", "labels": ["gpu-pool"], "lost": []}
        assert (await row(gateway)).version == "1.1"

    async def test_a_session_that_was_altered_or_is_for_something_else_is_refused(
        self, gateway: Gateway, tmp_path: Path
    ) -> None:
        worker = await enrolled(gateway, tmp_path / "worker")
        good = await worker.token()
        head, claims, signature = good.split(".")
        end = datetime.now(UTC) + HOUR
        forged = {
            "altered": f"{head}.{claims[:-2]}AA.{signature}",
            "no signature": f"{head}.{claims}.AAAA",
            "another worker": self._token(gateway, subject="gpu-2", audience="worker:gpu-1", expires_at=end),
            "of another audience": self._token(gateway, audience="worker:gpu-2", expires_at=end),
            "for any bearer": self._token(gateway, audience="waybill-gateway", expires_at=end),
            "another scope": self._token(gateway, scope="download", expires_at=end),
            "no name": self._token(gateway, subject="../x", audience="worker:../x", expires_at=end),
            "an API key": await gateway.key(),
            "nonsense": "eyJ" + "A" * 3000,
        }
        for what, token in forged.items():
            answer = await self._beat(gateway, token)
            assert (answer.status_code, error_of(answer)) == (401, "SessionInvalid"), what
            assert "invalid_token" in answer.headers["www-authenticate"]
        assert (await self._beat(gateway, good)).status_code == 200
        assert (await gateway.client.post("/api/v1/workers/heartbeat", json={"version": "1"})).status_code == 401

    async def test_a_session_opens_nothing_that_needs_a_key(self, gateway: Gateway, tmp_path: Path) -> None:
        worker = await enrolled(gateway, tmp_path / "worker")
        for path in ("/files/list", "/workers", "/audit"):
            answer = await worker.request("GET", path)
            assert answer.status_code == 401, path

    async def test_one_that_is_over_is_replaced_whatever_the_worker_s_clock_shows(
        self, gateway: Gateway, tmp_path: Path
    ) -> None:
        worker = await enrolled(gateway, tmp_path / "worker")
        await worker.heartbeat(version="1")
        async with gateway.custody.catalog.connection() as connection:
            known = await get_worker(connection, "gpu-1")
        # As of a machine that slept for an hour: its time stood still, the gateway's did not.
        ago = datetime.now(UTC) - HOUR
        sealed = seal_session(known, gateway.keys, clock=lambda: ago)
        over = b"".join(unseal([sealed], [worker.identity])).decode()
        answer = await self._beat(gateway, over)
        assert (answer.status_code, error_of(answer)) == (410, "SessionExpired")
        assert worker._session is not None
        object.__setattr__(worker._session, "token", over)
        await worker.heartbeat(version="1")
        assert await worker.token() != over

    async def test_it_is_renewed_by_the_time_that_passes_before_it_is_over(
        self, gateway: Gateway, tmp_path: Path
    ) -> None:
        passing = Clock()
        asked: list[str] = []

        async def note(request: httpx.Request) -> None:
            asked.append(request.url.path.rpartition("/")[2])

        async with httpx.AsyncClient(event_hooks={"request": [note]}, timeout=PATIENCE_SECONDS) as client:
            worker = await enrolled(gateway, tmp_path / "worker", client=client, monotonic=passing)
            await worker.token()
            passing.seconds += SESSION_LIFETIME.total_seconds() * 0.6
            await worker.token()
            assert asked == ["enroll", "session"]
            passing.seconds += SESSION_LIFETIME.total_seconds() * 0.1
            renewed = await asyncio.gather(*(worker.token() for _ in range(10)))
            assert len(set(renewed)) == 1
            assert asked == ["enroll", "session", "session"]

    async def test_new_signing_keys_cost_a_worker_one_more_request(self, gateway: Gateway, tmp_path: Path) -> None:
        worker = await enrolled(gateway, tmp_path / "worker")
        before = await worker.token()
        gateway.keys.rotate(revoke=True)
        assert (await self._beat(gateway, before)).status_code == 401
        await worker.heartbeat(version="1")
        assert await worker.token() != before

    async def test_another_gateway_s_answer_is_named(self, gateway: Gateway, tmp_path: Path) -> None:
        await enrolled(gateway, tmp_path / "one")
        other = new_home(tmp_path / "other")
        other.write_config(WorkerHome(tmp_path / "one").config())
        with pytest.raises(SessionUnreadable, match="another gateway"):
            await WorkerSession(other, gateway.client).token()

    async def test_unknown_workers_and_a_gateway_that_is_away_are_errors_of_their_own(
        self, gateway: Gateway, tmp_path: Path
    ) -> None:
        worker = await enrolled(gateway, tmp_path / "worker")
        await execute(gateway, "delete from worker_codes")
        await execute(gateway, "delete from workers")
        with pytest.raises(WorkerNotFound):
            await worker.token()
        gone = WorkerSession(WorkerHome(tmp_path / "worker"), gateway.client)
        object.__setattr__(gone.config, "gateway_url", "http://127.0.0.1:9")
        with pytest.raises(GatewayUnavailable):
            await gone.heartbeat(version="1")

    def _token(self, gateway: Gateway, **given: Any) -> str:
        values = {"scope": "worker-session", "subject": "gpu-1", "audience": "worker:gpu-1", **given}
        return issue(key=gateway.keys.signing_key(), **values)[0]

    async def _beat(self, gateway: Gateway, token: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return await gateway.client.post("/api/v1/workers/heartbeat", json={"version": "1"}, headers=headers)


class TestRevocation:
    async def test_a_revoked_worker_is_refused_at_its_next_request(self, gateway: Gateway, tmp_path: Path) -> None:
        worker = await enrolled(gateway, tmp_path / "worker")
        await worker.heartbeat(version="1")
        admin = await gateway.headers("admin")
        answer = await gateway.client.delete("/api/v1/workers/gpu-1", headers=admin)
        assert answer.json()["state"] == "revoked" and answer.json()["revoked_at"] is not None
        with pytest.raises(WorkerRefused, match="gpu-1 is revoked"):  # its session is good for minutes
            await worker.heartbeat(version="1")
        with pytest.raises(WorkerRefused):
            await WorkerSession(WorkerHome(tmp_path / "worker"), gateway.client).token()
        refused = await gateway.audited("worker_refused")
        assert [entry["actor"] for entry in refused] == ["worker:gpu-1"] * 2
        again = await gateway.client.delete("/api/v1/workers/gpu-1", headers=admin)
        assert again.json()["revoked_at"] == answer.json()["revoked_at"]
        assert len(await gateway.audited("worker_revoked")) == 1

    async def test_what_it_holds_goes_back_at_once(self, gateway: Gateway, tmp_path: Path, database_url: str) -> None:
        await enrolled(gateway, tmp_path / "one", "gpu-pool")
        await enrolled(gateway, tmp_path / "two", "gpu-pool", name="gpu-2")
        taken, kept = await assigned(gateway, "gpu-1"), await assigned(gateway, "gpu-2")
        open_one, of_other, of_any = [await downloading(gateway, name) for name in ("gpu-1", "gpu-2", None)]
        assert (await row(gateway)).running == 1
        heard: list[str] = []
        listener = await connect_async(database_url, autocommit=True)
        try:
            await listener.execute(f"listen {CHANNEL}")
            answer = await gateway.client.delete("/api/v1/workers/gpu-1", headers=await gateway.headers("admin"))
            async for notice in listener.notifies(timeout=PATIENCE_SECONDS, stop_after=1):
                heard.append(notice.payload)
        finally:
            await listener.close()
        assert heard == [taken.assignment_id]
        assert answer.json()["returned_assignments"] == [taken.assignment_id]
        assert answer.json()["cancelled_transfers"] == [open_one]
        assert answer.json()["running"] == 0
        async with gateway.custody.catalog.transaction() as connection:
            back = await get_assignment(connection, taken.assignment_id)
            assert (back.state, back.claimed_until) == ("waiting", None)
            assert (await get_assignment(connection, kept.assignment_id)).worker == "gpu-2"
            states = [(await get_transfer(connection, one)).state for one in (open_one, of_other, of_any)]
            assert states == ["cancelled", "pending", "pending"]
            again = await claim(
                connection, taken.assignment_id, worker="gpu-2", labels=["gpu-pool"], remote_run_id=None
            )
            assert again.worker == "gpu-2"
            with pytest.raises(WorkerRefused):
                await hold_worker(connection, "gpu-1")

    async def test_what_is_being_given_to_a_worker_is_taken_back_too(self, gateway: Gateway, tmp_path: Path) -> None:
        await enrolled(gateway, tmp_path / "worker", "gpu-pool")
        async with gateway.custody.catalog.transaction() as connection:
            await hold_worker(connection, "gpu-1")
            revoking = asyncio.create_task(revoke(gateway))

            async def waits() -> bool:
                async with gateway.custody.catalog.connection() as other:
                    cursor = await other.execute(_BLOCKED)
                    found = await cursor.fetchone()
                return found is not None and found["blocked"] > 0

            await until(waits, "the revocation waits for what is being given")
            given = await create_transfer(
                connection,
                NewTransfer(
                    direction="download",
                    filename="late.pdf",
                    media_type="application/pdf",
                    sealed_for="recipient",
                    size=1,
                    lasts=HOUR,
                    requested_by="cli:operator",
                    worker="gpu-1",
                ),
            )
        assert (await revoking)["cancelled_transfers"] == [given.transfer_id]

    async def test_a_heartbeat_says_what_was_lost(self, gateway: Gateway, tmp_path: Path) -> None:
        worker = await enrolled(gateway, tmp_path / "worker", "gpu-pool")
        mine = (await assigned(gateway, "gpu-1")).assignment_id
        other = "asg_" + "0" * 16
        assert (await worker.heartbeat(version="1", running=[mine, other])).lost == (other,)


class TestRegistry:
    async def test_last_seen_is_written_at_most_once_in_a_quarter_of_a_minute(
        self, gateway: Gateway, tmp_path: Path
    ) -> None:
        began = time.monotonic()
        worker = await enrolled(gateway, tmp_path / "worker")

        async def stays(since: float) -> bool:
            """Whether a heartbeat leaves the time alone that was written *since*, of which ten are tried: one that a
            busy machine holds up may come too late."""
            for _ in range(10):
                before = (await row(gateway)).last_seen_at
                await worker.heartbeat(version="1.0")
                if time.monotonic() - since < 14:
                    return (await row(gateway)).last_seen_at == before
                since = time.monotonic()
                await execute(gateway, "update workers set last_seen_at = clock_timestamp()")
            return False

        assert await stays(began)
        for _ in range(2):
            await execute(gateway, "update workers set last_seen_at = clock_timestamp() - interval '16 s'")
            before, began = (await row(gateway)).last_seen_at, time.monotonic()
            await worker.heartbeat(version="1.0")
            after = (await row(gateway)).last_seen_at
            assert before is not None and after is not None and after - before >= timedelta(seconds=16)
        assert await stays(began)

    async def test_a_request_waits_for_no_transaction_that_holds_the_row(
        self, gateway: Gateway, tmp_path: Path
    ) -> None:
        worker = await enrolled(gateway, tmp_path / "worker")
        await execute(gateway, "update workers set last_seen_at = null")
        async with gateway.custody.catalog.transaction() as connection:
            await hold_worker(connection, "gpu-1")
            await worker.heartbeat(version="2.0")
        assert (await row(gateway)).last_seen_at is None
        await worker.heartbeat(version="2.0")
        assert (await row(gateway)).version == "2.0"

    async def test_workers_are_listed_shown_and_labelled_by_administrators(
        self, gateway: Gateway, tmp_path: Path
    ) -> None:
        worker = await enrolled(gateway, tmp_path / "one", "gpu-pool")
        await enrolled(gateway, tmp_path / "two", name="a-2")
        await revoke(gateway, "a-2")
        client, admin = gateway.client, await gateway.headers("admin")
        listed = (await client.get("/api/v1/workers", headers=admin)).json()["workers"]
        assert [(one["name"], one["state"]) for one in listed] == [("gpu-1", "active"), ("a-2", "revoked")]
        shown = (await client.get("/api/v1/workers/gpu-1", headers=admin)).json()
        assert shown == listed[0] and shown["recipient"] == worker.identity.recipient.text
        wanted = {"labels": ["slow", "big", "slow"]}
        changed = await client.patch("/api/v1/workers/gpu-1", json=wanted, headers=admin)
        assert changed.json()["labels"] == ["big", "slow"]
        assert (await worker.heartbeat(version="1")).labels == ("big", "slow")
        assert (await client.get("/api/v1/workers/gpu-9", headers=admin)).status_code == 404
        assert (await client.patch("/api/v1/workers/gpu-1", json={"labels": ["No"]}, headers=admin)).status_code == 422
        assert (await client.patch("/api/v1/workers/a-2", json=wanted, headers=admin)).status_code == 403
        reader = await gateway.headers("read", "write")
        assert (await client.get("/api/v1/workers", headers=reader)).status_code == 403

    async def test_each_change_is_in_the_audit_log_without_the_code(self, gateway: Gateway) -> None:
        client, admin = gateway.client, await gateway.headers("admin")
        given = {"name": "gpu-1", "labels": ["gpu-pool"], "expires_in": "10m"}
        invitation = (await client.post("/api/v1/workers/codes", json=given, headers=admin)).json()
        lasting = datetime.fromisoformat(invitation["expires_at"]) - datetime.now(UTC)
        assert timedelta(minutes=9) < lasting <= timedelta(minutes=11)
        assert (await enrol(gateway, code=invitation["code"], name=None)).status_code == 201
        await client.patch("/api/v1/workers/gpu-1", json={"labels": []}, headers=admin)
        await client.delete("/api/v1/workers/gpu-1", headers=admin)
        key_id = admin["Authorization"].split("_")[1]
        for action, actor in (
            ("worker_invited", f"key:{key_id}"),
            ("worker_enrolled", "worker:gpu-1"),
            ("worker_labelled", f"key:{key_id}"),
            ("worker_revoked", f"key:{key_id}"),
        ):
            (entry,) = await gateway.audited(action)
            assert (entry["actor"], entry["client"]) == (actor, "127.0.0.1")
            assert entry["request_id"] is not None and invitation["code"] not in json.dumps(entry, default=str)
        async with gateway.custody.catalog.connection() as connection:
            codes = await (await connection.execute("select * from worker_codes")).fetchall()
        assert invitation["code"] not in str(codes) and codes[0]["used_by"] == "gpu-1"

    async def test_a_code_lasts_for_a_week_at_most(self, gateway: Gateway) -> None:
        admin = await gateway.headers("admin")
        answer = await gateway.client.post("/api/v1/workers/codes", json={"expires_in": "8d"}, headers=admin)
        assert (answer.status_code, error_of(answer)) == (422, "InvalidOptions")


class TestKeyFile:
    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
    async def test_a_key_that_others_may_read_is_refused(self, tmp_path: Path, mode: int) -> None:
        home = new_home(tmp_path / "worker")
        home.identity_path.chmod(mode)
        with pytest.raises(InvalidSettings, match="chmod 600"):
            home.identity()

    async def test_a_key_is_never_replaced(self, tmp_path: Path) -> None:
        home = new_home(tmp_path / "worker")
        before = home.identity_path.read_text()
        with pytest.raises(InvalidOptions, match="has a key already"):
            home.create_identity()
        assert home.identity_path.read_text() == before
        assert before.splitlines()[1] == f"# public key: {home.identity().recipient.text}"

    async def test_a_machine_without_key_or_enrolment_is_told_what_to_do(self, tmp_path: Path) -> None:
        home = WorkerHome(tmp_path / "worker")
        with pytest.raises(InvalidSettings, match="waybill worker keygen"):
            home.identity()
        home.create_identity()
        with pytest.raises(InvalidSettings, match="waybill worker enroll"):
            home.config()
        for content in ("", "[]", '{"name": "gpu-1"}', "[" * 10_000):
            home.config_path.write_text(content)
            home.config_path.chmod(0o600)
            with pytest.raises(InvalidSettings, match="not the configuration of a worker"):
                home.config()
