"""What a run may read from this machine: the permitted folders, never Waybill's own files, no link that leads out."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from blocks.errors import InvalidOptions, SourceNotFound, SourceRefused, StorageUnavailable, WaybillError
from blocks.settings import Settings
from tasks.examination import examine
from tasks.sources import Source, SourceAccess, SourceReader, check_sources, expand


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a key in it, next to a folder of documents."""
    home = tmp_path / "data"
    (home / "artifacts").mkdir(parents=True)
    (home / "storage-identity").write_text("AGE-SECRET-KEY-PQ-1")
    (home / "artifacts/blob").write_text("stored")
    (tmp_path / "docs/sub").mkdir(parents=True)
    (tmp_path / "docs/a.md").write_text("a")
    (tmp_path / "docs/sub/b.md").write_text("b")
    (tmp_path / "secret.md").write_text("secret")
    return home


@pytest.fixture
def reader(home: Path, tmp_path: Path) -> Iterator[SourceReader]:
    with reader_of(home) as reader:
        yield reader


def reader_of(home: Path, *allowed: Path | str) -> SourceReader:
    access = SourceAccess.of(Settings(home=home, allowed_sources=tuple(map(str, allowed)) if allowed else None))
    return SourceReader(access, scratch=home / "scratch", max_file_bytes=2**20)


def read(source: Source, reader: SourceReader) -> str:
    """What the run would take into custody."""
    if source.error is not None:
        raise source.error
    if source.remote is not None:
        return b"".join(reader.read(source.remote)).decode()
    assert source.path is not None
    examine(source.path, source.text, 2**20, access=reader.access, within=source.within)
    return source.path.read_text()


def outcomes(reader: SourceReader, *sources: str | Path) -> dict[str, str]:
    """By name: the content, or the type of the error."""
    found: dict[str, str] = {}
    for source in expand([str(source) for source in sources], reader):
        try:
            found[source.name] = read(source, reader)
        except WaybillError as error:
            found[source.name] = type(error).__name__
    return found


# Waybill's own files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelling",
    [
        "{home}/storage-identity",
        "{home}",
        "{home}/artifacts",
        "{home}/*",
        "{home}/artifacts/b*",
        "{docs}/../data/storage-identity",
        "{docs}/sub/../../data/./storage-identity",
        "file://{home}/storage-identity",
        "FILE://{home}/storage-identity",
        "local://{home}/storage-identity",
        "simplecache::file://{home}/storage-identity",
        "filecache::simplecache::{home}/storage-identity::file://x",
        "/proc/self/root{home}/storage-identity",
        "/proc/self/cwd/../../../../../../../../..{home}/storage-identity",
        "{docs}/link-to-key",
        "{docs}/link-to-home/storage-identity",
        "{docs}/hard-link",
        "zip://x::file://{home}/storage-identity",
        "reference://x::file://{home}/storage-identity",
    ],
)
def test_the_home_is_refused_in_every_spelling(home: Path, reader: SourceReader, spelling: str, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    (docs / "link-to-key").symlink_to(home / "storage-identity")
    (docs / "link-to-home").symlink_to(home)
    os.link(home / "storage-identity", docs / "hard-link")
    source = spelling.format(home=home, docs=docs)
    with pytest.raises(WaybillError) as caught:
        for one in expand([source], reader):
            read(one, reader)
    assert not isinstance(caught.value, StorageUnavailable)
    assert "AGE-SECRET" not in str(caught.value)
    if not source.startswith(("reference", "filecache")):
        assert isinstance(caught.value, SourceRefused) and "WAYBILL_HOME" in str(caught.value)


@pytest.mark.parametrize(
    "source", ["data://x", "DATA://text/plain,x", "simplecache::data://x", "git://x/y", "dask://x"]
)
def test_a_scheme_that_names_no_file_is_refused_for_good(reader: SourceReader, source: str) -> None:
    with pytest.raises(InvalidOptions, match="sources are not read; name the files themselves"):
        expand([source], reader)


def test_another_name_of_a_file_that_is_newer_than_the_run_is_refused(
    home: Path, reader: SourceReader, tmp_path: Path
) -> None:
    docs = tmp_path / "docs"
    os.link(home / "storage-identity", docs / "early")
    with pytest.raises(SourceRefused):
        read(*expand([str(docs / "early")], reader), reader)
    (home / "artifacts/new").write_text("written by the run itself")
    os.link(home / "artifacts/new", docs / "late")
    with pytest.raises(SourceRefused):
        read(*expand([str(docs / "late")], reader), reader)


def test_a_folder_around_the_home_is_read_without_it(home: Path, reader: SourceReader, tmp_path: Path) -> None:
    expected = {"a.md": "a", "b.md": "b", "secret.md": "secret"}
    assert (
        outcomes(reader, tmp_path)
        == outcomes(reader, f"{tmp_path}/**")
        == outcomes(reader, f"{tmp_path}/*")
        == expected
    )
    assert not outcomes(reader, f"{tmp_path}/*/*.md").keys() & {"storage-identity", "blob"}


def test_keys_and_settings_outside_of_the_home_are_refused(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = tmp_path / "docs"
    (docs / "waybill.toml").write_text("")
    (docs / "keys.txt").write_text("AGE-SECRET-KEY-PQ-1")
    monkeypatch.setenv("WAYBILL_CONFIG", str(docs / "waybill.toml"))
    access = SourceAccess.of(Settings(home=home, storage_identity_file=docs / "keys.txt"))
    with SourceReader(access, scratch=home, max_file_bytes=1) as reader:
        assert outcomes(reader, docs).keys() == {"a.md", "b.md"}
        for name in ("keys.txt", "waybill.toml"):
            assert outcomes(reader, docs / name) == {name: "SourceRefused"}


_BIND = """
import sys
from pathlib import Path
from subprocess import run
from tasks.sources import SourceAccess, open_file
home, folder, file = map(Path, sys.argv[1:])
key = "storage-identity"
for part, alias, path in (("", folder, key), ("artifacts", folder, "blob"), (key, file, "")):
    run(["mount", "--bind", home / part, alias], check=True)
    try:
        open_file(alias / path, "alias", SourceAccess(home=home))
    except Exception as error:
        print(type(error).__name__)
    else:
        print("opened")
"""


def test_a_bind_mount_is_no_way_in(home: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    command = ["unshare", "--mount", "--map-root-user", sys.executable, "-c", _BIND, home, tmp_path / "folder"]
    done = subprocess.run([*map(str, command), str(tmp_path / "file")], capture_output=True, text=True)
    if done.returncode and ("mount" in done.stderr or "unshare" in done.stderr):
        pytest.skip("this account may not mount")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["SourceRefused"] * 3


# Symbolic links -------------------------------------------------------------------------------------------------------


def test_a_link_that_leads_out_fails_by_itself(reader: SourceReader, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    (docs / "out.md").symlink_to(tmp_path / "secret.md")
    (docs / "in.md").symlink_to(docs / "sub/b.md")
    (docs / "sub/up.md").symlink_to("../../docs/a.md")
    (docs / "sub/chain.md").symlink_to(docs / "out.md")
    (docs / "outside").symlink_to(tmp_path)
    expected = {"a.md": "a", "in.md": "b", "b.md": "b", "up.md": "a"}
    refused = dict.fromkeys(("out.md", "chain.md"), "SourceRefused")
    assert outcomes(reader, docs) == outcomes(reader, f"{docs}/**/*.md") == expected | refused
    with pytest.raises(SourceNotFound):  # a wildcard follows no link to a folder
        expand([f"{docs}/*/secret.md"], reader)
    assert outcomes(reader, f"{docs}/outside/*.md") == {"secret.md": "secret"}, (
        "a folder that a person names is followed"
    )
    assert outcomes(reader, docs / "out.md") == {"out.md": "secret"}, "and so is a file"


def test_a_name_that_is_exchanged_after_the_listing_gains_nothing(reader: SourceReader, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    sources = {source.name: source for source in expand([str(docs)], reader)}
    (docs / "a.md").unlink()
    (docs / "a.md").symlink_to(tmp_path / "secret.md")
    (docs / "sub").rename(docs / "moved")
    (tmp_path / "b.md").write_text("secret")
    (docs / "sub").symlink_to(tmp_path)
    for source in sources.values():
        with pytest.raises(SourceRefused):
            read(source, reader)


# The setting ----------------------------------------------------------------------------------------------------------


def test_only_permitted_folders_are_read(home: Path, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    (tmp_path / "docs2").mkdir()
    (tmp_path / "docs2/c.md").write_text("c")
    (docs / "out.md").symlink_to(tmp_path / "secret.md")
    (tmp_path / "into").symlink_to(docs)
    with ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x.md", "x")
    with reader_of(home, docs) as reader:
        assert outcomes(reader, docs / "a.md", docs / "sub", tmp_path / "into/a.md") == {"a.md": "a", "b.md": "b"}
        outside = [tmp_path, tmp_path / "docs2/c.md", f"{docs}/../secret.md", docs / "out.md", f"{tmp_path}/*/a.md"]
        remote = [f"zip://x.md::{tmp_path}/a.zip", "https://example.invalid/x", "memory://x/y", "sftp://host/x"]
        for source in map(str, [*outside, *remote, home, "~/x"]):
            (refused,) = expand([source], reader)
            assert isinstance(refused.error, SourceRefused), source
            with pytest.raises(SourceRefused, match="WAYBILL_"):
                check_sources([source], reader)
        assert "WAYBILL_ALLOWED_SOURCES" in str(refused.error) and "allowed_sources" in str(refused.error)


@pytest.mark.parametrize(
    ("prefix", "url", "permitted"),
    [
        ("https://a.example", "https://a.example/x", True),
        ("https://a.example", "https://A.Example:443/x?y", True),
        ("https://a.example/", "https://me:word@a.example", True),
        ("https://a.example", "http://a.example/x", False),
        ("https://a.example", "https://a.example:8443/x", False),
        ("https://a.example", "https://a.example.evil.example/x", False),
        ("https://a.example", "https://a.example@evil.example/x", False),
        ("https://a.example", "https://evil.example/https://a.example/", False),
        ("https://a.example", "https://evil.example#@a.example/", False),
        ("https://a.example/docs", "https://a.example/docs/x", True),
        ("https://a.example/docs", "https://a.example/docs-2/x", False),
        ("https://a.example/docs", "https://a.example/docs/../x", False),
        ("https://a.example/docs", "https://a.example/docs/%2e%2e/x", False),
        ("s3://bucket", "s3a://bucket/x", True),
        ("s3://bucket", "s3://bucket-2/x", False),
        ("s3://bucket/in", "s3://bucket/in", True),
        ("s3://bucket/in/", "s3://bucket/in/x", True),
        ("s3://bucket/in", "s3://bucket/in/../x", False),
        ("s3://bucket/in", "s3://bucket//in/x", False),
        ("sftp://host/out", "ssh://me:word@host:22/out/x?.md", True),
        ("sftp://host/out", "sftp://host/outer", False),
        ("sftp://host", "sftp://other@host:2222/x", False),
        ("memory://x", "memory://x/y", True),
        ("/srv", "file:///srv/x", False),
    ],
)
def test_urls_are_permitted_by_host_and_path(prefix: str, url: str, permitted: bool) -> None:
    access = SourceAccess(allowed=[prefix])
    if permitted:
        access.check_url(url)
    else:
        with pytest.raises(SourceRefused) as caught:
            access.check_url(url)
        assert "word" not in str(caught.value)


# What is no document, and what changes --------------------------------------------------------------------------------


@pytest.mark.parametrize("special", ["/dev/null", "/dev/zero", "/proc/self/environ", "/proc/version", "/sys/kernel/mm"])
def test_what_the_kernel_makes_is_no_document(reader: SourceReader, special: str) -> None:
    with pytest.raises(SourceNotFound):
        for source in expand([special], reader):
            read(source, reader)


def test_a_link_that_may_be_seen_and_not_read_fails_by_itself(
    reader: SourceReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, **_: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "readlink", refuse)  # as those of other accounts' processes in /proc
    (refused,) = expand(["/proc/self/root/x.md"], reader)
    assert isinstance(refused.error, SourceNotFound)


def test_a_link_in_a_folder_that_may_not_be_read_costs_itself_alone(
    reader: SourceReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs/z.md").symlink_to("a.md")
    readlink = os.readlink

    def refuse(path: str) -> str:
        if str(path).endswith("z.md"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return readlink(path)

    monkeypatch.setattr(os, "readlink", refuse)
    found = {Path(one.path or "").name: one.error for one in expand([str(tmp_path / "docs")], reader)}
    assert found["a.md"] is None
    assert isinstance(found["z.md"], SourceNotFound)


def test_a_pipe_in_the_place_of_a_file_does_not_hang(reader: SourceReader, tmp_path: Path) -> None:
    (source,) = expand([str(tmp_path / "docs/a.md")], reader)
    (tmp_path / "docs/a.md").unlink()
    os.mkfifo(tmp_path / "docs/a.md")
    with pytest.raises(SourceNotFound, match="not a regular file"):
        read(source, reader)


def test_a_file_that_is_being_written_is_read_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.md"
    path.write_bytes(b"x" * 2**20)

    def append() -> None:
        with path.open("ab") as stream:
            stream.write(b"more")

    from tasks.sources import local_files

    read_chunks = local_files.read_chunks

    def slowly(stream: object) -> Iterator[bytes]:
        for number, piece in enumerate(read_chunks(stream)):  # pyright: ignore[reportArgumentType]
            if number == 0:
                append()
            yield piece

    monkeypatch.setattr(local_files, "read_chunks", slowly)
    with pytest.raises(StorageUnavailable, match="changed while it was read"):
        examine(path, str(path), 2**30)


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        ([errno.ENOENT, errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG], SourceNotFound),
        ([errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EMFILE, errno.ENOMEM], StorageUnavailable),
    ],
)
def test_a_disk_that_does_not_answer_is_not_a_file_that_is_not_there(
    reader: SourceReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, numbers: list[int], kind: type[WaybillError]
) -> None:
    (source,) = expand([str(tmp_path / "docs/a.md")], reader)
    for number in numbers:

        def failing(*_: object, number: int = number, **__: object) -> int:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", failing)
            with pytest.raises(kind, match=re.escape(os.strerror(number))):
                read(source, reader)


def test_a_folder_that_may_not_be_read_is_not_called_empty(
    reader: SourceReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", failing)
    monkeypatch.setattr(os, "listdir", failing)
    with pytest.raises(SourceNotFound, match="Permission denied"):
        expand([f"{tmp_path}/docs/*.md"], reader)
    (source,) = expand([f"{tmp_path}/docs"], reader)
    with pytest.raises(SourceNotFound, match="Permission denied"):
        read(source, reader)
