"""Downloads of the client's side: whatever the other side does, the right file or none."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from blocks.age import X25519Identity, seal
from blocks.errors import (
    AuthenticationFailed,
    ContentMismatch,
    GatewayUnavailable,
    InvalidOptions,
    LinkExpired,
    LinkInvalid,
    MalformedAgeFile,
    NoMatchingIdentity,
    TransferRefused,
)
from blocks.hand_over import Downloaded, download
from blocks.hand_over.connection import Session
from blocks.hand_over.partial_file import PartialFile
from blocks.hand_over.ranges import RangeReader
from tests.stack_driver import PATIENCE_SECONDS, eventually
from tests.transfer_server import TOKEN, TransferServer, running_transfer_server

# No whole number of groups or chunks.
CONTENT = os.urandom(9 * 1024 * 1024 + 12345)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
IDENTITY = X25519Identity.generate()
SEALED = b"".join(seal([CONTENT], [IDENTITY.recipient]))
RANGES = pytest.mark.parametrize("ranges", [1, 4])


@pytest.fixture
def server() -> Iterator[TransferServer]:
    with running_transfer_server() as place:
        place.content = SEALED
        place.headers = {"Waybill-Content-SHA256": SHA256, "Waybill-Content-Size": str(len(CONTENT))}
        yield place


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as made:
        yield made


async def fetch(client: httpx.AsyncClient, server: TransferServer, target: Path, **options: object) -> Downloaded:
    given = {"identities": [IDENTITY], **options}
    return await download(client, server.download_url, str(given.pop("token", TOKEN)), target, **given)  # type: ignore[arg-type]


def left_behind(folder: Path) -> list[str]:
    return sorted(found.name for found in folder.iterdir())


@RANGES
async def test_a_file_arrives_whole_private_and_is_reported(
    ranges: int, client: httpx.AsyncClient, server: TransferServer, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []
    done = await fetch(
        client, server, tmp_path / "a.pdf", ranges=ranges, on_progress=lambda *at: seen.append(at), durable=True
    )
    assert done == Downloaded(
        path=tmp_path / "a.pdf", size=len(CONTENT), sha256=SHA256, bytes_received=done.bytes_received
    )
    assert (tmp_path / "a.pdf").read_bytes() == CONTENT
    assert stat.S_IMODE((tmp_path / "a.pdf").stat().st_mode) == 0o600
    assert left_behind(tmp_path) == ["a.pdf"]
    assert server.completed == [{"sha256": SHA256, "size": len(CONTENT)}]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert done.bytes_received <= 1.05 * len(SEALED)


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 16 * 65536, 16 * 65536 + 1])
@RANGES
async def test_sizes_at_the_edges_of_chunks_and_groups(
    size: int, ranges: int, client: httpx.AsyncClient, server: TransferServer, tmp_path: Path
) -> None:
    server.content, server.headers = b"".join(seal([CONTENT[:size]], [IDENTITY.recipient])), {}
    done = await fetch(client, server, tmp_path / "a", ranges=ranges)
    assert ((tmp_path / "a").read_bytes(), done.size) == (CONTENT[:size], size)


@RANGES
async def test_connections_that_break_are_continued_where_they_ended(
    ranges: int, client: httpx.AsyncClient, server: TransferServer, tmp_path: Path
) -> None:
    # In the header, in the first chunk, in the middle, one byte before the end.
    server.breaks = [50, 150, 3 * 1024 * 1024, 1, 700_000, 99_999, 2 * 1024 * 1024]
    done = await fetch(client, server, tmp_path / "a", ranges=ranges)
    assert done.sha256 == SHA256
    assert server.sent_bytes <= 1.05 * len(SEALED)


async def test_temporary_refusals_are_waited_out(
    client: httpx.AsyncClient, server: TransferServer, tmp_path: Path
) -> None:
    server.refusals = [(503, {}), (429, {"Retry-After": "0"}), (423, {}), (500, {}), (502, {"Retry-After": "junk"})]
    assert (await fetch(client, server, tmp_path / "a")).sha256 == SHA256


async def test_a_gateway_that_does_not_come_back_is_given_up(
    client: httpx.AsyncClient, server: TransferServer, tmp_path: Path
) -> None:
    server.refusals = [(503, {})] * 1000
    with pytest.raises(GatewayUnavailable, match="run the same again later"):
        await fetch(client, server, tmp_path / "a", patience_seconds=0.3)
    server.refusals = [(429, {"Retry-After": "7200"})]
    with pytest.raises(GatewayUnavailable, match="asks for a pause of 7200 s"):
        await fetch(client, server, tmp_path / "a", patience_seconds=60)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("declared", [True, False])
@RANGES
async def test_a_later_call_fetches_only_what_is_missing(
    ranges: int, declared: bool, client: httpx.AsyncClient, server: TransferServer, tmp_path: Path
) -> None:
    if not declared:
        server.headers = {}
    server.breaks = [6 * 1024 * 1024]
    server.on_piece = lambda sent: server.refusals.extend([(503, {})] * 500) if sent > 5 * 1024 * 1024 else None
    with pytest.raises(GatewayUnavailable):
        await fetch(client, server, tmp_path / "a", patience_seconds=0.3)
    assert left_behind(tmp_path) == [".a.waybill-part", ".a.waybill-state"]
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in left_behind(tmp_path)} == {0o600}
    server.on_piece, server.refusals, server.breaks = None, [], []
    done = await fetch(client, server, tmp_path / "a", ranges=ranges)
    assert (done.sha256, (tmp_path / "a").read_bytes() == CONTENT) == (SHA256, True)
    assert left_behind(tmp_path) == ["a"]
    assert done.bytes_received < 5 * 1024 * 1024
    # At most what a group in the works had, and the pieces that the server had counted before the connection broke.
    assert server.sent_bytes <= len(SEALED) + 2 * 1024 * 1024


async def test_what_has_arrived_when_a_download_fails_is_not_fetched_again(
    client: httpx.AsyncClient, server: TransferServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()
    write, stop = PartialFile.write, Session.stop

    def slow_write(partial: PartialFile, group: int, content: memoryview, place: int) -> None:
        assert failed.wait(PATIENCE_SECONDS)
        write(partial, group, content, place)

    def stop_and_note(session: Session) -> None:
        stop(session)
        failed.set()

    monkeypatch.setattr(PartialFile, "write", slow_write)
    monkeypatch.setattr(Session, "stop", stop_and_note)
    # Two groups have arrived, and neither is written yet.
    server.breaks = [2 * 264 * 1024]
    server.on_piece = lambda _: server.refusals.extend([(503, {})] * 500)
    with pytest.raises(GatewayUnavailable):
        await fetch(client, server, tmp_path / "a", patience_seconds=0.3)
    server.on_piece, server.refusals, server.breaks = None, [], []
    done = await fetch(client, server, tmp_path / "a")
    assert done.sha256 == SHA256
    assert done.bytes_received < len(SEALED) - 2 * 256 * 1024


async def test_what_was_begun_before_a_start_of_the_machine_is_compared_or_fetched_again(
    client: httpx.AsyncClient, server: TransferServer, tmp_path: Path
) -> None:
    async def begin() -> None:
        server.on_piece = lambda sent: server.refusals.extend([(503, {})] * 500) if sent > 5 * 1024 * 1024 else None
        server.breaks = [6 * 1024 * 1024]
        with pytest.raises(GatewayUnavailable):
            await fetch(client, server, tmp_path / "a", patience_seconds=0.3)
        server.on_piece, server.refusals, server.breaks = None, [], []
        # As if the power had gone: blocks of the file that never reached the disk.
        with (tmp_path / ".a.waybill-part").open("r+b") as partial:
            partial.write(bytes(4096))
        state = tmp_path / ".a.waybill-state"
        head, _, done = state.read_bytes().partition(b"\n")
        state.write_bytes(head.replace(b'"boot": "', b'"boot": "another') + b"\n" + done)

    await begin()
    assert (await fetch(client, server, tmp_path / "a")).sha256 == SHA256
    server.headers = {}
    await begin()
    done = await fetch(client, server, tmp_path / "a")
    assert (done.sha256, done.bytes_received >= len(SEALED)) == (SHA256, True)


@RANGES
async def test_another_file_under_the_same_address_is_never_joined(
    ranges: int, client: httpx.AsyncClient, server: TransferServer, tmp_path: Path
) -> None:
    other = CONTENT[::-1]

    def change(sent: int) -> None:
        if sent > 4 * 1024 * 1024:
            server.content, server.headers = b"".join(seal([other], [IDENTITY.recipient])), {}
            server.on_piece = None

    server.on_piece, server.breaks = change, [5 * 1024 * 1024]
    done = await fetch(client, server, tmp_path / "a", ranges=ranges)
    assert done.sha256 == hashlib.sha256(other).hexdigest()


async def test_an_address_that_never_serves_the_same_is_given_up(
    client: httpx.AsyncClient, server: TransferServer, tmp_path: Path
) -> None:
    def change(_: int) -> None:
        server.content = b"".join(seal([CONTENT], [IDENTITY.recipient]))

    server.on_piece, server.breaks = change, [1024 * 1024] * 100
    with pytest.raises(ContentMismatch, match="have changed 3 times"):
        await fetch(client, server, tmp_path / "a")
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("place", [-1, len(SEALED) // 2, 250])
@RANGES
async def test_a_changed_byte_is_refused(
    place: int, ranges: int, client: httpx.AsyncClient, server: TransferServer, tmp_path: Path
) -> None:
    changed = bytearray(SEALED)
    changed[place] ^= 1
    server.content = bytes(changed)
    with pytest.raises(AuthenticationFailed):
        await fetch(client, server, tmp_path / "a", ranges=ranges)
    assert (left_behind(tmp_path), server.completed) == ([], [])


async def test_a_shorter_file_is_refused(client: httpx.AsyncClient, server: TransferServer, tmp_path: Path) -> None:
    server.headers = {}
    server.content = SEALED[: 200 + 16 + 3 * 65552]
    with pytest.raises(AuthenticationFailed):
        await fetch(client, server, tmp_path / "a")
    for cut in (b"", SEALED[:30], SEALED[:190], SEALED[:205], b"<html>not found</html>"):
        server.content = cut
        with pytest.raises((MalformedAgeFile, ContentMismatch, AuthenticationFailed)):
            await fetch(client, server, tmp_path / "a")
    assert left_behind(tmp_path) == []


async def test_a_wrong_hash_and_a_wrong_size_are_refused_and_reported(
    client: httpx.AsyncClient, server: TransferServer, tmp_path: Path
) -> None:
    server.verified = False
    with pytest.raises(ContentMismatch, match="expected sha256 ffff"):
        await fetch(client, server, tmp_path / "a", expected_sha256="f" * 64)
    with pytest.raises(ContentMismatch, match="expected 5 bytes"):
        await fetch(client, server, tmp_path / "a", expected_size=5)
    server.headers["Waybill-Content-SHA256"] = "0" * 64
    with pytest.raises(ContentMismatch, match="ask the sender"):
        await fetch(client, server, tmp_path / "a")
    assert left_behind(tmp_path) == []
    assert server.completed == [{"sha256": SHA256, "size": len(CONTENT)}] * 2


async def test_the_wrong_key_opens_nothing(client: httpx.AsyncClient, server: TransferServer, tmp_path: Path) -> None:
    with pytest.raises(NoMatchingIdentity):
        await fetch(client, server, tmp_path / "a", identities=[X25519Identity.generate()])
    assert (left_behind(tmp_path), server.completed) == ([], [])


async def test_a_token_that_has_expired_is_renewed(
    client: httpx.AsyncClient, server: TransferServer, tmp_path: Path
) -> None:
    async def renew() -> str:
        await asyncio.sleep(0)
        return "another"

    with pytest.raises(LinkInvalid):
        await fetch(client, server, tmp_path / "a", token="wrong")
    server.expired_tokens = {TOKEN}
    with pytest.raises(LinkExpired):
        await fetch(client, server, tmp_path / "a")
    with pytest.raises(LinkInvalid):  # the other is refused as well
        await fetch(client, server, tmp_path / "a", renew_token=renew)
    server.tokens = {"another"}
    done = await fetch(client, server, tmp_path / "a", renew_token=renew)
    assert done.sha256 == SHA256


async def test_other_answers_end_it_at_once(client: httpx.AsyncClient, server: TransferServer, tmp_path: Path) -> None:
    server.refusals = [(418, {})]
    with pytest.raises(TransferRefused, match="418"):
        await fetch(client, server, tmp_path / "a")
    for url in ("ftp://a/b", "http://", "http://a:b/", "http://a b/", "http://[::1/"):
        with pytest.raises(InvalidOptions):
            await download(client, url, TOKEN, tmp_path / "a", identities=None)


async def test_a_number_that_is_none_is_no_size(
    client: httpx.AsyncClient, server: TransferServer, tmp_path: Path
) -> None:
    server.ignores_ranges, server.headers = True, {"Content-Length": "9" * 5000}
    with pytest.raises(ContentMismatch, match="does not answer like a transfer"):
        await fetch(client, server, tmp_path / "a")
    assert left_behind(tmp_path) == []


async def test_the_answer_to_a_report_is_not_read_without_end(
    client: httpx.AsyncClient, server: TransferServer, tmp_path: Path
) -> None:
    read_bytes = 0
    bomb = gzip.compress(b"0" * 2**24)

    async def received(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/complete"):
            return httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=without_end())
        raise AssertionError(request.url)

    async def without_end() -> AsyncIterator[bytes]:
        nonlocal read_bytes
        while True:
            read_bytes += len(bomb)
            assert read_bytes < 2**20
            yield bomb

    async with httpx.AsyncClient(transport=httpx.MockTransport(received)) as hostile:
        assert (await fetch(hostile, server, tmp_path / "a")).sha256 == SHA256


async def test_a_body_that_goes_on_after_its_range_is_not_read_to_its_end(server: TransferServer) -> None:
    server.is_endless = True
    reader = RangeReader(Session(server.download_url, TOKEN, renew_token=None, patience_seconds=5.0))
    reader.start(0, 1000)
    reader.describe()
    assert reader.fill(memoryview(bytearray(100))) == 100
    reader.start(2000, 3000)  # what is left of the first answer is short, by its own account
    room = bytearray(1000)
    assert reader.fill(memoryview(room)) == 1000
    assert bytes(room) == SEALED[2000:3000]
    reader.close()


async def test_encrypted_bytes_can_be_kept(client: httpx.AsyncClient, server: TransferServer, tmp_path: Path) -> None:
    done = await fetch(client, server, tmp_path / "a.age", identities=None, ranges=4)
    assert (tmp_path / "a.age").read_bytes() == SEALED
    assert (done.sha256, done.size) == (hashlib.sha256(SEALED).hexdigest(), len(SEALED))
    assert server.completed == []


async def test_a_file_that_is_there_is_kept(client: httpx.AsyncClient, server: TransferServer, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(InvalidOptions, match="exists already"):
        await fetch(client, server, tmp_path / "a", replace=False)
    assert (tmp_path / "a").read_bytes() == b"mine"
    # What has arrived is not lost.
    assert (await fetch(client, server, tmp_path / "a", replace=True)).bytes_received == 0
    assert (tmp_path / "a").read_bytes() == CONTENT


async def test_two_processes_do_not_write_the_same_file(
    client: httpx.AsyncClient, server: TransferServer, tmp_path: Path
) -> None:
    first, refused = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold(_: int) -> None:
        loop.call_soon_threadsafe(first.set)
        refused.wait()

    server.on_piece = hold
    server.breaks = [1024 * 1024]
    running = asyncio.create_task(fetch(client, server, tmp_path / "a"))
    await first.wait()
    try:
        with pytest.raises(InvalidOptions, match="another process"):
            await fetch(client, server, tmp_path / "a")
    finally:
        refused.set()
    assert (await running).sha256 == SHA256


async def test_a_cancelled_download_ends_and_is_continued(
    client: httpx.AsyncClient, server: TransferServer, tmp_path: Path
) -> None:
    held = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(sent: int) -> None:
        if sent >= 4 * 1024 * 1024:
            server.on_piece = None
            loop.call_soon_threadsafe(held.set)
            asyncio.run_coroutine_threadsafe(released.wait(), loop).result()

    released = asyncio.Event()
    server.on_piece = hold
    running = asyncio.create_task(fetch(client, server, tmp_path / "a"))
    await held.wait()
    state = tmp_path / ".a.waybill-state"
    await asyncio.to_thread(eventually, lambda: state.read_bytes().count(b"\1") >= 2, "some has been written")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    released.set()
    done = await fetch(client, server, tmp_path / "a")
    assert (done.sha256, done.bytes_received < len(SEALED) - 1024 * 1024) == (SHA256, True)
