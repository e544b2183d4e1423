"""Documents that a driver of fsspec reads: paths are plain, and its exceptions say whether a failure may pass.

The errors are those that paramiko, ftplib and HTTP drivers raise, from a driver made for the test: it needs no server.
"""

from __future__ import annotations

import errno
import io
import socket
import ssl
from collections.abc import Iterator
from ftplib import error_perm, error_temp
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec import AbstractFileSystem

from blocks.errors import InvalidSettings, SourceNotFound, StorageUnavailable, WaybillError
from blocks.storage import open_backend
from tasks.sources import SourceAccess, SourceReader, expand


class SSHException(Exception):
    """paramiko's root."""


class AuthenticationException(SSHException):
    """paramiko's."""


class Answered(Exception):
    """An HTTP driver's; gcsfs has `code`, aiohttp `status`, Azure `status_code`."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status_code = status


class Fake(AbstractFileSystem):
    """Files in a dictionary; `failures` are raised one after the other by whatever is called."""

    protocol = "fake"
    files: ClassVar[dict[str, bytes]] = {}
    failures: ClassVar[list[Exception]] = []
    connections: ClassVar[int] = 0
    said_size: ClassVar[int | None] = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        Fake.connections += 1
        self.broken = False

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        self._fail()
        entries = [
            {"name": name, "size": len(content), "type": "file"}
            for name, content in self.files.items()
            if name.startswith(path.rstrip("/") + "/") or name == path
        ]
        if not entries:
            raise FileNotFoundError(path)
        return entries if detail else [entry["name"] for entry in entries]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        self._fail()
        if path in self.files:
            size = len(self.files[path]) if self.said_size is None else self.said_size
            return {"name": path, "size": size, "type": "file"}
        if any(name.startswith(f"{path}/") for name in self.files):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        self._fail()
        if path not in self.files:
            raise FileNotFoundError(path)
        return io.BytesIO(self.files[path])

    def _fail(self) -> None:
        if self.broken:
            raise EOFError("this connection has ended")
        if self.failures:
            self.broken = True
            raise self.failures.pop(0)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    fsspec.register_implementation("fake", Fake, clobber=True)
    fsspec.register_implementation("sftp", Fake, clobber=True)
    for name, value in {"files": {}, "failures": [], "connections": 0, "said_size": None}.items():
        monkeypatch.setattr(Fake, name, value)
    monkeypatch.setattr("tasks.sources.remote._LISTING_PAUSES_SECONDS", (0.0, 0.0))
    return Fake


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[SourceReader]:
    with SourceReader(SourceAccess(), scratch=tmp_path, max_file_bytes=2**20) as reader:
        yield reader


def read(reader: SourceReader, *sources: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for source in expand(sources, reader):
        if source.error is not None:
            raise source.error
        assert source.remote is not None
        found[source.text] = b"".join(reader.read(source.remote))
    return found


PASSING = [
    SSHException("Server connection dropped"),
    EOFError(),
    ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    TimeoutError(),
    socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    ssl.SSLEOFError(1, "EOF occurred in violation of protocol"),
    OSError(errno.EIO, "Input/output error"),
    OSError("Failure"),  # what SFTP says when it has no word for it
    error_temp("421 too many connections"),  # noqa: S321 - only its class
    Answered(503),
    Answered(429),
]
LASTING = [
    (AuthenticationException("Authentication failed."), "does not accept the credentials"),
    (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
    (IsADirectoryError("it is a folder"), "it is a folder"),
    (error_perm("530 Login incorrect"), "the server refuses it"),  # noqa: S321 - only its class
    (ssl.SSLCertVerificationError(1, "certificate verify failed"), "certificate"),
    (Answered(403), "does not permit"),
    (Answered(401), "wants credentials"),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_a_connection_that_broke_is_replaced(reader: SourceReader, fake: type[Fake], error: Exception) -> None:
    fake.files["/in/a.md"] = b"content"
    (source,) = expand(["fake:///in/a.md"], reader)
    assert source.remote is not None
    fake.failures.append(error)
    with pytest.raises(StorageUnavailable):
        b"".join(reader.read(source.remote))
    assert b"".join(reader.read(source.remote)) == b"content"
    assert fake.connections == 2


@pytest.mark.parametrize(("error", "words"), LASTING, ids=lambda value: type(value).__name__)
def test_a_refusal_stays(reader: SourceReader, fake: type[Fake], error: Exception, words: str) -> None:
    fake.files["/in/a.md"] = b"content"
    (source,) = expand(["fake:///in/a.md"], reader)
    assert source.remote is not None
    fake.failures.append(error)
    with pytest.raises(SourceNotFound, match=words) as caught:
        b"".join(reader.read(source.remote))
    assert "nothing" not in str(caught.value)


def test_a_missing_file_is_called_missing(reader: SourceReader) -> None:
    with pytest.raises(SourceNotFound, match="there is nothing at fake"):
        read(reader, "fake:///in/a.md")


def test_a_listing_that_fails_for_a_moment_is_repeated(reader: SourceReader, fake: type[Fake]) -> None:
    fake.files |= {"/in/a.md": b"a", "/in/b.md": b"b"}
    fake.failures.append(ConnectionResetError())
    assert read(reader, "fake:///in") == {"fake:///in/a.md": b"a", "fake:///in/b.md": b"b"}
    fake.failures += [ConnectionResetError() for _ in range(9)]
    (source, _) = expand(["fake:///in/*.md", "memory://elsewhere"], reader)
    assert isinstance(source.error, StorageUnavailable), "it fails by itself, and not as a file that is not there"


def test_a_listing_is_whole_or_fails(reader: SourceReader, fake: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    fake.files |= {"/in/a.md": b"a", "/in/sub/b.md": b"b"}
    monkeypatch.setattr("tasks.sources.remote._LISTING_PAUSES_SECONDS", ())
    ls, calls = fake.ls, 0

    def second_fails(self: Fake, path: str, detail: bool = True, **more: Any) -> list[Any]:
        nonlocal calls
        calls += 1
        if calls == 1:
            return [
                {"name": "/in/a.md", "size": 1, "type": "file"},
                {"name": "/in/sub", "size": 0, "type": "directory"},
            ]
        self.broken = True
        return ls(self, path, detail, **more)

    monkeypatch.setattr(fake, "ls", second_fails)
    (source,) = expand(["fake:///in"], reader)
    assert isinstance(source.error, StorageUnavailable)


def test_a_file_of_another_size_than_the_server_says_was_cut_or_is_growing(
    reader: SourceReader, fake: type[Fake]
) -> None:
    fake.files["/in/a.md"] = b"content"
    fake.said_size = 8
    with pytest.raises(StorageUnavailable, match="cut, or changed"):
        read(reader, "fake:///in/a.md")


def test_paths_on_a_server_are_plain(reader: SourceReader, fake: type[Fake]) -> None:
    odd = ["what?.md", "hash#tag.md", "a::b.md", "%41.md", "odd[1].md", "{x}+ y.md", "café.md"]
    fake.files |= {f"/in/{name}": name.encode() for name in odd}
    expected = {f"sftp://me@host/in/{name}": name.encode() for name in odd}
    assert read(reader, "sftp://me:word@host/in") == expected
    assert read(reader, *(url.replace("me@", "me:word@") for url in expected)) == expected


def test_markers_on_a_server_are_no_documents(reader: SourceReader, fake: type[Fake]) -> None:
    fake.files |= {"/in/": b"", "/in/sub": b"", "/in/sub/x.md": b"x", "/in/y_$folder$": b"", "/in/zero.md": b""}
    fake.files |= {"/in/sub/_SUCCESS": b""}
    assert read(reader, "fake:///in") == {"fake:///in/sub/x.md": b"x", "fake:///in/zero.md": b""}


@pytest.mark.parametrize("error", [*PASSING, *(error for error, _ in LASTING)], ids=lambda error: type(error).__name__)
def test_a_storage_tells_them_apart_as_well(fake: type[Fake], error: Exception) -> None:
    backend = open_backend("fake:///store")
    fake.failures += [error, error]  # an operation is repeated with a fresh connection
    passing = any(error is one for one in PASSING)
    kind: type[WaybillError] = StorageUnavailable if passing else InvalidSettings
    with pytest.raises(kind):
        backend.size("uploads/3f/3f2a")
