"""One suite for every storage back end: whole or not at all, exactly one winner, nothing outside the root.

The local back end is tested a second time on a file system without hard links, which here is `os.link` that refuses.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any, ClassVar
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from blocks.errors import (
    BlobMissing,
    ContentMismatch,
    InvalidSettings,
    KeyExists,
    StorageUnavailable,
    UnsafeKey,
)
from blocks.storage import CHUNK_BYTES, Backend, Expected, open_backend, read_chunks
from blocks.storage import local as local_backend
from blocks.storage.fsspec_backend import FsspecBackend
from tests.contract.conftest import refuse_link
from tests.s3 import S3Server
from tests.stack_driver import PATIENCE_SECONDS
from tests.unit.test_storage_keys import HOSTILE_KEYS

MIB = 2**20
KEY = "outputs/3f/3f2a"


@pytest.fixture
def local(tmp_path: Path) -> Backend:
    return open_backend(str(tmp_path / "store"))


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    try:
        yield os.umask
    finally:
        os.umask(before)


def tree(folder: Path) -> dict[str, str]:
    """Every entry below *folder*, links not followed, with its content."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            content = f"-> {path.readlink()}"
        else:
            content = path.read_bytes().hex() if stat.S_ISREG(mode) else stat.filemode(mode)
        found[str(path.relative_to(folder))] = content
    return found


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def read(backend: Backend, key: str) -> bytes:
    with backend.open(key) as stream:
        return b"".join(read_chunks(stream))


def nothing_stays(backend: Backend, key: str = KEY) -> None:
    assert list(backend.paths()) == []
    assert list(backend.leftovers()) == []
    with pytest.raises(BlobMissing):
        backend.open(key)


# In and out -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_what_is_published_is_read_back(backend: Backend, size: int) -> None:
    content = os.urandom(size)
    pieces = [content[start : start + 300_000] for start in range(0, size, 300_000)]
    blob = backend.publish(KEY, pieces)
    assert (blob.size, blob.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert read(backend, KEY) == content
    assert list(backend.paths()) == [KEY]
    assert list(backend.leftovers()) == []


def test_two_readers_of_one_blob_do_not_disturb_each_other(backend: Backend) -> None:
    backend.publish(KEY, [b"0123456789"])
    with backend.open(KEY) as first, backend.open(KEY) as second:
        assert first.read(4) == b"0123"
        assert second.read(4) == b"0123"
        assert first.read() == b"456789"
        second.seek(8)
        assert second.read() == b"89"


def test_a_reader_that_has_begun_finishes_although_the_blob_is_deleted(backend: Backend) -> None:
    backend.publish(KEY, [b"0123456789"])
    with backend.open(KEY) as stream:
        assert stream.read(2) == b"01"
        backend.delete(KEY)
        assert stream.read() == b"23456789"


def test_keys_lists_every_blob_below_a_folder(backend: Backend) -> None:
    keys = {f"{folder}/{number:02x}/blob" for folder in ("outputs", "uploads", "outputs2") for number in range(10)}
    for key in keys:
        backend.publish(key, [b"x"])
    assert set(backend.paths()) == keys
    assert set(backend.paths("outputs")) == {key for key in keys if key.startswith("outputs/")}
    assert set(backend.paths("outputs/")) == set(backend.paths("outputs"))
    assert list(backend.paths("outputs/00")) == ["outputs/00/blob"]
    assert list(backend.paths("exports")) == []


def test_a_store_that_was_never_written_to_is_empty(backend: Backend) -> None:
    nothing_stays(backend)
    assert backend.delete(KEY) is False
    assert backend.delete(KEY, interrupted=True) is False


def test_deleting_again_is_told_and_harmless(backend: Backend) -> None:
    backend.publish(KEY, [b"x"])
    assert backend.delete(KEY) is True
    assert backend.delete(KEY) is False
    nothing_stays(backend)


def test_a_location_is_told_to_people(backend: Backend) -> None:
    location = backend.locate(KEY)
    assert location.endswith(f"/{KEY}")
    assert location.startswith(("/", "memory://", "s3://"))


def test_replace_puts_the_new_blob_in_the_place_of_the_old(backend: Backend) -> None:
    backend.publish(KEY, [b"old and longer"], replace=True)
    backend.publish(KEY, [b"new"], replace=True)
    assert read(backend, KEY) == b"new"
    assert list(backend.paths()) == [KEY]


def test_a_size_is_told_without_reading(backend: Backend) -> None:
    for size in (0, 1, 3 * CHUNK_BYTES + 1):
        backend.publish(f"outputs/{size}", [bytes(size)])
        assert backend.size(f"outputs/{size}") == size
    with pytest.raises(BlobMissing):
        backend.size(KEY)


def test_a_reader_can_go_to_any_byte(backend: Backend) -> None:
    content = os.urandom(3 * CHUNK_BYTES + 17)
    backend.publish(KEY, [content])
    with backend.open(KEY) as stream:
        assert stream.seekable()
        for position, length in ((0, 5), (len(content) - 17, 100), (700_000, 2_000_000), (1, 1), (len(content), 1)):
            assert stream.seek(position) == position
            assert stream.read(length) == content[position : position + length]
        assert stream.seek(-3, os.SEEK_END) == stream.tell() == len(content) - 3
        assert stream.read() == content[-3:]
        assert stream.seek(len(content) + 5) == len(content) + 5
        assert stream.read() == b""


def test_a_key_may_hold_any_printable_character(backend: Backend, subtests: pytest.Subtests) -> None:
    for key in ["outputs/Ü b.txt", "outputs/100%41", "outputs/a?b=c&d#e+f", "outputs/'\"<>", "a/文書"]:
        with subtests.test(key=key):
            backend.publish(key, [b"x"])
            assert list(backend.paths()) == [key]
            assert (read(backend, key), backend.size(key)) == (b"x", 1)
            assert backend.delete(key, interrupted=True) is True
            assert list(backend.paths()) == []


def test_what_is_left_over_can_be_removed_without_the_blob(backend: Backend) -> None:
    backend.publish(KEY, [b"stays"])
    assert backend.abort(KEY) == 0
    assert backend.abort("outputs/never/written") == 0
    assert read(backend, KEY) == b"stays"


def test_a_url_for_others_is_made_only_where_the_storage_has_such(backend: Backend) -> None:
    url = backend.presign(KEY, expires_in=timedelta(minutes=1), filename="x.txt", media_type="text/plain")
    assert (url is not None) == backend.locate(KEY).startswith("s3://")


# Many together --------------------------------------------------------------------------------------------------------


def test_many_are_deleted_in_one_call_and_those_that_are_not_there_are_no_failure(backend: Backend) -> None:
    missing = [f"outputs/{number % 256:02x}/{number:032x}" for number in range(1000)]
    stored = ["outputs/00/first", "uploads/ff/last.waybill", "at-the-root", "outputs/Ü &<>\"' b", "outputs/\uffff"]
    for path in [*stored, "outputs/00/stays"]:
        backend.publish(path, [b"x"])
    assert backend.delete_many([*stored[:2], *missing, *stored[2:], stored[0]]) == {}
    assert list(backend.paths()) == ["outputs/00/stays"]
    assert backend.delete_many(stored) == {}
    assert backend.delete_many([]) == {}


def test_what_is_no_path_is_reported_and_the_others_are_deleted(backend: Backend, subtests: pytest.Subtests) -> None:
    backend.publish(KEY, [b"x"])
    failed = backend.delete_many([*HOSTILE_KEYS.values(), KEY])
    assert set(failed) == set(HOSTILE_KEYS.values())
    nothing_stays(backend)


def test_a_store_that_was_never_written_to_has_nothing_to_delete_or_to_list(backend: Backend) -> None:
    assert backend.delete_many([KEY, "outputs/3f/other"]) == {}
    assert list(backend.objects()) == list(backend.objects("outputs")) == []


def test_objects_have_a_size_and_an_age_and_those_of_a_folder_come_together(backend: Backend) -> None:
    paths = [f"{folder}/{name}" for folder in ("outputs/3f", "outputs/40", "uploads/3f") for name in "ab"]
    for size, path in enumerate(reversed(paths)):
        backend.publish(path, [bytes(size)])
    found = list(backend.objects())
    assert {one.path: one.size for one in found} == {path: size for size, path in enumerate(reversed(paths))}
    folders = [one.path.rpartition("/")[0] for one in found]
    assert [one.path[-1] for one in found] == ["a", "b"] * 3 and folders[::2] == folders[1::2]
    for one in found:
        assert one.modified_at is not None and one.age is not None
        assert timedelta(0) <= one.age < timedelta(hours=1)
        assert abs(datetime.now(UTC) - one.modified_at) < timedelta(hours=1)
    assert {one.path for one in backend.objects("outputs/3f")} == set(paths[:2])


def test_of_many_the_one_that_cannot_be_deleted_is_reported(local: Backend, tmp_path: Path) -> None:
    paths = [f"outputs/{number % 3:02x}/{number:03}" for number in range(300)]
    for path in paths:
        local.publish(path, [b"x"])
    store = tmp_path / "store"
    (store / "outputs/01/folder").mkdir()
    (store / "outputs/04").symlink_to(store / "outputs/02")
    (store / "outputs/05").write_bytes(b"foreign")
    odd = ["outputs/01/folder", "outputs/04/002", "outputs/05/x"]
    failed = local.delete_many([paths[0], *odd, *paths[1:-1]])
    assert set(failed) == set(odd)
    assert all(reason.startswith(f"cannot delete {path}: ") for path, reason in failed.items())
    assert set(local.paths()) == {"outputs/02/299", "outputs/05"}


def test_a_folder_in_the_place_of_a_blob_is_told_from_an_outage(tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    for backend in (open_backend(str(tmp_path)), FsspecBackend(f"file://{tmp_path}", {})):
        with pytest.raises(UnsafeKey, match="cannot delete outputs: "):
            backend.delete("outputs")


def test_each_folder_is_synced_once_however_many_go(local: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [f"outputs/{number % 150:02x}/{number:03}" for number in range(450)]
    for path in paths:
        local.publish(path, [b"x"])
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    assert local.delete_many(paths) == {}
    assert len(synced) == len(set(synced)) == 150
    # Other descriptors of the process may close at any time: what an earlier test left is collected now and then.
    assert not set(synced) & {one.resolve() for one in Path("/proc/self/fd").iterdir()}


def test_a_folder_whose_sync_fails_is_reported_with_all_its_blobs(
    local: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ["outputs/00/a", "outputs/00/b", "outputs/01/c"]
    for path in paths:
        local.publish(path, [b"x"])
    sync = os.fsync

    def failing(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "00":
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        assert set(local.delete_many(paths)) == set(paths[:2])
    assert local.delete_many(paths) == {}


def test_a_file_system_that_became_read_only_raises(local: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    local.publish(KEY, [b"x"])

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "unlink", refuse)
    with pytest.raises(InvalidSettings, match="Read-only"):
        local.delete_many([KEY, "outputs/3f/other"])


def test_a_storage_of_another_driver_that_is_away_is_not_asked_for_each_path(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_backend(f"memory://{uuid4().hex}")
    backend.publish("outputs/one", [b"x"])
    backend.publish("outputs/two", [b"x"])
    asked: list[str] = []

    def away(_: object, path: str) -> None:
        asked.append(path)
        raise EOFError("the connection has ended")

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "rm_file", away)
        with pytest.raises(StorageUnavailable):
            backend.delete_many([f"outputs/{number}" for number in range(1000)])
    assert len(asked) < 10
    removed = MemoryFileSystem.rm_file

    def refused(self: MemoryFileSystem, path: str) -> None:
        if path.endswith("one"):
            raise PermissionError(errno.EACCES, "Permission denied")
        removed(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "rm_file", refused)
        assert list(backend.delete_many(["outputs/one", "outputs/two"])) == ["outputs/one"]
    assert list(backend.paths()) == ["outputs/one"]


# Whole or not at all --------------------------------------------------------------------------------------------------


def test_an_error_after_any_mib_leaves_nothing(backend: Backend, subtests: pytest.Subtests) -> None:
    class SourceBroke(Exception):
        pass

    for after_mib in range(21):
        with subtests.test(after_mib=after_mib):

            def chunks(after_mib: int = after_mib) -> Iterator[bytes]:
                yield from [bytes(MIB)] * after_mib
                raise SourceBroke

            with pytest.raises(SourceBroke):
                backend.publish(KEY, chunks(), expected=Expected(size=20 * MIB))
            nothing_stays(backend)


def test_an_error_of_the_source_is_not_taken_for_one_of_the_storage(
    backend: Backend, subtests: pytest.Subtests
) -> None:
    for error in [FileNotFoundError(2, "gone"), FileExistsError(17, "there"), OSError(5, "I/O error")]:
        with subtests.test(error=error):

            def chunks(error: OSError = error) -> Iterator[bytes]:
                yield b"first"
                raise error

            with pytest.raises(OSError) as caught:
                backend.publish(KEY, chunks())
            assert caught.value is error
            nothing_stays(backend)


def test_content_that_is_not_what_was_declared_is_refused(backend: Backend, subtests: pytest.Subtests) -> None:
    for expected in [
        Expected(size=9),
        Expected(size=11),
        Expected(size=0),
        Expected(sha256="0" * 64),
        Expected(size=10, sha256=hashlib.sha256(b"012345678x").hexdigest()),
        Expected(size=11, sha256=hashlib.sha256(b"0123456789").hexdigest()),
    ]:
        with subtests.test(expected=expected):
            with pytest.raises(ContentMismatch):
                backend.publish(KEY, [b"01234", b"56789"], expected=expected)
            nothing_stays(backend)


def test_content_that_is_what_was_declared_is_stored(backend: Backend) -> None:
    expected = Expected(size=10, sha256=hashlib.sha256(b"0123456789").hexdigest())
    assert backend.publish(KEY, [b"01234", b"56789"], expected=expected).size == 10


def test_a_key_that_failed_can_be_written_again(backend: Backend) -> None:
    with pytest.raises(ContentMismatch):
        backend.publish(KEY, [b"short"], expected=Expected(size=10))
    backend.publish(KEY, [b"right"])
    assert read(backend, KEY) == b"right"


def test_a_replacement_that_fails_keeps_the_earlier_blob(local: Backend) -> None:
    local.publish(KEY, [b"earlier"], replace=True)
    with pytest.raises(ContentMismatch):
        local.publish(KEY, [b"later"], replace=True, expected=Expected(size=1))
    assert read(local, KEY) == b"earlier"
    assert list(local.leftovers()) == []


@pytest.mark.parametrize("failing_call", [1, 2])
def test_a_blob_that_did_not_reach_the_disk_is_not_seen(
    local: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_call: int
) -> None:
    local.publish("outputs/3f/other", [b"the folders are there"])
    calls = 0

    def failing(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing_call:  # the first is the file's, the second its folder's
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StorageUnavailable):
        local.publish(KEY, [b"content"])
    assert files(tmp_path) == ["store/outputs/3f/other"]


def test_without_links_a_rename_that_fails_gives_the_name_back(
    local: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", refuse_link)
    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(StorageUnavailable):
        local.publish(KEY, [b"content"])
    assert files(tmp_path) == []


# Two writers ----------------------------------------------------------------------------------------------------------


def test_a_key_is_never_used_twice(backend: Backend) -> None:
    backend.publish(KEY, [b"first"])
    with pytest.raises(KeyExists) as caught:
        backend.publish(KEY, [b"second"])
    assert caught.value.context == {"key": KEY}
    assert read(backend, KEY) == b"first"
    assert list(backend.leftovers()) == []


def test_of_several_threads_exactly_one_wins(backend: Backend) -> None:
    writers = 4
    with ThreadPoolExecutor(writers) as pool:
        for number in range(25):
            key = f"outputs/{number:02x}/blob"
            start = Barrier(writers)

            def write(writer: int, key: str = key, start: Barrier = start) -> str:
                start.wait()
                try:
                    backend.publish(key, [f"{writer}".encode() * 1000] * 3)
                except KeyExists:
                    return "lost"
                return f"{writer}"

            outcomes = list(pool.map(write, range(writers)))
            winners = [outcome for outcome in outcomes if outcome != "lost"]
            assert len(winners) == 1
            assert read(backend, key) == winners[0].encode() * 3000
    assert list(backend.leftovers()) == []


def test_a_late_loser_does_not_take_the_winners_blob_away(backend: Backend) -> None:
    """The second writer begins while the first is still writing, and fails when it ends."""

    def chunks() -> Iterator[bytes]:
        yield b"first"
        with pytest.raises((KeyExists, ContentMismatch)):
            backend.publish(KEY, [b"second"], expected=Expected(size=1))
        yield b" and last"

    backend.publish(KEY, chunks())
    assert read(backend, KEY) == b"first and last"


_RACE = """
import errno, os, sys
from blocks.errors import KeyExists
from blocks.storage import open_backend
if sys.argv[3] == "without-links":
    def refuse(*_, **__): raise OSError(errno.EPERM, "Operation not permitted")
    os.link = refuse
backend = open_backend(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
won = []
for number in range(40):
    try:
        backend.publish(f"outputs/{number:02x}/blob", [sys.argv[2].encode() * 2000])
        won.append(number)
    except KeyExists:
        pass
print(*won)
"""


@pytest.mark.parametrize("links", ["with-links", "without-links"])
def test_of_several_processes_exactly_one_wins_each_key(local: Backend, tmp_path: Path, links: str) -> None:
    root = str(tmp_path / "store")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _RACE, root, name, links], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in "abc"
    ]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    outputs = {
        name: writer.communicate("go\n", timeout=PATIENCE_SECONDS)[0]
        for name, writer in zip("abc", writers, strict=True)
    }
    winner_of: dict[int, str] = {}
    for name, output in outputs.items():
        for number in map(int, output.split()):
            assert number not in winner_of, "two writers won the same key"
            winner_of[number] = name
    assert len(winner_of) == 40
    for number, name in winner_of.items():
        assert read(local, f"outputs/{number:02x}/blob") == name.encode() * 2000
    assert list(local.leftovers()) == []


# Nothing outside the root ---------------------------------------------------------------------------------------------


def test_a_hostile_key_touches_nothing(backend: Backend, tmp_path: Path, subtests: pytest.Subtests) -> None:
    (tmp_path / "outside").write_bytes(b"untouched")
    backend.publish("outputs/blob", [b"inside"])
    before = tree(tmp_path)
    for name, key in HOSTILE_KEYS.items():
        with subtests.test(name):
            for attempt in (
                partial(backend.publish, key, [b"evil"]),
                partial(backend.publish, key, [b"evil"], replace=True),
                partial(backend.open, key),
                partial(backend.delete, key),
                partial(backend.delete, key, interrupted=True),
                partial(backend.locate, key),
                partial(backend.size, key),
                partial(backend.abort, key),
                partial(backend.presign, key, expires_in=timedelta(1), filename="x", media_type="x/y"),
            ):
                with pytest.raises(UnsafeKey):
                    attempt()
            if key:
                for listing in (backend.paths, backend.objects):
                    with pytest.raises(UnsafeKey):
                        list(listing(f"{key}/x"))
            assert tree(tmp_path) == before


@pytest.mark.parametrize("place", ["outputs", "outputs/3f"])
def test_a_folder_that_is_a_link_leads_nowhere(local: Backend, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    (outside / "3f").mkdir(parents=True)
    for name in ("3f/3f2a", "3f2a", ".3f2a.0123456789abcdef.partial"):
        (outside / name).write_bytes(b"secret")
    link = tmp_path / "store" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    before = tree(tmp_path)
    for attempt in (
        lambda: local.publish(KEY, [b"evil"]),
        lambda: local.publish(KEY, [b"evil"], replace=True),
        lambda: local.publish("outputs/3f/new/blob", [b"evil"]),
        lambda: local.open(KEY),
        lambda: local.delete(KEY),
        lambda: local.delete(KEY, interrupted=True),
        lambda: list(local.paths(place)),
        lambda: list(local.leftovers(place)),
    ):
        with pytest.raises(UnsafeKey):
            attempt()
    assert list(local.paths()) == []
    assert list(local.leftovers()) == []
    assert tree(tmp_path) == before


def test_a_blob_that_is_a_link_is_neither_read_nor_written_through(local: Backend, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    blob = tmp_path / "store" / KEY
    blob.parent.mkdir(parents=True)
    blob.symlink_to(outside)
    with pytest.raises(UnsafeKey):
        local.open(KEY)
    with pytest.raises(KeyExists):
        local.publish(KEY, [b"evil"])
    assert list(local.paths()) == []
    local.publish(KEY, [b"in place of the link"], replace=True)
    assert read(local, KEY) == b"in place of the link"
    blob.unlink()
    blob.symlink_to(outside)
    local.delete(KEY)
    assert not blob.is_symlink()
    assert outside.read_bytes() == b"secret"


def test_without_links_too_a_planted_link_is_not_written_through(
    local: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refuse_link)
    blob = tmp_path / "store" / KEY
    blob.parent.mkdir(parents=True)
    blob.symlink_to(tmp_path / "outside")
    with pytest.raises(KeyExists):
        local.publish(KEY, [b"evil"])
    assert not (tmp_path / "outside").exists()


def test_a_pipe_or_folder_in_place_of_a_blob_is_refused_and_hangs_nobody(local: Backend, tmp_path: Path) -> None:
    folder = tmp_path / "store/outputs/3f"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "3f2a")
    for attempt in (local.open, local.size):
        with pytest.raises(UnsafeKey):
            attempt(KEY)
    (folder / "3f2b").mkdir()
    with pytest.raises(UnsafeKey):
        local.open("outputs/3f/3f2b")
    with pytest.raises(UnsafeKey):
        local.delete("outputs/3f/3f2b")
    assert list(local.paths()) == []


def test_a_file_in_place_of_a_folder_is_refused(local: Backend, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store/outputs").write_bytes(b"foreign")
    for attempt in (lambda: local.publish(KEY, [b"x"]), lambda: local.open(KEY), lambda: local.delete(KEY)):
        with pytest.raises(UnsafeKey):
            attempt()


def test_foreign_names_in_the_store_are_not_listed_as_keys(local: Backend, tmp_path: Path) -> None:
    local.publish(KEY, [b"x"])
    folder = os.fsencode(tmp_path / "store/outputs/3f")
    for name in (b"line\nbreak", b"\xff\xfe", b"back\\slash", b"x" * 240, b".y.0123456789abcdef.partial"):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(b"foreign")
    deep = tmp_path / "store/deep" / "/".join("d" * 40)
    deep.mkdir(parents=True)
    assert list(local.paths()) == [KEY]
    assert list(local.leftovers()) == ["outputs/3f/y"]


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    backend = open_backend(str(tmp_path / "link"))
    backend.publish(KEY, [b"x"])
    assert list(backend.paths()) == [KEY]
    assert (tmp_path / "disk" / KEY).is_file()


# Modes, leftovers, URLs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o027])
@pytest.mark.parametrize("links", [True, False])
def test_folders_are_0750_and_files_0600_whatever_the_umask(
    tmp_path: Path, umask: Callable[[int], int], monkeypatch: pytest.MonkeyPatch, mask: int, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", refuse_link)
    umask(mask)
    open_backend(str(tmp_path / "new" / "store")).publish(KEY, [b"x"])
    for path in (tmp_path / "new").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o750


def test_a_root_that_exists_keeps_its_mode_and_hands_its_group_down(local: Backend, tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    root.chmod(0o2770)
    local.publish(KEY, [b"x"])
    assert stat.S_IMODE(root.stat().st_mode) == 0o2770
    assert stat.S_IMODE((root / "outputs").stat().st_mode) == 0o2750


def test_what_a_dead_writer_left_is_found_and_removed_with_its_key(local: Backend, tmp_path: Path) -> None:
    local.publish("outputs/3f/neighbour", [b"stays"])
    folder = tmp_path / "store/outputs/3f"
    (folder / ".3f2a.0123456789abcdef.partial").write_bytes(b"half")
    (folder / ".3f2a.fedcba9876543210.partial").write_bytes(b"half again")
    (folder / ".3f2ab.0123456789abcdef.partial").write_bytes(b"of another key")
    assert sorted(local.leftovers()) == [KEY, KEY, "outputs/3f/3f2ab"]
    assert list(local.paths()) == ["outputs/3f/neighbour"]
    assert local.delete(KEY) is False
    assert len(list(local.leftovers())) == 3
    local.delete(KEY, interrupted=True)
    assert list(local.leftovers()) == ["outputs/3f/3f2ab"]
    assert files(folder) == [".3f2ab.0123456789abcdef.partial", "neighbour"]


def test_a_blob_goes_although_somebody_else_clears_up_after_its_writer(
    local: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.publish(KEY, [b"x"])
    partial = tmp_path / "store/outputs/3f/.3f2a.0123456789abcdef.partial"
    partial.write_bytes(b"half")
    listed = local_backend._blob_name_of_partial

    def gone_since(entry: str) -> str | None:
        partial.unlink(missing_ok=True)
        return listed(entry)

    monkeypatch.setattr(local_backend, "_blob_name_of_partial", gone_since)
    assert local.delete(KEY, interrupted=True) is True
    with pytest.raises(BlobMissing):
        local.open(KEY)


def test_what_is_left_over_tells_its_age(local: Backend, tmp_path: Path) -> None:
    folder = tmp_path / "store/outputs/3f"
    folder.mkdir(parents=True)
    for name, age_seconds in (("old", 7200), ("young", 60)):
        partial = folder / f".{name}.0123456789abcdef.partial"
        partial.write_bytes(b"half")
        os.utime(partial, (time.time() - age_seconds,) * 2)
    hour = timedelta(hours=1)
    assert sorted(local.leftovers()) == ["outputs/3f/old", "outputs/3f/young"]
    assert list(local.leftovers(older_than=hour)) == ["outputs/3f/old"]
    assert local.abort("outputs/3f/young", older_than=hour) == 0
    assert local.abort("outputs/3f/old", older_than=hour) == 1
    assert local.abort("outputs/3f/young") == 1
    assert files(folder) == []


def test_an_interrupted_delete_takes_the_blob_too(backend: Backend) -> None:
    backend.publish(KEY, [b"x"])
    assert backend.delete(KEY, interrupted=True) is True
    nothing_stays(backend)


@pytest.mark.parametrize("url", ["", "file://", "nosuchscheme://x", "a\x00b", "~no-such-account/x"])
def test_a_url_that_names_no_storage_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings):
        open_backend(url)


def test_options_that_a_driver_does_not_take_are_told_by_name_only() -> None:
    with pytest.raises(InvalidSettings, match="account, password") as caught:
        open_backend("reference://x", {"password": "hunter2", "account": "me"})
    assert "hunter2" not in str(caught.value)


def test_a_driver_that_connects_at_once_and_cannot_is_a_passing_condition() -> None:
    # Bound and never listening: nobody else takes the port meanwhile.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(StorageUnavailable, match="Connection refused"):
            open_backend(f"ftp://127.0.0.1:{taken.getsockname()[1]}/store")


def test_a_file_url_and_a_path_are_the_same_folder(tmp_path: Path) -> None:
    open_backend(f"file://{tmp_path}/store").publish(KEY, [b"x"])
    assert read(open_backend(str(tmp_path / "store")), KEY) == b"x"


def test_a_root_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"a file")
    with pytest.raises(UnsafeKey):
        open_backend(str(tmp_path / "store")).publish(KEY, [b"x"])


# Whether it is there --------------------------------------------------------------------------------------------------


def test_a_look_at_the_storage_says_whether_it_can_be_used_and_leaves_nothing(backend: Backend) -> None:
    backend.probe()
    nothing_stays(backend)
    backend.publish(KEY, [b"x"])
    backend.probe()
    assert list(backend.paths()) == [KEY]


def test_a_look_at_a_folder_that_cannot_be_used_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises((StorageUnavailable, InvalidSettings, UnsafeKey)):
        open_backend(str(tmp_path / "file")).probe()
    # Nothing is refused to whoever is root.
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(InvalidSettings, match="cannot be written"):
        open_backend(str(tmp_path / "not there yet")).probe()
    assert not (tmp_path / "not there yet").exists()


def test_a_look_at_a_bucket_that_is_not_there_or_a_server_that_is_away_says_so(s3_server: S3Server) -> None:
    with pytest.raises(InvalidSettings, match="no such bucket"):
        open_backend("s3://no-such-bucket-of-ours/store", s3_server.options).probe()
    wrong = {**s3_server.options, "secret": "not the secret"}
    with pytest.raises(InvalidSettings, match=r"secret key|credentials"):
        open_backend(f"s3://{s3_server.new_bucket()}/store", wrong).probe()


# A connection that ends --------------------------------------------------------------------------------------------


class Dialled(MemoryFileSystem):
    """A driver whose instance is one connection, as those of SFTP and FTP are: once it has ended, every call fails."""

    protocol = "dialled"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    connections: ClassVar[list[Dialled]] = []

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.has_ended = False
        self.connections.append(self)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.replace("dialled://", "memory://"))

    def __getattribute__(self, name: str) -> Any:
        if name in {"open", "exists", "makedirs", "find", "size", "rm_file"} and self.has_ended:
            raise EOFError("the connection has ended")
        return super().__getattribute__(name)


def test_a_folder_that_was_away_is_used_again(local: Backend, tmp_path: Path) -> None:
    local.publish(KEY, [b"content"])
    (tmp_path / "store").rename(tmp_path / "away")
    with pytest.raises((BlobMissing, StorageUnavailable)):
        read(local, KEY)
    (tmp_path / "away").rename(tmp_path / "store")
    assert read(local, KEY) == b"content"


def test_a_driver_whose_connection_has_ended_is_replaced() -> None:
    fsspec.register_implementation("dialled", Dialled, clobber=True)
    backend = open_backend("dialled://store")

    def hang_up() -> None:
        for connection in Dialled.connections:
            connection.has_ended = True

    uses: list[Callable[[], object]] = [
        lambda: backend.publish(KEY, [b"content"]),
        lambda: read(backend, KEY),
        lambda: list(backend.paths()),
        backend.probe,
        lambda: backend.delete(KEY),
    ]
    for use in uses:
        hang_up()
        use()
    assert len(Dialled.connections) == 1 + len(uses)
    nothing_stays(backend)
