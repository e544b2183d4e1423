"""One suite for resumable writes on every storage: they go on in another process, and show nothing before the end."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from blocks.errors import (
    BlobMissing,
    InvalidOptions,
    KeyExists,
    StorageFull,
    TransferConflict,
    TransferLocked,
)
from blocks.storage import Backend, PartialBlob, SentInParts, SentPart, open_backend
from tests.s3 import S3Server

MIB = 2**20
PATH = "transfers/3f/" + "3f" * 16
# Two whole parts of S3 and some of a third.
CONTENT = os.urandom(25 * MIB + 17)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
STEP = 2 * MIB + 1


@pytest.fixture
def begin(backend: Backend, tmp_path: Path) -> Callable[..., PartialBlob]:
    """A writer as the next process has it: it knows of the earlier ones what they left."""

    def opened(size: int = len(CONTENT)) -> PartialBlob:
        return backend.partial(PATH, scratch=tmp_path / "scratch", size=size)

    return opened


def pieces(content: bytes) -> Iterator[bytes]:
    return (content[start : start + STEP] for start in range(0, len(content), STEP))


def read(backend: Backend) -> bytes:
    with backend.open(PATH) as stream:
        return stream.read()


def nothing_waits(tmp_path: Path) -> bool:
    return not (tmp_path / "scratch").exists() or not list((tmp_path / "scratch").iterdir())


def test_each_writer_goes_on_where_the_one_before_it_ended(
    backend: Backend, begin: Callable[..., PartialBlob], tmp_path: Path
) -> None:
    done = 0
    for beyond in (0, 1, 5 * MIB, 12 * MIB, 12 * MIB + 3, 24 * MIB, len(CONTENT)):
        with closing(begin()) as writer:
            assert writer.offset() == done
            assert writer.append(done, pieces(CONTENT[done:beyond])) == beyond
            assert writer.offset() == beyond
            done = beyond
        assert list(backend.paths()) == []
        with pytest.raises(BlobMissing):
            backend.open(PATH)
    with closing(begin()) as writer:
        writer.finish(len(CONTENT))
        assert read(backend) == CONTENT
        assert list(backend.paths()) == [PATH]
        # Interrupted after its end, it is finished again.
        assert begin().offset() == len(CONTENT)
        begin().finish(len(CONTENT))
        writer.finish(len(CONTENT))
    assert list(backend.leftovers()) == [] and nothing_waits(tmp_path)


def test_what_came_before_an_error_of_the_sender_stays(begin: Callable[..., PartialBlob]) -> None:
    def broken() -> Iterator[bytes]:
        yield CONTENT[:MIB]
        yield CONTENT[MIB : 3 * MIB]
        raise ConnectionResetError

    with closing(begin()) as writer, pytest.raises(ConnectionResetError):
        writer.append(0, broken())
    with closing(begin()) as writer:
        assert writer.offset() == 3 * MIB


def test_a_writer_that_was_never_closed_leaves_what_it_wrote(begin: Callable[..., PartialBlob]) -> None:
    writer = begin()
    writer.append(0, pieces(CONTENT[: 13 * MIB]))
    assert begin().offset() == 13 * MIB
    writer.close()


def test_another_offset_is_refused_with_the_right_one(begin: Callable[..., PartialBlob]) -> None:
    with closing(begin()) as writer:
        for wrong in (1, len(CONTENT)):
            with pytest.raises(TransferConflict) as refused:
                writer.append(wrong, [b"x"])
            assert refused.value.context == {"offset": 0}
        writer.append(0, [b"abc"])
        with pytest.raises(TransferConflict):
            writer.append(0, [b"abc"])
        assert writer.offset() == 3


def test_what_is_not_whole_is_not_finished(backend: Backend, begin: Callable[..., PartialBlob]) -> None:
    with closing(begin()) as writer:
        writer.append(0, [CONTENT[:1000]])
        with pytest.raises(TransferConflict):
            writer.finish(len(CONTENT))
        assert list(backend.paths()) == []
        assert writer.append(1000, [b"x"]) == 1001


def test_an_empty_blob(backend: Backend, begin: Callable[..., PartialBlob], tmp_path: Path) -> None:
    with closing(begin(0)) as writer:
        assert writer.offset() == 0
        writer.finish(0)
        writer.finish(0)
    assert read(backend) == b"" and nothing_waits(tmp_path)


def test_the_blob_of_another_writer_stays(backend: Backend, begin: Callable[..., PartialBlob]) -> None:
    with closing(begin(1000)) as writer:
        writer.append(0, [CONTENT[:1000]])
        backend.publish(PATH, [b"of another"])
        with pytest.raises(KeyExists):
            writer.finish(1000)
    assert read(backend) == b"of another"


def test_what_is_discarded_is_gone_and_the_next_begins_at_0(
    backend: Backend, begin: Callable[..., PartialBlob], tmp_path: Path
) -> None:
    with closing(begin()) as writer:
        writer.append(0, pieces(CONTENT[: 14 * MIB]))
        writer.discard()
        writer.discard()
        assert list(backend.leftovers()) == [] and nothing_waits(tmp_path)
        assert writer.offset() == 0
        other = CONTENT[::-1]
        writer.append(0, pieces(other))
        writer.finish(len(other))
    assert read(backend) == other


def test_clean_ups_find_it_as_that_of_an_interrupted_writer(
    backend: Backend, begin: Callable[..., PartialBlob], request: pytest.FixtureRequest
) -> None:
    with closing(begin()) as writer:
        writer.append(0, pieces(CONTENT[: 13 * MIB]))
        if "memory" in request.node.name:
            return  # it lies in this machine's scratch folder alone
        assert list(backend.leftovers()) == [PATH]
        assert list(backend.leftovers(older_than=timedelta(hours=1))) == []
        assert backend.abort(PATH) == 1
    assert list(backend.leftovers()) == []
    assert begin().offset() == 0


def test_it_is_read_while_it_grows(begin: Callable[..., PartialBlob], request: pytest.FixtureRequest) -> None:
    with closing(begin()) as writer:
        writer.append(0, [CONTENT[:1000]])
        stream = writer.read()
        if "s3" in request.node.name:
            assert stream is None
            return
        assert stream is not None
        with stream:
            assert stream.read() == CONTENT[:1000] and stream.read() == b""
            writer.append(1000, [CONTENT[1000:3000]])
            assert stream.read() == CONTENT[1000:3000]
            stream.seek(5)
            assert stream.read(5) == CONTENT[5:10]


KILLED = """
import os, signal, sys
from pathlib import Path
from blocks.storage import open_backend
writer = open_backend(sys.argv[1]).partial(sys.argv[2], scratch=Path(sys.argv[3]), size=1 << 30)
writer.append(0, [b"x" * 5_000_000])
print(writer.offset(), flush=True)
writer.append(5_000_000, [b"y" * 3_000_000])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_nothing_that_it_reported(tmp_path: Path) -> None:
    store, scratch = tmp_path / "store", tmp_path / "scratch"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(store), PATH, str(scratch)], capture_output=True, text=True
    )
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "5000000\n"), killed.stderr
    with closing(open_backend(str(store)).partial(PATH, scratch=scratch, size=1 << 30)) as writer:
        assert 5_000_000 <= writer.offset() <= 8_000_000
        writer.append(writer.offset(), [b"z"])


def test_another_writer_of_the_same_folder_is_locked_out(tmp_path: Path) -> None:
    backend = open_backend(str(tmp_path / "store"))
    with closing(backend.partial(PATH, scratch=tmp_path, size=10)) as first:
        first.append(0, [b"abc"])
        with pytest.raises(TransferLocked):
            backend.partial(PATH, scratch=tmp_path, size=10).append(3, [b"d"])
    with closing(backend.partial(PATH, scratch=tmp_path, size=10)) as second:
        assert second.append(3, [b"d"]) == 4


def test_a_full_disk_keeps_what_fits_and_shows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_backend(str(tmp_path / "store"))
    written = os.pwrite

    def full(descriptor: int, content: bytes, offset: int) -> int:
        if offset >= 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written(descriptor, content[: 1000 - offset], offset)

    monkeypatch.setattr(os, "pwrite", full)
    with closing(backend.partial(PATH, scratch=tmp_path, size=3000)) as writer:
        with pytest.raises(StorageFull) as refused:
            writer.append(0, [CONTENT[:3000]])
        assert isinstance(refused.value.__cause__, OSError) and refused.value.__cause__.errno == errno.ENOSPC
        assert list(backend.paths()) == [] and writer.offset() == 1000
        monkeypatch.undo()
        assert writer.append(1000, [CONTENT[1000:3000]]) == 3000
        writer.finish(3000)
    with backend.open(PATH) as stream:
        assert stream.read() == CONTENT[:3000]


def test_parts_that_a_client_sends_to_the_server_itself(s3_server: S3Server, tmp_path: Path) -> None:
    backend = open_backend(f"s3://{s3_server.new_bucket()}/store", s3_server.options)
    with closing(backend.partial(PATH, scratch=tmp_path / "scratch", size=len(CONTENT))) as writer:
        assert isinstance(writer, SentInParts)
        assert writer.part_count() == 3
        for none in (0, 4):
            with pytest.raises(InvalidOptions):
                writer.presigned([none], expires_in=timedelta(minutes=1))
        links = writer.presigned([1, 2, 3], expires_in=timedelta(minutes=1))
        assert links is not None and sum(link.size for link in links) == len(CONTENT)
        sent: list[SentPart] = []
        for link in links:
            part = CONTENT[link.offset : link.offset + link.size]
            if link.number == 3:
                with pytest.raises(TransferConflict, match="part 3"):
                    writer.check_parts(sent)
            answer = httpx.put(link.url, content=part)
            assert answer.status_code == 200, answer.text
            sent.append(SentPart(number=link.number, etag=answer.headers["etag"]))
        assert httpx.put(links[2].url, content=b"longer than it should be" * 100_000).status_code == 403
        writer.check_parts(sent)
        with pytest.raises(TransferConflict, match="part 2"):
            writer.check_parts([SentPart(number=2, etag='"0123456789abcdef0123456789abcdef"')])
        assert writer.offset() == len(CONTENT)
        writer.finish(len(CONTENT))
    assert hashlib.sha256(read(backend)).hexdigest() == SHA256


def test_a_part_of_another_size_does_not_count(s3_server: S3Server, tmp_path: Path) -> None:
    backend = open_backend(f"s3://{s3_server.new_bucket()}/store", s3_server.options)
    with closing(backend.partial(PATH, scratch=tmp_path / "scratch", size=len(CONTENT))) as writer:
        assert isinstance(writer, SentInParts)
        (link,) = writer.presigned([1], expires_in=timedelta(minutes=1)) or []
        client = s3_server.client()
        bucket, key = httpx.URL(link.url).path.lstrip("/").split("/", 1)
        client.upload_part(
            Bucket=bucket, Key=key, UploadId=httpx.URL(link.url).params["uploadId"], PartNumber=1, Body=b"short"
        )
        assert writer.offset() == 0
        with pytest.raises(TransferConflict, match="5 bytes"):
            writer.check_parts([])
        writer.append(0, pieces(CONTENT))
        writer.finish(len(CONTENT))
    assert read(backend) == CONTENT
