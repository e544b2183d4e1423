"""The runs of a paragraph: text, fields, breaks, notes, comments; what is anchored in it is set aside (part 3, 6)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from typing import Any

from tasks.conversion.markdown_writer import Notes, Run, comment, inline
from tasks.conversion.office.package import Element, local_name
from tasks.conversion.office.symbol_fonts import UNKNOWN, in_symbol_font, is_symbol_font
from tasks.conversion.opendocument.document import attribute
from tasks.conversion.opendocument.styles import Format, Styles
from tasks.conversion.reading import clean_text
from tasks.conversion.whole_numbers import whole_number

_WHITE_SPACE = re.compile(r"[ \t\r\n]+")
# More blanks in a row than this are layout that no reader counts.
_MAX_BLANKS = 200

# What stands apart from the text that it is anchored in.
FLOATS = frozenset(
    {"frame", "a", "g", "custom-shape", "rect", "line", "polyline", "polygon", "path", "circle", "ellipse", "connector"}
)
_SILENT = frozenset(
    {
        *("tracked-changes", "change", "change-start", "change-end", "annotation-end", "number", "note-citation"),
        *("alphabetical-index-mark", "toc-mark", "user-index-mark", "sequence-decls", "variable-decls"),
        *("user-field-decls", "forms", "soft-page-break", "shapes"),
    }
)
PARAGRAPHS = ("{*}p", "{*}h")


@dataclass
class Context:
    """What all parts of one document share while it is read; what cannot be carried over counts in `lost`."""

    styles: Styles
    notes: Notes = field(default_factory=Notes)
    lost: Counter[str] = field(default_factory=Counter[str])
    comment_ends: Set[str] = frozenset()
    """The names of comments that say where the commented words end."""
    formula: Callable[[Element], Run | None] = lambda _frame: None
    """Returns the formula that a frame shows, if it shows one."""


@dataclass
class Paragraph:
    """One paragraph as it is read. `floats` are what is anchored in it, in order."""

    context: Context
    floats: list[Any] = field(default_factory=list[Any])
    _after_space: bool = True
    _formula: Run | None = None

    def markdown(self, element: Element, base: Format) -> str:
        """Return the Markdown of the paragraph *element*, whose text has the format *base*."""
        runs = [run for run in self._runs(element, base, "") if run.text]
        if len(runs) == 1 and runs[0] is self._formula:  # alone, it is displayed
            return f"${runs[0].text}$"
        return inline(runs)

    def _runs(self, element: Element, base: Format, link: str) -> Iterator[Run]:
        yield from self._text(element.text, base, link)
        for child in element:
            yield from self._child(child, base, link)
            yield from self._text(child.tail, base, link)

    def _child(self, child: Element, base: Format, link: str) -> Iterator[Run]:
        kind = local_name(child)
        if kind == "a" and not attribute(child, "href"):
            yield from self._runs(child, base, link)
        elif kind == "a" and child.find("{*}frame") is None:
            target = attribute(child, "href")
            yield from self._runs(child, base, "" if target.startswith("#") else target)
        elif kind in FLOATS:
            yield from self._float(child, base)
        elif kind == "span":
            yield from self._runs(child, self.context.styles.text(attribute(child, "style-name"), base), link)
        elif kind in ("s", "tab", "line-break"):
            yield self._space(child, kind, base, link)
        elif kind in ("note", "annotation", "annotation-end"):
            yield from self._mark(child, kind, base)
        elif kind == "ruby":
            yield from self._ruby(child, base, link)
        elif kind in ("hidden-text", "hidden-paragraph"):
            yield from self._hidden(child, base, link)
        elif kind not in _SILENT:
            yield from self._runs(child, base, link)  # a field shows the text that it had last

    def _float(self, child: Element, base: Format) -> Iterator[Run]:
        """Yield a formula, which stands in its sentence; set everything else aside."""
        formula = self.context.formula(child) if local_name(child) == "frame" else None
        if formula is None:
            self.floats.append(child)
        elif not base.hidden:
            self._after_space = False
            self._formula = formula if formula.markdown else None
            yield formula

    def _text(self, text: str | None, base: Format, link: str) -> Iterator[Run]:
        """Yield *text* with its white space collapsed, across the elements of the paragraph (part 3, 6.1.2)."""
        if not text:
            return
        collapsed = _WHITE_SPACE.sub(" ", text)
        if self._after_space:
            collapsed = collapsed.lstrip(" ")
        if not collapsed:
            return
        self._after_space = collapsed.endswith(" ")
        yield from self._shown(clean_text(collapsed), base, link)

    def _shown(self, text: str, base: Format, link: str) -> Iterator[Run]:
        if base.hidden:
            self.context.lost["hidden-text"] += bool(text.strip())
            return
        font = self.context.styles.family(base.font)
        if is_symbol_font(font) and any("\uf000" <= char <= "\uf0ff" for char in text):
            text = in_symbol_font(font, text)
            self.context.lost["symbol"] += text.count(UNKNOWN)
        yield _run(text, base, link)

    def _space(self, element: Element, kind: str, base: Format, link: str) -> Run:
        count = attribute(element, "c", "1")
        blanks = min(_MAX_BLANKS, whole_number(count, 1))
        self._after_space = kind != "s"
        text = {"s": " " * blanks, "tab": "\t"}.get(kind, "\n")
        return _run("" if base.hidden else text, base, link)

    def _mark(self, element: Element, kind: str, base: Format) -> Iterator[Run]:
        if base.hidden:
            return
        self._after_space = False
        notes, name = self.context.notes, attribute(element, "name")
        if kind == "annotation-end":
            yield notes.mark("comment", name)
            return
        if kind == "annotation":
            key = name or f"comment {id(element)}"
            notes.define("comment", key, self._comment(element))
            if not name or name not in self.context.comment_ends:
                yield notes.mark("comment", key)
            return
        endnote = attribute(element, "note-class") == "endnote"
        key = attribute(element, "id") or f"note {id(element)}"
        yield notes.mark("endnote" if endnote else "footnote", key)
        body = element.find("{*}note-body")
        text = self._all_paragraphs(body) if body is not None else ""
        notes.define("endnote" if endnote else "footnote", key, text)

    def _comment(self, element: Element) -> str:
        return comment(clean_text(element.findtext("{*}creator") or ""), self._all_paragraphs(element))

    def _all_paragraphs(self, element: Element) -> str:
        """Return all paragraphs in *element* as Markdown, apart by empty lines."""
        texts: list[str] = []
        for one in element.iter(*PARAGRAPHS):
            paragraph = Paragraph(self.context)
            texts.append(paragraph.markdown(one, self.context.styles.paragraph(attribute(one, "style-name")).format))
            self.floats += paragraph.floats
        return "\n\n".join(text for text in texts if text)

    def _ruby(self, element: Element, base: Format, link: str) -> Iterator[Run]:
        for child in element:
            if local_name(child) == "ruby-base":
                yield from self._runs(child, base, link)
            elif reading := "".join(child.itertext()).strip():
                yield from self._shown(f" ({clean_text(reading)})", base, link)

    def _hidden(self, element: Element, base: Format, link: str) -> Iterator[Run]:
        if attribute(element, "is-hidden") == "true":
            self.context.lost["hidden-text"] += 1
        else:
            yield from self._shown(attribute(element, "string-value") or "".join(element.itertext()), base, link)


def _run(text: str, base: Format, link: str) -> Run:
    return Run(text=text, bold=base.bold, italic=base.italic, struck=base.struck, position=base.position, link=link)
