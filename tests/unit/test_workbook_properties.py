"""Whatever texts and numbers the cells of a workbook have, its table has the same, in the same places."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.unit.workbook_samples import body, rows, write

# Signs of Markdown and HTML, letters, digits and blanks of several scripts.
_SIGNS = st.sampled_from(
    [*"*_`~|\\<>[](){}#+-=!&;:/.^$@\"' \n", "ab", "Ä", "東", "12", "3.5", "<br>", "http://a.b", "&amp;"]
)
_TEXT = st.lists(_SIGNS, min_size=1, max_size=12).map("".join).map(str.strip).filter(bool)
_GRID = st.integers(2, 4).flatmap(
    lambda width: st.lists(st.lists(_TEXT, min_size=width, max_size=width), min_size=1, max_size=4)
)


@given(_GRID)
def test_every_text_stands_in_its_cell(grid: list[list[str]]):
    header = [f"Name {number}" for number in range(len(grid[0]))]
    with tempfile.TemporaryDirectory() as folder:
        markdown = body(write(Path(folder) / "b.xlsx", rows(header, *grid)))
    assert _cells(markdown) == [header, *[[_shown(text) for text in row] for row in grid]]


def _shown(text: str) -> str:
    """Return *text* with its lines as they are kept: without blanks around them."""
    return "\n".join(line.strip() for line in text.split("\n"))


def _cells(markdown: str) -> list[list[str]]:
    """Return the cells of the first table, as a reader of GFM sees them."""
    found: list[list[str]] = []
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown):
        if token.type == "tr_open":
            found.append([])
        elif token.type == "inline" and found:
            parts = [
                "\n" if child.type == "html_inline" and child.content == "<br>" else child.content
                for child in token.children or ()
            ]
            found[-1].append("\n".join(line.strip() for line in "".join(parts).split("\n")))
    return found
