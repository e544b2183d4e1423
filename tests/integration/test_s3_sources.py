"""Documents on S3: keys are plain text, markers are no documents, and failures say whether they may pass."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from fsspec.config import conf

from blocks.errors import (
    InvalidOptions,
    InvalidSettings,
    SourceNotFound,
    SourceRefused,
    StorageUnavailable,
    WaybillError,
)
from blocks.storage.s3.connection import RetryLimits
from tasks.sources import Source, SourceAccess, SourceReader, expand
from tests.s3.fault_proxy import Fault, FaultProxy, running_fault_proxy
from tests.s3.server import S3Server

ODD_KEYS = [
    "a::b.md",
    "simplecache::x.md",
    "what?.md",
    "star*.md",
    "odd[1].md",
    "hash#tag.md",
    "%41.md",
    "slash%2Fin.md",
    "plus+ and blank.md",
    " lead.md",
    "double//slash.md",
    "trailing.",
    "new\nline.md",
    unicodedata.normalize("NFC", "café.md"),
    unicodedata.normalize("NFD", "café.md"),
    "~tilde.md",
    "{brace}.md",
    "back\\slash.md",
    "s3:/other/x.md",
]


@pytest.fixture
def reader(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceReader]:
    monkeypatch.setitem(conf, "s3", s3_server.options)
    with SourceReader(SourceAccess(), scratch=tmp_path, max_file_bytes=2**20) as reader:
        yield reader


def put(server: S3Server, bucket: str, **contents: bytes) -> None:
    for key, content in contents.items():
        server.administrator.put_object(Bucket=bucket, Key=key, Body=content)


def content(reader: SourceReader, source: Source) -> bytes:
    if source.error is not None:
        raise source.error
    assert source.remote is not None
    return b"".join(reader.read(source.remote))


def listed(reader: SourceReader, *sources: str) -> dict[str, bytes]:
    return {str(source.url): content(reader, source) for source in expand(sources, reader)}


def test_what_a_folder_listing_has_found_can_be_opened(
    s3_server: S3Server, s3_bucket: str, reader: SourceReader
) -> None:
    put(s3_server, s3_bucket, **{f"in/{key}": key.encode() for key in ODD_KEYS})
    expected = {f"s3://{s3_bucket}/in/{key}": key.encode() for key in ODD_KEYS}
    for folder in (f"{s3_bucket}/in/", s3_bucket, f"{s3_bucket}/*"):
        assert {source.url for source in expand([f"s3://{folder}"], reader)} == expected.keys()
    assert listed(reader, f"s3a://{s3_bucket}/in") == {
        url.replace("s3:", "s3a:", 1): found for url, found in expected.items()
    }
    # Each is also itself when a person writes it out.
    assert listed(reader, *expected) == expected


def test_dots_and_slashes_in_keys_are_no_path(s3_server: S3Server, s3_bucket: str, reader: SourceReader) -> None:
    keys = ["/lead.md", "a/../b.md", "a/./c.md"]
    put(s3_server, s3_bucket, **{key: key.encode() for key in [*keys, "b.md"]})
    for key in keys:
        assert listed(reader, f"s3://{s3_bucket}/{key}") == {f"s3://{s3_bucket}/{key}": key.encode()}


def test_markers_are_no_documents_and_an_empty_file_is_one(
    s3_server: S3Server, s3_bucket: str, reader: SourceReader
) -> None:
    markers = ["in/", "in/empty/", "in/hadoop_$folder$", "in/swift", "only/", "only/sub/", "in_$folder$"]
    files = {"in/a.md": b"a", "in/swift/b.md": b"b", "in/zero.md": b""}
    put(s3_server, s3_bucket, **dict.fromkeys(markers, b""), **files)
    expected = {f"s3://{s3_bucket}/{key}": found for key, found in files.items()}
    assert listed(reader, f"s3://{s3_bucket}/in") == listed(reader, f"s3://{s3_bucket}/i*") == expected
    assert listed(reader, f"s3://{s3_bucket}") == expected
    for folder in ("only", "only/", "only/*", "in/empty"):
        with pytest.raises(SourceNotFound, match="has no files"):
            expand([f"s3://{s3_bucket}/{folder}"], reader)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.md", ["a.md"]),
        ("docs/*.md", ["docs/b.md"]),
        ("docs/*", ["docs/b.md", "docs/deep/c.md"]),
        ("**/*.md", ["a.md", "docs/b.md", "docs/deep/c.md"]),
        ("docs/**", ["docs/b.md", "docs/deep/c.md"]),
        ("d?cs/*/c.md", ["docs/deep/c.md"]),
        ("docs/[xb].md", ["docs/b.md"]),
    ],
)
def test_a_glob_that_a_person_gives_is_a_glob(
    s3_server: S3Server, s3_bucket: str, reader: SourceReader, pattern: str, found: list[str]
) -> None:
    put(s3_server, s3_bucket, **dict.fromkeys(["a.md", "docs/b.md", "docs/deep/c.md", "docs/.x.md", ".h/d.md"], b"x"))
    assert list(listed(reader, f"s3://{s3_bucket}/{pattern}")) == [f"s3://{s3_bucket}/{key}" for key in found]


def test_an_archive_is_read_in_its_place(
    s3_server: S3Server, s3_bucket: str, reader: SourceReader, tmp_path: Path
) -> None:
    with ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("docs/x::y.md", "one")
        archive.writestr("docs/odd[1].md", "two")
    put(s3_server, s3_bucket, **{"a::b.zip": (tmp_path / "a.zip").read_bytes()})
    chain = f"::s3://{s3_bucket}/a::b.zip"
    expected = {f"zip://docs/odd[1].md{chain}": b"two", f"zip://docs/x::y.md{chain}": b"one"}
    assert listed(reader, f"zip://docs{chain}") == listed(reader, f"zip://*/*.md{chain}") == expected


def test_a_key_of_an_allowed_prefix_only(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    allowed = SourceAccess(allowed=[f"s3://{s3_bucket}/in"])
    with SourceReader(allowed, scratch=tmp_path, max_file_bytes=1) as reader:
        for key in ("", "inner/x.md", "x.md", "*", "in*/x.md", "in/../x.md"):
            (found,) = expand([f"s3://{s3_bucket}/{key}"], reader)
            assert isinstance(found.error, SourceRefused)


@pytest.fixture
def proxy(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, reader: SourceReader) -> Iterator[FaultProxy]:
    """Between the reader and the server."""
    with running_fault_proxy(s3_server.address) as proxy:
        monkeypatch.setitem(conf, "s3", {**s3_server.options, "endpoint_url": proxy.address})
        yield proxy


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (503, "SlowDown", None, ""),
        (500, "InternalError", None, ""),
        (400, "RequestTimeout", None, ""),
        (403, "AccessDenied", InvalidSettings, "do not have the right"),
        (403, "InvalidAccessKeyId", InvalidSettings, "does not know the access key"),
        (404, "NoSuchBucket", SourceNotFound, "no such bucket"),
        (404, "NoSuchKey", SourceNotFound, "there is nothing at"),
        (403, "InvalidObjectState", InvalidSettings, "archived"),
    ],
)
def test_a_failure_says_whether_it_may_pass(
    s3_server: S3Server,
    s3_bucket: str,
    reader: SourceReader,
    proxy: FaultProxy,
    status: int,
    code: str,
    kind: type[WaybillError] | None,
    words: str,
) -> None:
    put(s3_server, s3_bucket, **{"a.md": b"content"})
    (source,) = expand([f"s3://{s3_bucket}/a.md"], reader)
    proxy.inject("GetObject", Fault(refuse_with=(status, code)), times=1 if kind is None else None)
    if kind is None:  # the call itself is repeated
        assert content(reader, source) == b"content"
        return
    with pytest.raises(kind, match=words):
        content(reader, source)


def test_a_server_that_is_gone_may_come_back(
    s3_bucket: str, reader: SourceReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(conf, "s3", {"endpoint_url": "http://127.0.0.1:1", "key": "k", "secret": "s"})
    monkeypatch.setattr("tasks.sources.remote._LISTING_PAUSES_SECONDS", ())
    monkeypatch.setattr("tasks.sources.s3_source.RETRY_LIMITS", RetryLimits(retry_seconds=0, first_pause_seconds=0))
    (source,) = expand([f"s3://{s3_bucket}/a.md"], reader)
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        content(reader, source)


@pytest.mark.parametrize("rest", ["b/x.md", "b/*.md", "b/", "b", "b/a.zip"])
@pytest.mark.parametrize("head", ["s3://", "s3a://", "zip://x.md::s3://"])
def test_a_password_in_a_url_is_refused_and_not_repeated(reader: SourceReader, head: str, rest: str) -> None:
    url = f"{head}k:SECRETPW@{rest}"
    with pytest.raises(WaybillError) as caught:
        for file in reader.listed(url):
            list(reader.read(file))
    assert "AWS_ACCESS_KEY_ID" in caught.value.message
    assert "SECRETPW" not in caught.value.message
    with pytest.raises(InvalidOptions) as refused:
        reader.versions(url)
    assert "SECRETPW" not in refused.value.message
