"""The sources of a command: typed, in lists, and too many for the parameters of a run."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest

from blocks.errors import InvalidOptions, SourceNotFound
from tasks.sources.source_lists import MOST_SOURCE_CHARS, MOST_SOURCES
from waybill.commands.process_lists import Given, read_given


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_typed_becomes_whole_paths(here: Path) -> None:
    assert read_given(["a.md", "s3://b/c"], []) == Given(typed=[f"{here}/a.md", "s3://b/c"], listed=[])


@pytest.mark.parametrize("typed", [True, False])
def test_a_list_is_read_with_its_paths_from_the_current_folder(here: Path, typed: bool) -> None:
    lists = here / "lists"
    lists.mkdir()
    (lists / "letters.txt").write_text("# of May\na.md\n/in/b.md\ns3://b/c\n")
    name = "lists/letters.txt"
    given = read_given(["x.md", f"list:{name}"], []) if typed else read_given(["x.md"], [name])
    assert given == Given(typed=[f"{here}/x.md"], listed=[f"{here}/a.md", "/in/b.md", "s3://b/c"], name="letters.txt")


def test_a_list_comes_from_standard_input(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"a.md\nb.md")))
    assert read_given([], ["-"]) == Given(typed=[], listed=[f"{here}/a.md", f"{here}/b.md"])


def test_a_list_elsewhere_is_left_to_the_run() -> None:
    stored = f"waybill:{uuid4()}/letters.txt"
    assert read_given([], ["s3://b/list.txt", stored]).typed == ["list:s3://b/list.txt", f"list:{stored}"]


def test_a_list_that_is_not_there_is_reported() -> None:
    with pytest.raises(SourceNotFound, match=r"none\.txt"):
        read_given([], ["none.txt"])


@pytest.mark.parametrize("sources", [["/in/a.md"] * (MOST_SOURCES + 1), ["/" + "a" * 999] * (MOST_SOURCE_CHARS // 999)])
def test_too_many_sources_become_a_list_and_lists_elsewhere_stay(sources: list[str]) -> None:
    given = read_given([*sources, "list:s3://b/c"], [])
    assert given == Given(typed=["list:s3://b/c"], listed=sources)


@pytest.mark.parametrize("content", [b"", b"# nothing yet\n\n"])
def test_lists_without_a_source_are_refused(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    (empty := tmp_path / "empty.txt").write_bytes(content)
    with pytest.raises(InvalidOptions, match=r"no line of .*empty.txt or standard input names a source"):
        read_given([], [str(empty), "-"])


class _Broken(io.BytesIO):
    def __next__(self) -> bytes:
        raise OSError(9, "Bad file descriptor")


@pytest.mark.parametrize("stdin", [None, SimpleNamespace(buffer=_Broken())])
def test_a_standard_input_that_cannot_be_read_is_no_list(monkeypatch: pytest.MonkeyPatch, stdin: object) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    with pytest.raises(InvalidOptions, match="standard input"):
        read_given([], ["-"])
