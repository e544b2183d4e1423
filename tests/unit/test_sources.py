"""What a SOURCE means: files, folders, globs, URLs and ids, each file once and in order."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4
from zipfile import ZipFile

import fsspec
import pytest

from blocks.errors import InvalidOptions, SourceNotFound
from blocks.redaction import custody_source, display_source
from tasks import sources as product
from tasks.sources import Source, SourceAccess, SourceReader, display_name, names_nothing
from tests.served_on_loopback import served_on_loopback


def expand(sources: Sequence[str], access: SourceAccess | None = None) -> list[Source]:
    """The files that *sources* name, for a run that may read from anywhere unless *access* says otherwise."""
    with SourceReader(access or SourceAccess(), scratch=Path("scratch"), max_file_bytes=2**20) as reader:
        return list(product.expand(sources, reader))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small tree; the current folder is its parent."""
    root = tmp_path / "docs"
    for name in ("b.md", "a.pdf", "sub/c.md", "sub/deep/d.md", "Z/e.md", ".hidden.md", ".git/config", "sub/.x/y.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    monkeypatch.chdir(tmp_path)
    return root


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of a folder in fsspec's memory with three shown files and one hidden."""
    name = uuid4().hex
    filesystem = fsspec.filesystem("memory")
    for path in ("b.md", "a.md", "sub/c.txt", ".hidden/d.md", "odd[1].md"):
        filesystem.pipe(f"/{name}/{path}", b"content")
    yield f"memory://{name}"
    filesystem.rm(f"/{name}", recursive=True)


def names(sources: list[Source], root: Path) -> list[str]:
    return [str(source.path.relative_to(root)) for source in sources if source.path is not None]


# Files and folders ----------------------------------------------------------------------------------------------------


def test_a_file_is_itself_and_told_by_its_whole_path(folder: Path) -> None:
    assert expand(["docs/a.pdf"]) == [Source(text=str(folder / "a.pdf"), path=folder / "a.pdf")]


def test_a_folder_is_all_files_below_it_in_name_order_without_hidden_ones(folder: Path) -> None:
    assert names(expand(["docs"]), folder) == ["a.pdf", "b.md", "Z/e.md", "sub/c.md", "sub/deep/d.md"]


def test_sources_keep_the_order_in_which_they_are_given_and_each_file_comes_once(folder: Path) -> None:
    given = ["docs/sub/c.md", "docs", str(folder / "b.md"), "./docs/a.pdf", f"file://{folder}/a.pdf", "docs/*.md"]
    assert names(expand(given), folder) == ["sub/c.md", "a.pdf", "b.md", "Z/e.md", "sub/deep/d.md"]


def test_a_path_that_names_nothing_is_kept_to_fail_for_itself(folder: Path) -> None:
    assert names(expand(["docs/missing.pdf", "docs/a.pdf"]), folder) == ["missing.pdf", "a.pdf"]
    assert names_nothing("docs/missing.pdf")
    assert not names_nothing("docs/a.pdf")


def test_a_folder_without_files_is_told(folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "only-hidden").mkdir()
    (folder / "only-hidden/.x").touch()
    for source in ("docs/empty", "docs/only-hidden"):
        with pytest.raises(SourceNotFound, match=source):
            expand([source])


def test_links_to_files_are_followed_links_to_folders_are_not(folder: Path) -> None:
    (folder / "link.md").symlink_to(folder / "b.md")
    (folder / "sub/loop").symlink_to(folder)
    (folder / "broken.md").symlink_to(folder / "nowhere")
    assert names(expand(["docs"]), folder) == ["a.pdf", "b.md", "link.md", "Z/e.md", "sub/c.md", "sub/deep/d.md"]


def test_a_link_to_a_folder_that_is_named_is_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder / "sub")
    assert names(expand(["link"]), tmp_path) == ["link/c.md", "link/deep/d.md"]
    assert names(expand(["link/*.md"]), tmp_path) == ["link/c.md"]
    assert names(expand(["link/**/*.md"]), tmp_path) == ["link/c.md", "link/deep/d.md"]


def test_pipes_and_sockets_in_a_folder_are_left_out(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert "pipe" not in names(expand(["docs"]), folder)
    assert names(expand(["docs/pipe"]), folder) == ["pipe"]


_AS_NOBODY = """
import os, sys
from pathlib import Path
from tasks.sources import SourceAccess, SourceReader, expand
if os.geteuid() == 0:  # whom no mode keeps out
    os.seteuid(65534)
reader = SourceReader(SourceAccess(), scratch=Path("scratch"), max_file_bytes=2**20)
print(*(source.text for source in expand(sys.argv[1:], reader)), sep="\\n")
"""


def test_a_folder_that_cannot_be_read_fails_for_itself() -> None:
    with TemporaryDirectory() as name:  # pytest's own folders let nobody else in
        root = Path(name)
        root.chmod(0o755)
        for path in ("a.pdf", "locked/b.pdf", "open/c.pdf"):
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).touch()
        (root / "open/link.pdf").symlink_to("../locked/b.pdf")
        (root / "locked").chmod(0)
        done = subprocess.run([sys.executable, "-c", _AS_NOBODY, name], capture_output=True, text=True)
        (root / "locked").chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"{name}/{path}" for path in ("a.pdf", "open/c.pdf", "open/link.pdf", "locked")]


def test_a_name_that_is_not_utf_8_can_be_opened_and_told(folder: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/sub/caf\xe9.md"))
    odd.write_text("odd")
    (folder / "sub/caf\\xe9.md").write_text("not odd, but told the same")
    found = expand(["docs/sub"])
    assert [source.path.read_text() for source in found if source.path and "caf" in str(source.path)] == [
        "not odd, but told the same",
        "odd",
    ]
    for source in found:
        source.text.encode()
    assert expand([str(odd)])[0].text == f"{folder}/sub/caf\\xe9.md"


def test_a_name_that_begins_with_a_tilde_is_a_name(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "~$report.docx").touch()
    assert names(expand(["~$report.docx", "*.docx", "~nobody-of-that-name/x"]), tmp_path) == [
        "~$report.docx",
        "~nobody-of-that-name/x",
    ]
    assert not names_nothing("~$report.docx")


def test_the_home_folder_is_meant_by_a_tilde(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert names(expand(["~/b.md", "~/sub/*.md"]), folder) == ["b.md", "sub/c.md"]


@pytest.mark.parametrize("source", ["", "file://", "a\0b", "file://\0", "\ud800", "memory://a\0b"])
def test_what_names_nothing_at_all_is_refused(folder: Path, source: str) -> None:
    with pytest.raises(InvalidOptions):
        expand(["docs/a.pdf", source])


def test_an_empty_source_is_not_the_current_folder(folder: Path) -> None:
    assert names_nothing("")


def test_a_file_url_may_be_written_with_or_without_percent_signs(folder: Path) -> None:
    (folder / "my report.pdf").touch()
    (folder / "100%25.pdf").touch()
    for url in (f"file://{folder}/my report.pdf", f"file://{folder}/my%20report.pdf"):
        assert names(expand([url]), folder) == ["my report.pdf"]
    assert names(expand([f"file://{folder}/100%25.pdf"]), folder) == ["100%25.pdf"]


# Globs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("docs/*.md", ["b.md"]),
        ("docs/*", ["Z/e.md", "a.pdf", "b.md", "sub/c.md", "sub/deep/d.md"]),
        ("docs/**/*.md", ["Z/e.md", "b.md", "sub/c.md", "sub/deep/d.md"]),
        ("docs/**", ["a.pdf", "b.md", "Z/e.md", "sub/c.md", "sub/deep/d.md"]),
        ("docs/**/**/d.md", ["sub/deep/d.md"]),
        ("docs/**/deep/*", ["sub/deep/d.md"]),
        ("docs/s?b/[cd].md", ["sub/c.md"]),
        ("docs/*/deep/d.md", ["sub/deep/d.md"]),
        ("docs/.*.md", [".hidden.md"]),
        ("docs/[!b].*", ["a.pdf"]),
        ("docs/sub/../*.pdf", ["sub/../a.pdf"]),
    ],
)
def test_globs(folder: Path, pattern: str, found: list[str]) -> None:
    assert names(expand([pattern]), folder) == found
    assert names(expand([str(folder.parent / pattern)]), folder) == found


@pytest.mark.parametrize(
    "pattern", ["docs/*.xyz", "nowhere/*.md", "docs/b.md/*", "docs/*/nothing", "docs/[", "**/*.xyz"]
)
def test_a_glob_that_matches_nothing_is_told(folder: Path, pattern: str) -> None:
    assert names_nothing(pattern)
    with pytest.raises(SourceNotFound):
        expand([pattern])


def test_an_empty_folder_among_the_matches_of_a_glob_stops_nobody(folder: Path) -> None:
    (folder / "empty").mkdir()
    assert len(expand(["docs/*"])) == 5


def test_a_glob_among_loops_of_links_gives_each_file_once(folder: Path) -> None:
    for number in range(3):
        (folder / f"sub/loop{number}").symlink_to(folder)
        (folder / f"loop{number}").symlink_to(folder)
    assert len(expand(["docs/**/*.md"])) == 4
    assert len(expand(["docs/*/*.md"])) == 2
    assert len(expand(["docs/*"])) == 5


@pytest.mark.parametrize("name", ["odd[1].md", "what?.md", "star*.md"])
def test_a_file_whose_name_looks_like_a_glob_is_itself(folder: Path, name: str) -> None:
    (folder / name).touch()
    (folder / "odd1.md").touch()
    (folder / "star1.md").touch()
    assert names(expand([f"docs/{name}"]), folder) == [name]


# URLs -----------------------------------------------------------------------------------------------------------------


def urls(sources: list[Source]) -> list[str | None]:
    return [source.url for source in sources]


def test_a_url_is_a_file_a_folder_or_a_glob(memory: str) -> None:
    assert expand([f"{memory}/a.md"]) == [Source(text=f"{memory}/a.md", url=f"{memory}/a.md")]
    everything = [f"{memory}/{name}" for name in ("a.md", "b.md", "odd[1].md", "sub/c.txt")]
    assert urls(expand([memory])) == urls(expand([f"{memory}/"])) == urls(expand([f"{memory}/*"])) == everything
    assert urls(expand([f"{memory}/*.md"])) == everything[:3]
    assert urls(expand([f"{memory}/odd[1].md"])) == [f"{memory}/odd[1].md"]
    assert urls(expand([f"{memory}/b.md", memory])) == [f"{memory}/b.md", *(u for u in everything if "b.md" not in u)]


def test_each_listed_url_opens_by_itself(memory: str) -> None:
    for source in expand([memory, f"simplecache::{memory}/sub"]):
        assert source.url is not None
        with fsspec.open(source.url, "rb") as stream:
            assert stream.read() == b"content"


def test_files_in_an_archive_keep_the_archive_in_their_url(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "archive.zip", "w") as archive:
        for name in ("docs/a.md", "docs/b.md", "docs/.c.md", "x.txt"):
            archive.writestr(name, name)
    chain = f"::{tmp_path}/archive.zip"
    expected = [f"zip://docs/a.md{chain}", f"zip://docs/b.md{chain}"]
    assert urls(expand([f"zip://docs{chain}"])) == urls(expand([f"zip://docs/*.md{chain}"])) == expected
    for source in expand([f"zip://docs{chain}"]):
        assert source.url is not None
        with fsspec.open(source.url, "rb") as stream:
            assert stream.read().startswith(b"docs/")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_an_archive_is_what_it_holds_whatever_its_name(tmp_path: Path, mode: str) -> None:
    with tarfile.open(tmp_path / "archive", mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for name in ("docs/a.md", "docs/link.md"):
            member = tarfile.TarInfo(name)
            member.size = 3
            if "link" in name:
                member.type, member.size, member.linkname = tarfile.SYMTYPE, 0, "/etc/passwd"
            archive.addfile(member, io.BytesIO(b"abc"))
    with SourceReader(SourceAccess(), scratch=tmp_path, max_file_bytes=2**20) as reader:
        file, link = product.expand([f"tar://docs::{tmp_path}/archive"], reader)
        assert file.remote is not None and link.remote is not None
        assert b"".join(reader.read(file.remote)) == b"abc"
        with pytest.raises(SourceNotFound, match="is a link"):
            b"".join(reader.read(link.remote))


def test_a_url_that_names_nothing_fails_for_itself_and_a_glob_of_nothing_at_once(memory: str) -> None:
    assert urls(expand([f"{memory}/missing.md"])) == [f"{memory}/missing.md"]
    assert not names_nothing(f"{memory}/missing.md")
    with pytest.raises(SourceNotFound):
        expand([f"{memory}/*.pdf"])


def test_a_folder_of_hidden_files_holds_none(memory: str) -> None:
    fsspec.filesystem("memory").pipe(f"{memory.removeprefix('memory:/')}/h/.x", b"")
    with pytest.raises(SourceNotFound):
        expand([f"{memory}/h"])


def test_a_url_without_a_driver_is_refused() -> None:
    with pytest.raises(InvalidOptions, match="nosuchscheme://"):
        expand(["nosuchscheme://x/y.pdf"])


def test_passwords_in_urls_are_used_and_not_told() -> None:
    url = "memory://me:hunter2@host/x.pdf"
    assert expand([url]) == [Source(text="memory://me@host/x.pdf", url=url)]
    with pytest.raises(SourceNotFound) as caught:
        expand(["memory://me:hunter2@host/*.pdf"])
    assert "hunter2" not in str(caught.value)


class _PageOfLinks(BaseHTTPRequestHandler):
    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'<a href="one.html">one</a> <a href="two.html">two</a>')

    do_HEAD = do_GET  # noqa: N815 -- the name that http.server looks for

    def log_message(self, *_: object) -> None:
        pass


def test_a_web_page_is_a_file_and_its_links_are_not_followed() -> None:
    _PageOfLinks.requests = []
    with served_on_loopback(_PageOfLinks, str) as base:
        given = [f"{base}/page.html", f"{base}/report.pdf?name=[a]*", f"simplecache::{base}/page.html"]
        assert urls(expand(given)) == given
    assert _PageOfLinks.requests == []


# Files in custody -----------------------------------------------------------------------------------------------------


def test_a_file_in_custody_is_named_by_its_id() -> None:
    file_id = uuid4()
    assert expand([f"waybill:{file_id}", f"waybill:{file_id.hex}", f"waybill:{file_id}/report.pdf"]) == [
        Source(text=f"waybill:{file_id}", file_id=file_id)
    ]
    assert not names_nothing(f"waybill:{file_id}")


@pytest.mark.parametrize(
    "origin", ["report.pdf", "/srv/letters/report.pdf", "https://example.org/a/report.pdf?page=/1"]
)
def test_a_file_in_custody_is_told_by_where_it_came_from(origin: str) -> None:
    file_id = uuid4()
    (found,) = expand([custody_source(file_id, origin)])
    assert found.file_id == file_id
    assert display_source(found.text) == origin
    assert display_name(found.text) == "report.pdf"
    assert display_source(f"waybill:{file_id}") == f"waybill:{file_id}"
    assert display_source("/srv/waybill:1/report.pdf") == "/srv/waybill:1/report.pdf"


@pytest.mark.parametrize(
    "source", ["waybill:", "waybill:nonsense", "waybill://x", "waybill:../../etc/passwd", "waybill:/report.pdf"]
)
def test_what_is_not_an_id_is_refused(source: str) -> None:
    with pytest.raises(InvalidOptions, match="files list"):
        expand([source])
