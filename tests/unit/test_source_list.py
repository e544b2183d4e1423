"""The list of a run's sources: each once, in order, and in little memory however many there are."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.errors import InvalidOptions, SourceRefused
from tasks.sources import Source, SourceList

MANY = 20_000


def numbered(count: int) -> Iterator[Source]:
    for number in range(count):
        path = Path(f"/data/letters/of/the/year/letter-{number:08}.md")
        yield Source(text=str(path), path=path, name=path.name, within="/data/letters")


def test_sources_are_kept_once_and_in_order(tmp_path: Path) -> None:
    refused = SourceRefused("it is outside")
    given = [*numbered(3), Source(text="s3://a/b", url="s3://a/b"), Source(text="/x", error=refused), *numbered(2)]
    with SourceList(given, scratch=tmp_path) as sources:
        assert list(sources) == given[:5]
        assert len(sources) == 5
        assert sources[1] == given[1]
        assert sources[-1].error is not None and sources[-1].error.message == "it is outside"
        assert sources[0].within == "/data/letters"
        assert sources[1:3] == given[1:3]
        assert sources[::-1] == given[4::-1]
        assert list(sources.parts(2)) == [given[:2], given[2:4], given[4:5]]
        with pytest.raises(IndexError):
            sources[5]


def test_an_error_of_the_listing_is_raised_and_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[Source]:
        yield from numbered(MANY)
        raise InvalidOptions("no")

    with pytest.raises(InvalidOptions, match="no"):
        SourceList(failing(), scratch=tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []


def measure(scratch: Path) -> tuple[int, int, int]:
    """How many sources there are, the bytes that their list takes, and the most while it is read in parts."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    sources = SourceList(numbered(MANY), scratch=scratch)
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.reset_peak()
    names = sum(1 for part in sources.parts(40) for one in part if one.name)
    return names, kept, tracemalloc.get_traced_memory()[1] - before


def test_many_sources_take_a_few_hundred_bytes_each_and_their_file_has_no_name(tmp_path: Path) -> None:
    program = "import sys; from pathlib import Path; from tests.unit.test_source_list import measure; "
    # In a process of its own: Python's table of names grows by megabytes at a time, whatever fills it.
    done = subprocess.run(
        [sys.executable, "-c", f"{program}print(*measure(Path(sys.argv[1])))", str(tmp_path / "measured")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    names, kept, peak = map(int, done.stdout.split())
    assert names == MANY
    assert kept < 300 * MANY
    assert peak < 350 * MANY
    sources = SourceList(numbered(MANY), scratch=tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []
    sources.close()
    with pytest.raises(ValueError, match="closed"):
        sources[0]
