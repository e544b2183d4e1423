"""Uploads of the client's side: sealed on the way, and continued with the same bytes."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.age import ScryptIdentity, ScryptRecipient, X25519Identity, unseal
from blocks.errors import (
    ContentMismatch,
    GatewayUnavailable,
    LinkExpired,
    SourceNotFound,
    TooLarge,
    TransferConflict,
    TransferRefused,
)
from blocks.hand_over import Declared, Uploaded, upload
from blocks.hand_over.connection import Connection
from tests.stack_driver import PATIENCE_SECONDS, eventually
from tests.transfer_server import TOKEN, TransferServer, running_transfer_server

CONTENT = os.urandom(9 * 1024 * 1024 + 12345)
IDENTITY = X25519Identity.generate()


@pytest.fixture
def server() -> Iterator[TransferServer]:
    with running_transfer_server() as place:
        yield place


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "report.pdf"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def send(server: TransferServer, source: Path, **options: object) -> Uploaded:
    return asyncio.run(sending(server, source, **options))


async def sending(server: TransferServer, source: Path, **options: object) -> Uploaded:
    given = {"recipients": [IDENTITY.recipient], **options}
    return await upload(server.upload_url, str(given.pop("token", TOKEN)), source, **given)  # type: ignore[arg-type]


def opened(server: TransferServer) -> bytes:
    return b"".join(unseal([bytes(server.uploaded)], [IDENTITY]))


def test_a_file_is_sealed_on_the_way_and_declared(server: TransferServer, source: Path, state: Path) -> None:
    seen: list[tuple[int, int]] = []
    declared = Declared(filename="café.pdf", media_type="application/pdf", content_sha256="a" * 64)
    done = send(server, source, state=state, declared=declared, on_progress=lambda *at: seen.append(at))
    assert opened(server) == CONTENT
    assert done == Uploaded(
        size=len(server.uploaded), bytes_sent=len(server.uploaded), transfer={"state": "completed", "file_id": "f"}
    )
    assert seen[0] == (0, done.size) and seen[-1] == (done.size, done.size)
    given = dict(pair.split(" ") for pair in server.metadata.split(","))
    assert {name: base64.b64decode(value).decode() for name, value in given.items()} == {
        "filename": "café.pdf", "filetype": "application/pdf", "content_sha256": "a" * 64,
        "content_size": str(len(CONTENT)),
    }  # fmt: skip
    assert not state.exists()


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 16 * 65536, 16 * 65536 + 1])
def test_sizes_at_the_edges_of_chunks_and_groups(size: int, server: TransferServer, source: Path, state: Path) -> None:
    source.write_bytes(CONTENT[:size])
    send(server, source, state=state)
    assert opened(server) == CONTENT[:size]


def test_a_passphrase_and_bytes_as_they_are(server: TransferServer, source: Path, state: Path) -> None:
    send(server, source, state=state, recipients=[ScryptRecipient("a passphrase", log_n=10)])
    assert b"".join(unseal([bytes(server.uploaded)], [ScryptIdentity("a passphrase")])) == CONTENT
    server.uploaded, server.length, server.breaks = bytearray(), None, [2_000_000]
    send(server, source, recipients=None)
    assert server.uploaded == CONTENT


def test_connections_that_break_are_continued_at_the_byte_that_was_stored(
    server: TransferServer, source: Path, state: Path
) -> None:
    # In the header, within the nonce, in the first chunk, in the middle, in the last chunk.
    server.breaks = [50, 130, 30_000, 3 * 1024 * 1024 + 7, 1, 5 * 1024 * 1024]
    send(server, source, state=state)
    assert opened(server) == CONTENT
    assert server.received_bytes == server.length


def test_a_piece_of_which_a_part_arrives_is_this_senders_own(
    server: TransferServer, source: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Connection.write

    def write_a_part(self: Connection, data: bytes | memoryview) -> None:
        if len(data) < 100_000:
            return write(self, data)
        monkeypatch.setattr(Connection, "write", write)
        before = len(server.uploaded)
        write(self, data[:70_000])
        eventually(lambda: len(server.uploaded) >= before + 70_000, "a part has arrived")
        raise ConnectionResetError

    monkeypatch.setattr(Connection, "write", write_a_part)
    send(server, source, state=state)
    assert opened(server) == CONTENT
    assert server.received_bytes == server.length


def test_temporary_refusals_are_waited_out(server: TransferServer, source: Path, state: Path) -> None:
    server.refusals = [(503, {}), (429, {"Retry-After": "0"}), (423, {}), (500, {})]
    send(server, source, state=state)
    assert opened(server) == CONTENT


def test_a_later_call_seals_the_same_bytes_again(server: TransferServer, source: Path, state: Path) -> None:
    server.breaks = [4 * 1024 * 1024 + 11]
    server.on_piece = lambda taken: server.refusals.extend([(503, {})] * 500) if taken > 4 * 1024 * 1024 else None
    with pytest.raises(GatewayUnavailable):
        send(server, source, state=state, patience_seconds=0.3)
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    server.on_piece, server.refusals = None, []
    send(server, source, state=state)
    assert opened(server) == CONTENT
    assert (server.received_bytes, state.exists()) == (server.length, False)


def test_a_killed_sender_goes_on(server: TransferServer, source: Path, state: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path; from blocks.age import parse_recipient;"
        "from blocks.hand_over import upload; url, token, source, state, recipient = sys.argv[1:];"
        "asyncio.run(upload(url, token, Path(source), recipients=[parse_recipient(recipient)], state=Path(state)))"
    )
    command = [
        sys.executable,
        "-c",
        program,
        server.upload_url,
        TOKEN,
        str(source),
        str(state),
        IDENTITY.recipient.text,
    ]
    for kill in range(1, 4):
        with subprocess.Popen(command) as sender:
            server.on_piece = lambda _, pid=sender.pid, kill=kill: (  # type: ignore[misc]
                os.kill(pid, signal.SIGKILL) if len(server.uploaded) > kill * 2 * 1024 * 1024 else None
            )
            assert sender.wait(PATIENCE_SECONDS) == -signal.SIGKILL
        server.on_piece = None
    done = subprocess.run(command, timeout=PATIENCE_SECONDS)
    assert (done.returncode, opened(server) == CONTENT) == (0, True)
    assert server.received_bytes == server.length


@pytest.mark.parametrize("change", ["other content", "no state"])
def test_two_contents_are_never_joined_or_sealed_with_one_key(
    change: str, server: TransferServer, source: Path, state: Path
) -> None:
    server.breaks = [4 * 1024 * 1024]
    server.on_piece = lambda taken: server.refusals.extend([(503, {})] * 500) if taken >= 4 * 1024 * 1024 else None
    with pytest.raises(GatewayUnavailable):
        send(server, source, state=state, patience_seconds=0.3)
    server.on_piece, server.refusals = None, []
    first_key = json.loads(state.read_text())["file_key"]
    if change == "no state":
        state.unlink()
    else:
        source.write_bytes(CONTENT[::-1])
    before = bytes(server.uploaded)
    with pytest.raises(TransferConflict, match="as a new transfer"):
        send(server, source, state=state, declared=Declared(filename="another name"))
    assert server.uploaded == before
    # What the gateway cannot tell from the same file begins again, at byte 0.
    keys: list[str] = []
    server.on_piece = lambda _: keys.append(json.loads(state.read_text())["file_key"])
    send(server, source, state=state)
    assert opened(server) == source.read_bytes()
    assert keys and first_key not in keys


def test_a_file_that_changes_while_it_is_sent_is_refused(server: TransferServer, source: Path, state: Path) -> None:
    def shorten(_: int) -> None:
        server.on_piece = None
        os.truncate(source, 7 * 1024 * 1024)

    server.on_piece = shorten
    with pytest.raises(ContentMismatch, match="was changed while it was sent"):
        send(server, source, state=state)
    assert not server.over


def test_the_answer_to_the_last_byte_may_be_lost(server: TransferServer, source: Path, state: Path) -> None:
    def lose(_: int) -> None:
        if server.length == len(server.uploaded):
            server.over, server.on_piece = True, None
            server.refusals = [(503, {}), (410, {})]
            raise ConnectionResetError

    server.on_piece = lose
    done = send(server, source, state=state)
    assert done.transfer["state"] == "completed"


def test_refusals_end_it_at_once(server: TransferServer, source: Path, state: Path, tmp_path: Path) -> None:
    server.refusals = [(413, {})]
    with pytest.raises(TooLarge):
        send(server, source, state=state)
    server.refusals = [(418, {})]
    with pytest.raises(TransferRefused):
        send(server, source, state=state)
    server.expired_tokens = {TOKEN}
    with pytest.raises(LinkExpired):
        send(server, source, state=state)
    with pytest.raises(SourceNotFound):
        send(server, tmp_path / "missing", state=state)
    with pytest.raises(SourceNotFound):
        send(server, tmp_path, state=state)


async def test_a_cancelled_upload_ends_and_is_continued(server: TransferServer, source: Path, state: Path) -> None:
    running = asyncio.create_task(sending(server, source, state=state))
    hold = asyncio.Event()
    loop = asyncio.get_running_loop()
    server.on_piece = lambda _: asyncio.run_coroutine_threadsafe(hold.wait(), loop).result()  # type: ignore[assignment]
    await asyncio.to_thread(eventually, lambda: len(server.uploaded) > 0, "some has arrived")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    server.on_piece = None
    hold.set()
    await sending(server, source, state=state)
    assert opened(server) == CONTENT
