"""Destinations of an RTF file: groups whose text is no running text (RTF 1.9.1, "Destination control words").

A destination with ``\\*`` that is not known is left out with all that is in it, as the format asks.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from tasks.conversion.markdown_writer import NoteKind, Notes, Run, comment
from tasks.conversion.reading import clean_text
from tasks.conversion.rtf.code_pages import codec_of_charset
from tasks.conversion.rtf.flows import Flow
from tasks.conversion.rtf.math import BEGINS, FormulaTree
from tasks.conversion.rtf.state import Format, Group, Paragraph, Sheet, Style
from tasks.conversion.rtf.tokens import Token

_HEADS = {
    **dict.fromkeys(("header", "headerl", "headerr", "headerf"), "header"),
    **dict.fromkeys(("footer", "footerl", "footerr", "footerf"), "footer"),
}
# Destinations whose text is left out. Those with a star need not be here.
_SILENT = frozenset(
    {
        *(
            "colortbl",
            "filetbl",
            "listtable",
            "listoverridetable",
            "info",
            "pict",
            "objdata",
            "objclass",
            "sp",
            "shprslt",
        ),
        *(
            "nonshppict",
            "fldtype",
            "xe",
            "tc",
            "rxe",
            "private",
            "revtbl",
            "rsidtbl",
            "nextfile",
            "template",
            "pnseclvl",
        ),
        *("ftnsep", "ftnsepc", "ftncn", "aftnsep", "aftnsepc", "aftncn", "atnid", "atndate", "atnref", "atntime"),
        *("atnparent", "bkmkstart", "bkmkend", "keywords", "doccomm", "operator"),
        *("author", "company", "category", "manager", "subject", "hlinkbase", "userprops", "falt", "panose"),
        *("pntxtb", "pntxta", "nonesttables"),
    }
)
# Destinations with a star that hold running text all the same.
_READ = frozenset({"shpinst", "shppict", "do", "pn"})
_LOST = {"pict": "image", "objdata": "object"}
# The address is in quotation marks or ends at a blank; ``\l`` begins the name of a place in the document.
# A word with its reading above it is a formula field without a result: ``EQ \o\ad(\s\up 9(reading),word)``.
_RUBY = re.compile(r"EQ\b.*\\s\\up ?\d+\(([^()]+)\)[,;]([^()]+)\)", re.DOTALL)
_LINK = re.compile(r'HYPERLINK\s+(?:"([^"]+)"|([^\s"\\]\S*))', re.IGNORECASE)


@dataclass
class _Field:
    instruction: list[str] = field(default_factory=list[str])
    is_ticked: bool | None = None


@dataclass
class _Note:
    flow: Flow
    outer: Flow
    kind: NoteKind


@dataclass
class Destinations:
    """Follows the destinations of one document. `running` are heads and feet, `title` and `created` its properties."""

    sheet: Sheet
    notes: Notes
    lost: Counter[str]
    running: dict[str, list[Flow]] = field(default_factory=lambda: {"header": [], "footer": []})
    title: list[str] = field(default_factory=list[str])
    created: str | None = None
    starred: bool = False
    _begins: bool = False
    _fields: list[_Field] = field(default_factory=list[_Field])
    _notes_open: list[_Note] = field(default_factory=list[_Note])
    _author: list[str] = field(default_factory=list[str])
    _moment: dict[str, int] = field(default_factory=dict[str, int])
    _formula: FormulaTree | None = None
    _formula_flow: Flow | None = None
    _style: int = 0
    _count: int = 0
    _depth: int = 0
    _field_depths: list[int] = field(default_factory=list[int])

    def opened(self) -> None:
        """Take notice of a group that begins: its first word may name a destination."""
        self._begins, self.starred = True, False
        self._depth += 1

    def entered(self, token: Token, group: Group) -> bool:
        """Return whether the word *token* is done with: it begins a destination, or means something inside one."""
        begins, self._begins = self._begins, False
        starred, self.starred = self.starred, False
        if group.reads and self._read_table(token, group):
            return True
        if not (begins or starred):
            return self._read_mark(token, group)
        if token.name in _HEADS:
            group.flow = self._new_flow(group)
            self.running[_HEADS[token.name]].append(group.flow)
            return True
        return (
            self._entered(token, group)
            or self._left_out(token, group, starred=starred)
            or self._read_mark(token, group)
        )

    def _entered(self, token: Token, group: Group) -> bool:
        name = token.name
        if name in ("footnote", "annotation"):
            self._open_note(group, "footnote" if name == "footnote" else "comment")
        elif name in ("fonttbl", "stylesheet", "creatim"):
            group.reads, group.flow, group.captured = name, None, []
        elif name == "title" and group.flow is None:
            group.captured = self.title
        elif name == "atnauthor":
            self._author = group.captured = []
        elif name in ("listtext", "pntext"):
            group.captured, group.reads = [], "label"
        elif name == "field":
            self._fields.append(_Field())
            self._field_depths.append(self._depth)
        elif name == "fldinst" and self._fields:
            group.captured = self._fields[-1].instruction
        elif name == "formfield" and self._fields:
            group.captured, group.reads = [], "formfield"
        elif name == "fldrslt":
            self._enter_result(group)
        elif name in ("shptxt", "dptxbxtext"):
            self._enter_box(group)
        elif name in BEGINS:
            self._begin_formula(group)
        elif name == "upr":
            group.flow, group.kept_flow = None, group.flow
        elif name == "ud":
            group.flow = group.kept_flow
        elif name == "nesttableprops":
            group.reads = "nested row"
        else:
            return False
        return True

    def _left_out(self, token: Token, group: Group, *, starred: bool) -> bool:
        """Leave out the group that *token* begins, if it is one of those; count what is lost with it."""
        name = token.name
        if name not in _SILENT and (not starred or name in _READ):
            return name in _READ
        if group.flow is not None and name in _LOST:
            self.lost[_LOST[name]] += 1
        group.flow = None
        group.captured = None if name == "info" or group.captured is None else []
        return True

    def _read_mark(self, token: Token, group: Group) -> bool:
        """Read the words for automatic marks of notes, and the one that makes an endnote of a footnote."""
        if token.name == "ftnalt" and self._notes_open and group.flow is self._notes_open[-1].flow:
            self._notes_open[-1].kind = "endnote"
            return True
        return token.name in ("chftn", "chatn", "chftnsep", "chftnsepc")

    def _read_table(self, token: Token, group: Group) -> bool:
        if group.reads == "fonttbl":
            self._read_font(token, group)
        elif group.reads == "stylesheet":
            self._read_style(token, group)
        elif group.reads == "creatim":
            self._moment[token.name] = token.number or 0
        elif group.reads == "formfield":
            self._read_form_field(token)
        elif group.reads == "math":
            self._read_formula(token, group)
        else:
            return False
        return True

    def _begin_formula(self, group: Group) -> None:
        if group.flow is not None and self._formula is None:
            self._formula, self._formula_flow = FormulaTree(self._depth), group.flow
        group.reads, group.flow, group.captured = "math", None, []

    def _read_formula(self, token: Token, group: Group) -> None:
        if token.name == "mmathPict":  # the same as a picture
            group.reads, group.captured = "picture", []
        elif self._formula is not None and token.name.startswith("m"):
            self._formula.begin(token.name, self._depth)
            group.captured = []

    def _close_formula(self, group: Group) -> None:
        """End a group of a formula; with the outermost one, the formula takes its place in the text."""
        tree = self._formula
        if tree is None:
            return
        tree.add("".join(group.captured or ()))
        tree.end(self._depth)
        if tree.depth == self._depth and self._formula_flow is not None:
            formula = tree.formula()
            self.lost["formula"] += formula.doubtful or not formula.latex
            if formula.latex:
                self._formula_flow.add(Run(text=f"${formula.latex}$", markdown=True))
            self._formula = self._formula_flow = None

    def _read_font(self, token: Token, group: Group) -> None:
        if token.name == "f":
            group.format = Format(font=token.number or 0)
            group.captured = []
        elif token.name == "fcharset" and (codec := codec_of_charset(token.number or 0)):
            self.sheet.codecs[group.format.font] = codec
        elif token.name in ("falt", "panose"):
            group.captured = []
            group.reads = "falt"

    def _read_style(self, token: Token, group: Group) -> None:
        if token.name == "s":
            self._style = token.number or 0
            self.sheet.styles[self._style] = Style()
            group.captured = []
        elif token.name in ("cs", "ts", "ds"):
            group.captured, group.reads = [], "other style"
        elif token.name == "outlinelevel" and self._style in self.sheet.styles:
            self.sheet.styles[self._style].outline = token.number

    def _read_form_field(self, token: Token) -> None:
        if not self._fields:
            return
        if token.name == "fftype" and token.number == 1:
            self._fields[-1].is_ticked = False
        elif token.name in ("ffres", "ffdefres") and self._fields[-1].is_ticked is not None and token.number in (0, 1):
            self._fields[-1].is_ticked = bool(token.number)

    def closed(self, group: Group, outer: Group | None) -> None:
        """Take notice of a group that ends; *outer* is the one that it is in."""
        self._begins = self.starred = False
        text = "".join(group.captured or ()).strip()
        if group.reads == "fonttbl" and text:
            self.sheet.fonts.setdefault(group.format.font, text.rstrip(";").strip())
        elif group.reads == "stylesheet" and text and outer is not None and outer.reads == "stylesheet":
            self.sheet.styles.setdefault(self._style, Style()).name = text.rstrip(";").strip()
            self._style = 0
        elif group.reads == "creatim":
            self._set_created()
        elif group.reads == "math":
            self._close_formula(group)
        elif group.reads == "label" and outer is not None and outer.flow is not None and outer.reads != "label":
            outer.flow.label = text
        if self._field_depths and self._field_depths[-1] == self._depth:
            self._field_depths.pop()
            self._close_field(outer)
        if self._notes_open and group.flow is self._notes_open[-1].flow and (not outer or outer.flow is not group.flow):
            self._close_note(group)
        self._depth -= 1

    def _open_note(self, group: Group, kind: NoteKind) -> None:
        outer = group.flow
        if outer is not None:
            self._notes_open.append(_Note(self._new_flow(group), outer, kind))

    def _close_note(self, group: Group) -> None:
        note = self._notes_open.pop()
        note.flow.finish(group.paragraph)
        text = "\n\n".join(note.flow.texts)
        if note.kind == "comment":
            text = comment(clean_text("".join(self._author)), text)
            self._author = []
        self._count += 1
        note.outer.add(self.notes.mark(note.kind, str(self._count)))
        self.notes.define(note.kind, str(self._count), text)

    def _enter_result(self, group: Group) -> None:
        found = _LINK.search("".join(self._fields[-1].instruction)) if self._fields else None
        if found is not None:
            group.link = found[1] or found[2]

    def _close_field(self, outer: Group | None) -> None:
        ended = self._fields.pop()
        if outer is None or outer.flow is None:
            return
        if ended.is_ticked is not None:
            outer.flow.add(Run(text="☒" if ended.is_ticked else "☐"))
        elif ruby := _RUBY.search("".join(ended.instruction)):
            outer.flow.add(Run(text=clean_text(f"{ruby[2]} ({ruby[1]})")))

    def _enter_box(self, group: Group) -> None:
        outer = group.flow
        if outer is not None:
            outer.floats.append(self._new_flow(group))

    def _new_flow(self, group: Group) -> Flow:
        """Give *group* a text of its own."""
        group.flow, group.format, group.paragraph, group.link = Flow(self.sheet), Format(), Paragraph(), ""
        group.captured = None
        return group.flow

    def _set_created(self) -> None:
        year, month, day = (self._moment.get(name, 0) for name in ("yr", "mo", "dy"))
        if year and 1 <= month <= 12 and 1 <= day <= 31:
            clock = f"T{self._moment.get('hr', 0):02}:{self._moment.get('min', 0):02}:00"
            self.created = f"{year:04}-{month:02}-{day:02}{clock}"
