"""Fields of Word: which part of one is shown, and what one shows that stores no result; pure.

Implements ECMA-376 part 1, 17.16. A field has an instruction and, after a separator, its last result. The result is
shown, the instruction is not. Some kinds show no result; some show something else, which is computed here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tasks.conversion.markdown_writer import Run
from tasks.conversion.office.symbol_fonts import symbol
from tasks.conversion.word.auto_numbers import AutoNumbers
from tasks.conversion.word.equation_fields import equation
from tasks.conversion.word.names import VAL, Element, W, address, integer, is_on

TICKED, NOT_TICKED = "☒", "☐"
# Where a page's number stood in a head or a foot; no document has this sign.
PAGE_MARK = "\0"
_PAGE_NUMBERS = frozenset({"PAGE", "NUMPAGES", "SECTIONPAGES"})
# Their results are kept in the document and never shown.
_SILENT = frozenset({"SET", "ASK", "XE", "TC", "TA", "RD", "PRIVATE", "ADVANCE"})
_COMPUTED = frozenset({"FORMCHECKBOX", "FORMDROPDOWN"})
_WORDS = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
# A ruby text as Word 97 wrote it: EQ \* jc2 \o\ad(\s\up 9(reading),base).
_RUBY = re.compile(r"\\o\s*\\a[cdlr]?[cdlr]?\s*\(\s*\\s\s*\\up\s*\d+\s*\((.*?)\)\s*[,;](.*)\)", re.DOTALL)
_MOVED = re.compile(r"([\^_])\{([\w+\-−]{1,8})\}")
_NOTHING = Run(text="")
_QUOTATION_MARKS = str.maketrans("“”„", '"""')


@dataclass
class Field:
    """An open field. `form` are the data of a form field; `link` and `in_contents` are those of the fields around too.

    What is around is noted and not looked for: fields may stand in each other by the thousands.
    """

    form: Element | None = None
    code: list[str] = field(default_factory=list[str])
    in_result: bool = False
    link: str = ""
    in_contents: bool = False

    @property
    def words(self) -> list[str]:
        """The words of the instruction; the first is the kind of field."""
        found = _WORDS.finditer("".join(self.code).translate(_QUOTATION_MARKS))
        return [one[1].replace("\\\\", "\\") if one[1] is not None else one[2] for one in found]

    @property
    def kind(self) -> str:
        """The kind of field in capitals."""
        words = self.words
        return words[0].upper() if words else ""


class Fields:
    """The open fields of a story, from the outermost; `in_head` leaves out the numbers of pages."""

    def __init__(self, *, in_head: bool = False) -> None:
        self.open: list[Field] = []
        self._in_head = in_head
        self._silent = 0
        self._without_result = 0
        self._numbers = AutoNumbers()

    @property
    def shown(self) -> bool:
        """Whether text is shown here: it is in the result of every open field, and of none that is silent."""
        return not self._without_result and not self._silent

    @property
    def page_mark(self) -> str:
        """What stands for the number of a page."""
        return PAGE_MARK if self._in_head else ""

    @property
    def link(self) -> str:
        """The address that the innermost hyperlink field leads to."""
        return self.open[-1].link if self.open else ""

    @property
    def in_contents(self) -> bool:
        """Whether this is in a table of contents."""
        return bool(self.open) and self.open[-1].in_contents

    def begin(self, form: Element | None = None, code: str = "") -> Field:
        """Open a field."""
        opened = Field(form=form, code=[code] if code else [], link=self.link, in_contents=self.in_contents)
        self.open.append(opened)
        self._without_result += 1
        return opened

    def instruction(self, text: str) -> None:
        """Add text to the instruction of the innermost field."""
        if self.open and not self.open[-1].in_result:
            self.open[-1].code.append(text)

    def separate(self) -> None:
        """Begin the result of the innermost field."""
        if not self.open or self.open[-1].in_result:
            return
        innermost, in_contents = self.open[-1], self.in_contents
        innermost.in_result = True
        self._without_result -= 1
        kind = innermost.kind
        if kind == "HYPERLINK":
            innermost.link = _address(innermost.words) or innermost.link
        elif kind == "TOC":
            innermost.in_contents = True
        if self._is_silent(kind, in_contents):
            self._silent += 1

    def end(self) -> Run:
        """Close the innermost field, and return what it shows in place of a result."""
        if not self.open:
            return _NOTHING
        closed = self.open.pop()
        self._without_result -= not closed.in_result
        kind = closed.kind
        if closed.in_result and self._is_silent(kind, self.in_contents):
            self._silent -= 1
        if not self.shown:
            return _NOTHING
        if self._in_head and kind in _PAGE_NUMBERS:
            return Run(text=PAGE_MARK)
        if kind == "EQ" and not closed.in_result:
            return _equation("".join(closed.code))
        return Run(text=computed(closed) or ("" if closed.in_result else self._numbers.number(closed.words)))

    def close_all(self) -> None:
        """Close every field, at the end of a story or where a field was never ended."""
        self.open.clear()
        self._silent = self._without_result = 0

    def _is_silent(self, kind: str, in_contents: bool) -> bool:
        if kind in _SILENT or kind in _COMPUTED:
            return True
        return (kind == "PAGEREF" and in_contents) or (self._in_head and kind in _PAGE_NUMBERS)


def computed(closed: Field) -> str:
    """Return what a field shows that has no result of its own."""
    kind, words = closed.kind, closed.words
    if kind == "FORMCHECKBOX":
        return TICKED if _is_ticked(closed.form) else NOT_TICKED
    if kind == "FORMDROPDOWN":
        return _chosen_entry(closed.form)
    if closed.in_result:
        return ""
    if kind == "FORMTEXT" and closed.form is not None:
        default = closed.form.find(f"{W}textInput/{W}default")
        return "" if default is None else default.get(VAL, "")
    if kind == "SYMBOL" and len(words) > 1:
        return _symbol(words)
    if kind in ("MACROBUTTON", "GOTOBUTTON"):
        return " ".join(words[2:])
    return ""


def _equation(code: str) -> Run:
    """Return the formula of a field EQ; a ruby text as its word and reading, a raised or lowered sign as such."""
    if ruby := _RUBY.search(code):
        return Run(text=f"{ruby[2].strip()} ({ruby[1].strip()})")
    latex = equation(re.sub(r"^\s*EQ\b(?:\s*\\\*\s*\S+)*", "", code, flags=re.IGNORECASE))
    if moved := _MOVED.fullmatch(latex):
        return Run(text=moved[2], position="raised" if moved[1] == "^" else "lowered")
    return Run(text=f"${latex}$" if latex else "", markdown=True)


def _is_ticked(form: Element | None) -> bool:
    box = None if form is None else form.find(f"{W}checkBox")
    if box is None:
        return False
    checked = box.find(f"{W}checked")
    return is_on(checked if checked is not None else box.find(f"{W}default"))


def _chosen_entry(form: Element | None) -> str:
    drop_down = None if form is None else form.find(f"{W}ddList")
    if drop_down is None:
        return ""
    entries = [entry.get(VAL, "") for entry in drop_down.iterchildren(f"{W}listEntry")]
    for name in ("result", "default"):
        chosen = drop_down.find(f"{W}{name}")
        if chosen is not None:
            index = integer(chosen.get(VAL)) or 0
            return entries[index] if 0 <= index < len(entries) else ""
    return entries[0] if entries else ""


def _symbol(words: list[str]) -> str:
    font = next((words[index + 1] for index, word in enumerate(words[:-1]) if word.lower() == "\\f"), "")
    try:
        code = int(words[1], 0)
    except ValueError:
        return words[1][:1]
    return symbol(font, code) if font else chr(code) if 0x20 <= code < 0xD800 else ""


def _address(words: list[str]) -> str:
    """Return the address of a hyperlink field; empty when it leads to a place in the document."""
    target, anchor, rest = "", "", iter(words[1:])
    for word in rest:
        if word.lower() == "\\l":
            anchor = next(rest, "")
        elif word.lower() in ("\\o", "\\t"):
            next(rest, "")
        elif not word.startswith("\\") and not target:
            target = address(word)
    return f"{target}#{anchor}" if target and anchor else target
