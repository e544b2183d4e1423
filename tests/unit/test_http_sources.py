"""Documents over HTTP: one GET is the document, a status says whether it may pass, redirects stay where they may."""

from __future__ import annotations

import base64
import gzip
import io
import logging
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from zipfile import ZipFile

import pytest

from blocks.errors import InvalidSettings, SourceNotFound, SourceRefused, StorageUnavailable, TooLarge, WaybillError
from tasks.sources import SourceAccess, SourceReader, expand
from tests.http_server import Answer, DocumentServer, running_document_server

BODY = bytes(range(256)) * 100
LIMIT = 2**20


@pytest.fixture(scope="module")
def server() -> Iterator[DocumentServer]:
    with running_document_server() as server:
        yield server


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SourceReader]:
    """One for all tests: reading the certificates takes a tenth of a second."""
    with SourceReader(SourceAccess(), scratch=tmp_path_factory.mktemp("scratch"), max_file_bytes=LIMIT) as reader:
        yield reader


def read(url: str, reader: SourceReader) -> bytes:
    (source,) = expand([url], reader)
    if source.error is not None:
        raise source.error
    assert source.remote is not None
    return b"".join(reader.read(source.remote))


# The document is what is sent -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        Answer(BODY),
        Answer(BODY, sized=False),
        Answer(b"5\r\n" + BODY[:5] + b"\r\n0\r\n\r\n", headers={"Transfer-Encoding": "chunked"}, sized=False),
        Answer(BODY, headers={"Content-Disposition": "attachment; filename=../../evil.sh", "Accept-Ranges": "bytes"}),
        Answer(BODY + b"more than announced", headers={"Content-Length": str(len(BODY))}),
        Answer(gzip.compress(BODY[:500]) + gzip.compress(BODY[500:]), headers={"Content-Encoding": "gzip"}),
        Answer(b""),
    ],
)
def test_one_get_is_the_document(server: DocumentServer, reader: SourceReader, answer: Answer) -> None:
    server.requests.clear()
    found = read(server.answer("/docs/a%20b.pdf", answer) + "?page=/1#top", reader)
    chunked = "Transfer-Encoding" in answer.headers
    assert found == (BODY[:5] if chunked else answer.body and BODY)
    ((line, headers),) = server.requests
    assert line == "GET /docs/a%20b.pdf?page=/1"
    assert headers["accept-encoding"] == "identity" and "range" not in headers


def test_what_head_and_other_requests_say_does_not_matter(server: DocumentServer, reader: SourceReader) -> None:
    grown = [Answer(BODY[: 1000 * number], headers={"ETag": f'"{number}"'}) for number in (1, 2)]
    url = server.answer("/growing.md", *grown)
    assert [len(read(url, reader)) for _ in range(2)] == [1000, 2000]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(BODY, headers={"Content-Length": str(len(BODY) + 1)}),
        Answer(b"5\r\nhello\r\n", headers={"Transfer-Encoding": "chunked"}, sized=False),
        Answer(gzip.compress(BODY)[:-9], headers={"Content-Encoding": "gzip"}),
        Answer(BODY, headers={"Content-Encoding": "gzip"}),
    ],
)
def test_a_body_that_was_cut_is_no_document(server: DocumentServer, reader: SourceReader, answer: Answer) -> None:
    with pytest.raises(StorageUnavailable):
        read(server.answer("/cut.pdf", answer), reader)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(BODY, headers={"Content-Encoding": "br"}), "another encoding"),
        (Answer(BODY[:9], status=206, headers={"Content-Range": "bytes 0-8/25600"}), "a part of it"),
        (Answer(status=204), "no content"),
        (Answer(status=304), "no content"),
    ],
)
def test_an_answer_that_is_not_the_whole_document_is_refused(
    server: DocumentServer, reader: SourceReader, answer: Answer, words: str
) -> None:
    with pytest.raises(SourceNotFound, match=words):
        read(server.answer("/part.pdf", answer), reader)


def test_the_name_is_that_of_the_url(server: DocumentServer, reader: SourceReader) -> None:
    named = {"/a%20b.pdf?x=/y.md": "a b.pdf", "/in/x%2Fy.md": "y.md", "/in/": "in", "/%2e%2e/x.md": "x.md"}
    assert [source.name for source in expand([server.address + path for path in named], reader)] == list(named.values())


def test_a_bomb_is_stopped_at_the_limit(server: DocumentServer, reader: SourceReader) -> None:
    url = server.answer("/bomb.zip", Answer(gzip.compress(bytes(64 * LIMIT)), headers={"Content-Encoding": "gzip"}))
    with pytest.raises(TooLarge, match="WAYBILL_MAX_FILE_MIB"):
        read(f"zip://*::{url}", reader)


# What may pass and what stays -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520])
def test_a_busy_server_may_be_free_later(server: DocumentServer, reader: SourceReader, status: int) -> None:
    url = server.answer("/busy.pdf", Answer(status=status), Answer(BODY))
    with pytest.raises(StorageUnavailable, match=str(status)):
        read(url, reader)
    assert read(url, reader) == BODY


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "there is nothing at"),
        (410, "there is nothing at"),
        (400, "does not accept the request"),
        (401, "wants credentials"),
        (403, "does not permit"),
        (405, "refuses it"),
        (451, "legal"),
    ],
)
def test_a_refusal_stays_and_is_called_what_it_is(
    server: DocumentServer, reader: SourceReader, status: int, words: str
) -> None:
    url = server.answer("/refused.pdf", Answer(status=status, headers={"Retry-After": "1"}))
    with pytest.raises(SourceNotFound, match=words) as caught:
        read(url, reader)
    assert ("nothing" in str(caught.value)) == (status in {404, 410})


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 7),
        (format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True), 100, 120),
        ("86400", 120, 120),
        ("soon", 0, 0),
    ],
    ids=["seconds", "date", "a day", "no time"],
)
def test_a_pause_that_the_server_asks_for_is_kept_within_bounds(
    server: DocumentServer, reader: SourceReader, value: str, least: float, most: float
) -> None:
    url = server.answer("/later.pdf", Answer(status=503, headers={"Retry-After": value}))
    with pytest.raises(StorageUnavailable) as caught:
        read(url, reader)
    assert least <= caught.value.context["retry_after_seconds"] <= most


def test_a_connection_that_is_refused_or_broken_may_come_back(reader: SourceReader) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(StorageUnavailable, match="the connection was refused"):
        read(f"http://127.0.0.1:{port}/x.pdf", reader)


def test_a_name_that_dns_does_not_know_now_may_come_back(reader: SourceReader, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(StorageUnavailable, match="DNS"):
        read("http://files.example.org/x.pdf", reader)


@pytest.mark.parametrize("url", ["http://", "https:///x.pdf", "http://[::1/x.pdf", "http://127.0.0.1:port/x.pdf"])
def test_what_is_no_url_is_refused(reader: SourceReader, url: str) -> None:
    with pytest.raises((SourceNotFound, SourceRefused)):
        read(url, reader)


def test_passwords_are_used_and_not_shown(
    server: DocumentServer, reader: SourceReader, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    url = server.answer("/locked.pdf", Answer(status=403)).replace("http://", "http://me:hunter2@") + "?token=hunter3"
    server.requests.clear()
    with pytest.raises(SourceNotFound) as caught:
        read(url, reader)
    assert "hunter" not in str(caught.value) and "hunter2" not in caplog.text
    assert server.requests[0][1]["authorization"] == f"Basic {base64.b64encode(b'me:hunter2').decode()}"


def test_a_password_does_not_follow_a_redirect_to_another_host(server: DocumentServer, reader: SourceReader) -> None:
    server.answer("/there.pdf", Answer(BODY))
    server.answer("/same.pdf", Answer(status=302, headers={"Location": "/there.pdf"}))
    other = server.address.replace("127.0.0.1", "localhost")
    server.answer("/other.pdf", Answer(status=302, headers={"Location": f"{other}/there.pdf"}))
    server.requests.clear()
    for path in ("/same.pdf", "/other.pdf"):
        assert read(server.address.replace("//", "//me:p%40ss@") + path, reader) == BODY
    assert ["authorization" in headers for _, headers in server.requests] == [True, True, True, False]


# Where a redirect leads -----------------------------------------------------------------------------------------------


def redirect(to: str, status: int = 302) -> Answer:
    return Answer(status=status, headers={"Location": to})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server: DocumentServer, reader: SourceReader, status: int) -> None:
    server.answer("/there.pdf", Answer(BODY))
    assert read(server.answer("/here.pdf", redirect("/there.pdf", status)), reader) == BODY


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "/here.pdf", "http://[", "gopher://x/y"])
def test_a_redirect_to_nowhere_ends(server: DocumentServer, reader: SourceReader, to: str) -> None:
    with pytest.raises(WaybillError) as caught:
        read(server.answer("/here.pdf", redirect(to)), reader)
    assert "root:" not in str(caught.value)


def test_each_hop_must_be_permitted(server: DocumentServer, tmp_path: Path) -> None:
    other = server.address.replace("127.0.0.1", "localhost")
    server.answer("/there.pdf", Answer(BODY))
    with SourceReader(SourceAccess(allowed=[server.address]), scratch=tmp_path, max_file_bytes=LIMIT) as reader:
        assert read(server.answer("/a.pdf", redirect("/there.pdf")), reader) == BODY
        for url in (
            server.answer("/b.pdf", redirect(f"{other}/there.pdf")),
            server.answer("/c.pdf", redirect("/b.pdf")),
            f"{other}/there.pdf",
            f"zip://*::{other}/there.pdf",
            f"simplecache::{other}/there.pdf",
        ):
            with pytest.raises(SourceRefused, match="WAYBILL_ALLOWED_SOURCES"):
                read(url, reader)


# Archives and proxies -------------------------------------------------------------------------------------------------


def test_an_archive_is_fetched_once(server: DocumentServer, reader: SourceReader) -> None:
    inner, outer = io.BytesIO(), io.BytesIO()
    with ZipFile(inner, "w") as archive:
        archive.writestr("x.md", "deep")
    with ZipFile(outer, "w") as archive:
        for number in range(3):
            archive.writestr(f"docs/{number}.md", f"text {number}")
        archive.writestr("inner.zip", inner.getvalue())
    url = server.answer("/a.zip", Answer(outer.getvalue()))
    server.requests.clear()
    sources = expand([f"zip://docs/*.md::simplecache::{url}", f"zip://x.md::zip://inner.zip::{url}"], reader)
    found = [b"".join(reader.read(source.remote)) for source in sources if source.remote]
    assert found == [b"text 0", b"text 1", b"text 2", b"deep"]
    assert [source.name for source in sources] == ["0.md", "1.md", "2.md", "x.md"]
    assert len(server.requests) <= 2, "by its own URL and behind a cache"


def test_a_damaged_archive_says_so(server: DocumentServer, reader: SourceReader) -> None:
    with pytest.raises(SourceNotFound, match="no sound zip archive"):
        read(f"zip://x.md::{server.answer('/damaged.zip', Answer(BODY))}", reader)


def test_loopback_is_never_asked_through_a_proxy(
    server: DocumentServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.answer("/a.pdf", Answer(BODY))
    with SourceReader(SourceAccess(), scratch=tmp_path, max_file_bytes=LIMIT) as reader:
        for host in ("127.0.0.1", "localhost"):
            assert read(f"{server.address.replace('127.0.0.1', host)}/a.pdf", reader) == BODY
        with pytest.raises(StorageUnavailable, match="refused"):
            read("http://files.example.org/a.pdf", reader)


def test_a_proxy_that_is_no_url_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "HTTP_PROXY": "nonsense://x"})
    with (
        SourceReader(SourceAccess(), scratch=tmp_path, max_file_bytes=1) as reader,
        pytest.raises(InvalidSettings, match="HTTP_PROXY"),
    ):
        read("http://127.0.0.1:1/x", reader)
