"""The paragraphs of a shape: runs of text, bullets and automatic numbers (ECMA-376 part 1, 21.1.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from tasks.conversion.formulas.office_math import read_formula
from tasks.conversion.markdown_writer import Body, Position, Run, escape_line_starts, inline
from tasks.conversion.office.numerals import numeral
from tasks.conversion.office.package import Element, local_name
from tasks.conversion.office.symbol_fonts import UNKNOWN, in_symbol_font, is_symbol_font
from tasks.conversion.presentation.inheritance import own_bullet
from tasks.conversion.reading import clean_text

MAX_LEVEL = 8

# The kinds of number in the names of numbering schemes, as `numeral` calls them, and what stands around a number.
_SCHEMES = {
    "arabic": "decimal",
    "alphaLc": "lowerLetter",
    "alphaUc": "upperLetter",
    "romanLc": "lowerRoman",
    "romanUc": "upperRoman",
}
_AROUND = {"Period": "{}.", "ParenR": "{})", "ParenBoth": "({})", "Plain": "{}", "Minus": "- {} -"}


@dataclass
class _Counter:
    scheme: str
    start: int
    count: int = 0


@dataclass
class Numbering:
    """The automatic numbers of a text, one counter for each level."""

    counters: dict[int, _Counter] = field(default_factory=dict[int, _Counter])

    def next_label(self, level: int, bullet: Element) -> str:
        """Return the label of the next paragraph of *level* that *bullet* (``buAutoNum``) numbers."""
        scheme, start = bullet.get("type", "arabicPeriod"), _number(bullet.get("startAt"), 1)
        counter = self.counters.get(level)
        if counter is None or (counter.scheme, counter.start) != (scheme, start):
            counter = self.counters[level] = _Counter(scheme, start)
        self.end(level + 1)
        counter.count += 1
        return _label(scheme, start + counter.count - 1)

    def end(self, level: int) -> None:
        """End the numbering of *level* and of all below it."""
        for deeper in [known for known in self.counters if known >= level]:
            del self.counters[deeper]


@dataclass(frozen=True)
class Text:
    """What is needed to read the text of one shape: link targets by relation, and the inherited bullets by level.

    What cannot be carried over counts in `lost`.
    """

    links: Callable[[str], str]
    lost: Counter[str]
    bullet: Callable[[int], Element | None] = lambda _level: None

    def write(self, body: Body, text_body: Element) -> None:
        """Add the paragraphs of *text_body* (``txBody``) to *body*."""
        numbering = Numbering()
        for paragraph in text_body.iterfind("{*}p"):
            markdown = inline(self.runs(paragraph))
            if markdown:
                self._write_paragraph(body, paragraph, markdown, numbering)

    def _write_paragraph(self, body: Body, paragraph: Element, markdown: str, numbering: Numbering) -> None:
        level, kind, label = self._bullet(paragraph, numbering)
        if kind == "bullet":
            body.item("-", markdown, level)
        elif kind == "number" and label[:-1].isdigit() and label[-1] in ".)":
            body.item(label, markdown, level)
        else:
            body.paragraph(f"{label} {markdown}".strip())

    def _bullet(self, paragraph: Element, numbering: Numbering) -> tuple[int, Literal["none", "bullet", "number"], str]:
        """Return a paragraph's level, what it begins with, and its label if it is numbered."""
        properties = paragraph.find("{*}pPr")
        level = min(MAX_LEVEL, max(0, _number(properties.get("lvl"), 0))) if properties is not None else 0
        bullet = own_bullet(properties) if properties is not None else None
        if bullet is None:
            bullet = self.bullet(level)
        kind = "buNone" if bullet is None else local_name(bullet)
        if bullet is not None and kind == "buAutoNum":
            return level, "number", numbering.next_label(level, bullet)
        numbering.end(level)
        return level, "none" if kind == "buNone" else "bullet", ""

    def line(self, text_body: Element) -> str:
        """Return all paragraphs of *text_body* as one line: a title."""
        runs = [[*self.runs(paragraph)] for paragraph in text_body.iterfind("{*}p")]
        plain = [
            Run(text=run.text, position=run.position, markdown=run.markdown)
            for line in runs
            for run in [*line, Run(text=" ")]
        ]
        return " ".join(inline(plain).replace("\\\n", " ").split())

    def cell(self, text_body: Element) -> str:
        """Return the paragraphs of *text_body* as the lines of a table's cell."""
        numbering = Numbering()
        lines: list[str] = []
        for paragraph in text_body.iterfind("{*}p"):
            if markdown := inline(self.runs(paragraph)):
                _, _, label = self._bullet(paragraph, numbering)
                lines.append(f"{label} {markdown}".strip())
        return "\\\n".join(lines)

    def runs(self, paragraph: Element) -> Iterator[Run]:
        """Yield the runs of *paragraph*. A field shows the text that it had last."""
        for child in paragraph:
            kind = local_name(child)
            if kind in ("r", "fld"):
                yield self._run(child)
            elif kind == "br":
                yield Run(text="\n")
            elif kind in ("m", "AlternateContent"):
                yield from self._formula(child, is_alone=paragraph.find("{*}r") is None)

    def _formula(self, element: Element, *, is_alone: bool) -> Iterator[Run]:
        """Yield the formulas in *element*; one that is alone in its paragraph is displayed."""
        mark = "$$" if is_alone else "$"
        for math in element.iter("{*}oMath"):
            formula = read_formula(math)
            self.lost["formula"] += formula.doubtful
            if formula.latex:
                yield Run(text=f"{mark}{formula.latex}{mark}", markdown=True)

    def _in_font(self, text: str, properties: Element) -> str:
        """Return *text* as a symbol font shows it, if the run has one (21.1.2.3.10)."""
        fonts = (properties.find(f"{{*}}{kind}") for kind in ("sym", "latin"))
        font = next((one.get("typeface", "") for one in fonts if one is not None), "")
        if not is_symbol_font(font):
            return text
        shown = in_symbol_font(font, text)
        self.lost["symbol"] += shown.count(UNKNOWN)
        return shown

    def _run(self, run: Element) -> Run:
        text = clean_text(run.findtext("{*}t") or "").replace("\n", " ")
        properties = run.find("{*}rPr")
        if properties is None:
            return Run(text=text)
        text = self._in_font(text, properties)
        link = properties.find("{*}hlinkClick")
        target = (
            next((value for name, value in link.attrib.items() if name.endswith("}id")), "") if link is not None else ""
        )
        return Run(
            text=text,
            bold=_is_on(properties.get("b")),
            italic=_is_on(properties.get("i")),
            struck=properties.get("strike", "noStrike") != "noStrike",
            position=_position(properties.get("baseline")),
            link=self.links(target) if target else "",
        )


def text_block(text: str) -> str:
    """Return *text* of one paragraph, without formats, as Markdown."""
    return escape_line_starts(inline([Run(text=clean_text(text))]))


def _label(scheme: str, number: int) -> str:
    for name, kind in _SCHEMES.items():
        if scheme.startswith(name):
            return _AROUND.get(scheme[len(name) :], "{}.").format(numeral(number, kind))
    return f"{number}." if scheme.endswith("Period") else str(number)


def _position(baseline: str | None) -> Position:
    offset = _number((baseline or "").rstrip("%"), 0)
    if not offset:
        return ""
    return "raised" if offset > 0 else "lowered"


def _is_on(value: str | None) -> bool:
    return value in ("1", "true", "on")


def _number(text: str | None, default: int) -> int:
    try:
        return int(text or "")
    except ValueError:
        return default
