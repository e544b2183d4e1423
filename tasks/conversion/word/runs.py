"""What stands in a paragraph: text with its look, signs, fields, notes, formulas and drawings.

Owns which content is shown: the result of fields, inserted and moved-in text; not deleted, moved-away and hidden text,
nor the prompts of empty content controls (ECMA-376 part 1, 17.3.2, 17.3.3, 17.13.5, 17.5.2).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tasks.conversion.formulas.office_math import read_formula
from tasks.conversion.markdown_writer import NoteKind, Run
from tasks.conversion.office.symbol_fonts import UNKNOWN, in_symbol_font, symbol
from tasks.conversion.word.document import Document
from tasks.conversion.word.drawings import Drawn, read_drawing
from tasks.conversion.word.fields import NOT_TICKED, TICKED, Fields
from tasks.conversion.word.names import MC, W14, Element, M, R, W, chosen, is_on
from tasks.conversion.word.styles import Look, direct_look

# A tab sets columns apart: with a blank in its place "31<tab>520" would be one number.
TAB = "\t"
_PRIVATE = re.compile(r"[\ue000-\uf8ff]")
_PLAIN_LOOK = Look()
_Read = Callable[[Element], None]


@dataclass(slots=True)
class Content:
    """What a paragraph shows: its runs, and what its drawings show below it.

    `display` are the formulas that stand on lines of their own, as LaTeX, where the paragraph has nothing else.
    """

    runs: list[Run] = field(default_factory=list[Run])
    drawn: list[Drawn] = field(default_factory=list[Drawn])
    display: list[str] = field(default_factory=list[str])
    only_math: bool = True

    @property
    def is_empty(self) -> bool:
        """Whether nothing is shown."""
        return not self.drawn and not any(run.text.strip() for run in self.runs)


class RunReader:
    """Reads the paragraphs of one story, whose fields may go on over several of them."""

    def __init__(self, document: Document, part: str, *, in_head: bool = False) -> None:
        self._document = document
        self._part = part
        self.fields = Fields(in_head=in_head)
        self.in_placeholder = 0
        self._content = Content()
        self._style = ""
        self._look: Look = _PLAIN_LOOK
        self._link = ""
        self._hiding = False
        # The note whose own mark, in place of a number, comes next.
        self._custom_mark: tuple[NoteKind, str] | None = None
        # Marks of comments that are anchored by their range alone.
        self.comment_ends: frozenset[str] = frozenset()
        self._in_paragraph, self._in_run = self._readers()

    def _readers(self) -> tuple[dict[str, _Read], dict[str, _Read]]:
        """Return what reads the elements of a paragraph and those of a run, by tag."""
        alternatives = {f"{MC}AlternateContent": self._alternatives}
        transparent = ("ins", "moveTo", "smartTag", "customXml", "dir", "bdo", "sdtContent")
        in_paragraph: dict[str, _Read] = alternatives | {
            f"{W}r": self._run,
            f"{W}hyperlink": self._hyperlink,
            f"{W}del": self._deleted,
            f"{W}fldSimple": self._simple_field,
            f"{W}sdt": self._inline_control,
            f"{W}commentRangeEnd": self._comment,
            f"{W}subDoc": self._sub_document,
            f"{M}oMath": self._formula,
            f"{M}oMathPara": self._formula_block,
            **{f"{W}{name}": self.children for name in transparent},
        }
        in_run: dict[str, _Read] = alternatives | {
            f"{W}t": self._text,
            **{f"{W}{name}": self._tab for name in ("tab", "ptab")},
            **{f"{W}{name}": self._line_end for name in ("br", "cr")},
            f"{W}noBreakHyphen": self._hyphen,
            f"{W}pgNum": self._page_number,
            f"{W}sym": self._symbol,
            f"{W}fldChar": self._field_character,
            f"{W}instrText": self._instruction,
            **{f"{W}{name}Reference": self._note for name in ("footnote", "endnote")},
            f"{W}commentReference": self._comment,
            f"{W}ruby": self._ruby,
            **{f"{W}{name}": self._drawing for name in ("drawing", "pict", "object")},
        }
        return in_paragraph, in_run

    def read(self, paragraph: Element, style: str) -> Content:
        """Return what *paragraph* in the paragraph style *style* shows."""
        self._content, self._style, self._link = Content(), style, ""
        self._look = self._document.styles.look(style, {})
        self._hiding = False
        self.children(paragraph)
        return self._content

    def children(self, element: Element) -> None:
        """Read everything in *element*, in order."""
        for child in element:
            read = self._in_paragraph.get(child.tag)
            if read is not None:
                read(child)

    def add(self, text: str) -> None:
        """Add *text* in the current look, if text is shown here."""
        if not text or not self.fields.shown or self.in_placeholder:
            return
        look = self._look
        if look.hidden:
            if text.strip() and not self._hiding:
                self._document.lost["hidden-text"] += 1
                self._hiding = True
            return
        self._hiding = False
        if text.strip():
            self._content.only_math = False
        self._content.runs.append(
            Run(
                text=text,
                bold=look.bold,
                italic=look.italic,
                struck=look.struck,
                position=look.position,
                link=self._link or self.fields.link,
            )
        )

    @property
    def is_shown(self) -> bool:
        """Whether what stands here is shown."""
        return self.fields.shown and not self.in_placeholder and not self._look.hidden

    def _run(self, run: Element) -> None:
        first = run[0] if len(run) else None
        if first is not None and first.tag == f"{W}rPr":
            outer = self._look
            self._look = self._document.styles.look(self._style, direct_look(first))
            self._run_content(run)
            self._look = outer
        else:
            self._run_content(run)

    def _run_content(self, run: Element) -> None:
        self._custom_mark = None
        for child in run:
            read = self._in_run.get(child.tag)
            if read is not None:
                read(child)

    def _text(self, element: Element) -> None:
        text = element.text
        if not text:
            return
        if self._custom_mark is not None:
            self._document.custom_marks[self._custom_mark] = text
            return
        if "\n" in text:
            text = text.replace("\n", " ")
        if self._look.font:
            text = in_symbol_font(self._look.font, text)
            self._document.lost["symbol"] += text.count(UNKNOWN)
        elif not text.isascii():
            self._document.lost["symbol"] += len(_PRIVATE.findall(text))
        self.add(text)

    def _tab(self, _element: Element) -> None:
        self.add(TAB)

    def _line_end(self, _element: Element) -> None:
        self.add("\n")

    def _hyphen(self, _element: Element) -> None:
        self.add("-")

    def _page_number(self, _element: Element) -> None:
        self.add(self.fields.page_mark)

    def _symbol(self, element: Element) -> None:
        if self._custom_mark is not None or not self.is_shown:
            return
        try:
            sign = symbol(element.get(f"{W}font", ""), int(element.get(f"{W}char", ""), 16))
        except ValueError:
            sign = UNKNOWN
        self._document.lost["symbol"] += sign == UNKNOWN
        self.add(sign)

    def _field_character(self, element: Element) -> None:
        kind = element.get(f"{W}fldCharType")
        if kind == "begin":
            self.fields.begin(element.find(f"{W}ffData"))
        elif kind == "separate":
            self.fields.separate()
        elif kind == "end":
            self._end_field()

    def _end_field(self) -> None:
        shown = self.fields.end()
        if shown.markdown or shown.position:
            if self.is_shown and shown.text:
                self._content.runs.append(shown)
                self._content.only_math = False
        else:
            self.add(shown.text)

    def _simple_field(self, element: Element) -> None:
        self.fields.begin(element.find(f"{W}fldData"), element.get(f"{W}instr", ""))
        self.fields.separate()
        self.children(element)
        self._end_field()

    def _hyperlink(self, element: Element) -> None:
        outer = self._link
        address = self._document.link(self._part, element.get(f"{R}id", ""))
        anchor = element.get(f"{W}anchor", "")
        self._link = f"{address}#{anchor}" if address and anchor and "#" not in address else address
        self.children(element)
        self._link = outer

    def _deleted(self, element: Element) -> None:
        """Leave out what was deleted, as Word shows it; a comment on it goes with it."""
        self._document.lost["comment"] += sum(1 for _ in element.iter(f"{W}commentReference"))

    def control(self, element: Element, read: Callable[[Element], None]) -> None:
        """Read a content control (`w:sdt`): *read* gets its content, in which a prompt is not shown."""
        content = element.find(f"{W}sdtContent")
        prompt = is_on(element.find(f"{W}sdtPr/{W}showingPlcHdr"))
        self.in_placeholder += prompt
        if content is not None:
            read(content)
        self.in_placeholder -= prompt

    def _inline_control(self, element: Element) -> None:
        before = len(self._content.runs)
        self.control(element, self.children)
        box = element.find(f"{W}sdtPr/{W14}checkbox")
        if box is not None and not any(run.text.strip() for run in self._content.runs[before:]):
            checked = box.find(f"{W14}checked")
            ticked = checked is not None and checked.get(f"{W14}val", "1") in ("1", "true", "on")
            self.add(TICKED if ticked else NOT_TICKED)

    def _alternatives(self, element: Element) -> None:
        for child in chosen(element):
            read = self._in_paragraph.get(child.tag) or self._in_run.get(child.tag)
            if read is not None:
                read(child)

    def _note(self, element: Element) -> None:
        if not self.is_shown:
            return
        kind: NoteKind = "footnote" if element.tag == f"{W}footnoteReference" else "endnote"
        key = element.get(f"{W}id", "")
        self._content.runs.append(self._document.notes.mark(kind, key))
        self._content.only_math = False
        has_own_mark = element.get(f"{W}customMarkFollows", "0").lower() in ("1", "true", "on")
        self._custom_mark = (kind, key) if has_own_mark else None

    def _comment(self, element: Element) -> None:
        identifier = element.get(f"{W}id", "")
        if element.tag == f"{W}commentRangeEnd" and identifier not in self.comment_ends:
            return
        if self.in_placeholder or not self.fields.shown:
            return
        mark = self._document.comments.mark(identifier)
        if mark is not None:
            self._content.runs.append(mark)

    def _ruby(self, element: Element) -> None:
        base = element.find(f"{W}rubyBase")
        if base is not None:
            self.children(base)
        reading = element.find(f"{W}rt")
        text = "" if reading is None else "".join(one.text or "" for one in reading.iter(f"{W}t"))
        self.add(f" ({text})" if text.strip() else "")

    def _formula(self, element: Element) -> None:
        if not self.is_shown:
            return
        formula = read_formula(element)
        self._document.lost["formula"] += formula.doubtful
        if formula.latex:
            self._content.display.append(formula.latex)
            self._content.runs.append(Run(text=f"${formula.latex}$", markdown=True))

    def _formula_block(self, element: Element) -> None:
        for formula in element.iterchildren(f"{M}oMath", f"{W}ins", f"{W}moveTo"):
            if formula.tag == f"{M}oMath":
                self._formula(formula)
            else:
                self._formula_block(formula)

    def _drawing(self, element: Element) -> None:
        if not self.is_shown:
            return
        said, drawn = read_drawing(self._document, self._part, element)
        self.add(said)
        self._content.drawn += drawn

    def _sub_document(self, _element: Element) -> None:
        self._document.lost["part"] += 1

    def _instruction(self, element: Element) -> None:
        self.fields.instruction(element.text or "")
