"""The blocks of a story: paragraphs, tables, and what drawings show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tasks.conversion.markdown_writer import Run, inline
from tasks.conversion.word.numbering import Item

# A tab after a number or a bullet that was typed only places the text.
_TYPED_LABEL = re.compile(r"^((?:\*\*)?(?:\(?[\w.]{1,8}[.)]|\\?[^\w\s])(?:\*\*)?)\t+")
_ASIAN_FIRST, _ASIAN_LAST = "\u2e80", "\uffef"


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph as it is shown. `display` are formulas that stand alone, as LaTeX; `code` is a line of code."""

    runs: Sequence[Run]
    item: Item | None = None
    heading: int | None = None
    contents_level: int | None = None
    display: Sequence[str] = ()
    code: bool = False

    @property
    def label(self) -> str:
        """The label that Word writes before the paragraph; a bullet is none."""
        return self.item.label if self.item is not None else ""

    @property
    def is_empty(self) -> bool:
        """Whether the paragraph has no text but its label."""
        return not any(run.text.strip() for run in self.runs)

    def markdown(self) -> str:
        """Return the paragraph's text as Markdown, without its label."""
        text = inline(_evenly(self.runs) if self.heading else self.runs)
        return _TYPED_LABEL.sub(r"\1 ", text) if "\t" in text else text

    def labelled(self) -> str:
        """Return the paragraph's text as Markdown, after its label."""
        if not self.label or self.item is None:
            return self.markdown()
        runs = _evenly(self.runs) if self.heading else list(self.runs)
        first = next((run for run in runs if run.text.strip()), None)
        look = first if first is not None and not first.markdown else Run(text="")
        blank = "" if self.item.glued and _stands_apart(self.label, first) else " "
        label = Run(text=self.label + blank, bold=look.bold, italic=look.italic)
        return inline([label, *_without_leading_space(runs)])


@dataclass(frozen=True, slots=True)
class Markdown:
    """Markdown that a drawing or another document gave."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """The items of a diagram with their levels."""

    items: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class TableCell:
    """A cell from the grid's column `column` on; `merge` is its part in a cell over several rows, or empty."""

    blocks: Sequence[Block]
    column: int
    columns: int
    merge: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first `heads` rows are repeated on each page as its header."""

    rows: list[list[TableCell]] = field(default_factory=list[list[TableCell]])
    heads: int = 0


Block = Paragraph | Markdown | Bullets | Table


def _evenly(runs: Sequence[Run]) -> list[Run]:
    """Return *runs* without bold and italic where all of them have it: a heading is marked as such already."""
    shown = [run for run in runs if run.text.strip() and not run.markdown]
    even = list(runs)
    if shown and all(run.bold for run in shown):
        even = [replace(run, bold=False) for run in even]
    if shown and all(run.italic for run in shown):
        even = [replace(run, italic=False) for run in even]
    return even


def _without_leading_space(runs: Sequence[Run]) -> list[Run]:
    rest = list(runs)
    while rest and not rest[0].text.strip():
        rest.pop(0)
    return [replace(rest[0], text=rest[0].text.lstrip()), *rest[1:]] if rest else rest


def _stands_apart(label: str, first: Run | None) -> bool:
    """Return whether a label needs no blank: next to punctuation, and in East Asian writing."""
    if first is None:
        return True
    sides = label[-1], first.text.lstrip()[:1]
    return any(_ASIAN_FIRST <= side <= _ASIAN_LAST for side in sides) or not sides[1].isalnum()
