"""An RTF document as Markdown: each control goes to the group's state, to the text, or to a destination of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from blocks.errors import UnreadableDocument
from blocks.filetype import FileType
from tasks.conversion.markdown_writer import Notes, Run
from tasks.conversion.office.running_text import says_more_than_a_page_number
from tasks.conversion.office.symbol_fonts import in_symbol_font, is_symbol_font
from tasks.conversion.reading import Reading, clean_text
from tasks.conversion.rtf.code_pages import SYMBOL, codec_of_code_page
from tasks.conversion.rtf.destinations import Destinations
from tasks.conversion.rtf.flows import CellShape, Flow
from tasks.conversion.rtf.state import Format, Group, Paragraph, Sheet, described, formatted
from tasks.conversion.rtf.tokens import Token, tokens
from tasks.losses import losses

CONVERTER = "waybill-rtf 1"

# Real documents nest some tens of groups.
_MAX_GROUPS = 200_000
_SIGNS = {
    "tab": "\t",
    "line": "\n",
    "emdash": "—",
    "endash": "–",
    "emspace": "\u2003",
    "enspace": "\u2002",
    "bullet": "•",
    "lquote": "‘",
    "rquote": "’",
    "ldblquote": "“",
    "rdblquote": "”",
    "zwj": "\u200d",
    "zwnj": "\u200c",
    "ltrmark": "\u200e",
    "rtlmark": "\u200f",
    "softline": "\n",
    "lbr": "\n",
}
_SYMBOLS = {"~": "\u00a0", "_": "\u2011", "\\": "\\", "{": "{", "}": "}"}
_PARAGRAPH_ENDS = frozenset({"par", "sect", "page", "column"})
_SHAPES = {"clmrg": "continues_columns", "clvmgf": "begins_rows", "clvmrg": "continues_rows"}


def read_rtf(path: Path, file_type: FileType, shown: str) -> Reading:
    """Return the document at *path*. Raises `UnreadableDocument`."""
    return read_rtf_bytes(path.read_bytes(), file_type, shown)


def read_rtf_bytes(data: bytes, file_type: FileType, shown: str) -> Reading:
    """Return the document in *data*; *shown* names it in messages. Raises `UnreadableDocument`."""
    if b"{\\rtf" not in data[:1024]:
        raise UnreadableDocument(
            f"{shown!r} could not be read as {file_type.label}; check that it opens and send it again"
        )
    reader = _Reader()
    reader.read(data)
    return reader.reading(shown, file_type)


class _Reader:
    def __init__(self) -> None:
        self._sheet = Sheet()
        self._notes = Notes()
        self._lost: Counter[str] = Counter()
        self._main = Flow(self._sheet)
        self._destinations = Destinations(self._sheet, self._notes, self._lost)
        self._group = Group(flow=self._main)
        self._stack: list[Group] = []
        self._pending = bytearray()  # bytes of text that may end in the middle of a character
        self._skip = 0  # characters that stand for a Unicode one
        self._surrogate = 0
        # By whether the row is one of a table in a cell: some programs define the outer row only once, before it.
        self._shapes: dict[bool, list[CellShape]] = {False: [], True: []}
        self._shape = CellShape()
        self._too_deep = False

    def read(self, data: bytes) -> None:
        for token in tokens(data):
            if token.kind not in ("text", "byte"):
                self._flush()
            if token.kind == "open":
                self._open()
            elif token.kind == "close":
                self._close()
            elif token.kind == "word":
                self._word(token)
            elif token.kind == "symbol":
                self._symbol(token.name)
            else:
                self._bytes(token.data)
        self._flush()

    def reading(self, shown: str, file_type: FileType) -> Reading:
        if self._too_deep:
            raise UnreadableDocument(f"{shown!r} ({file_type.label}) is nested too deeply to be read")
        is_cut = len(self._stack) > 0
        while self._stack:
            self._close()
        self._main.finish(self._group.paragraph)
        body = "\n\n".join(
            text.strip("\n")
            for text in (
                *self._running("header"),
                str(self._main.body),
                *self._notes.definitions(),
                *self._running("footer"),
            )
            if text.strip()
        )
        self._lost["note"] += self._notes.without_text()
        warnings = ("the file ends early; text may be missing",) if is_cut else ()
        return Reading(
            body=f"{body}\n" if body else "",
            converter=CONVERTER,
            title=clean_text("".join(self._destinations.title)).strip() or None,
            created=self._destinations.created,
            warnings=(*losses(self._lost), *warnings),
        )

    def _running(self, kind: str) -> Iterator[str]:
        """Yield each different head (or foot) once."""
        texts: dict[str, None] = {}
        for flow in self._destinations.running[kind]:
            flow.finish(Paragraph())
            texts.update(dict.fromkeys(text for text in flow.texts if says_more_than_a_page_number(text)))
        yield from texts

    def _open(self) -> None:
        self._too_deep = self._too_deep or len(self._stack) >= _MAX_GROUPS
        self._stack.append(self._group)
        self._group = self._group.inner()
        self._skip = 0
        self._destinations.opened()

    def _close(self) -> None:
        self._destinations.closed(self._group, self._stack[-1] if self._stack else None)
        if self._stack:
            self._group = self._stack.pop()
        self._skip = 0

    def _word(self, token: Token) -> None:
        name = token.name
        if self._skip and name not in ("u", "uc"):
            self._skip -= 1
            return
        if name == "u":
            self._unicode(token.number or 0)
        elif name == "uc":
            self._group.fallback = max(0, token.number or 0)
        elif self._destinations.entered(token, self._group):
            return
        elif name in _SIGNS:
            self._add(_SIGNS[name])
        elif (changed := formatted(self._group.format, token)) is not None:
            self._group.format = changed
        elif (paragraph := described(self._group.paragraph, token)) is not None:
            self._group.paragraph = paragraph
        elif name in _PARAGRAPH_ENDS or name in ("cell", "nestcell", "row", "nestrow"):
            self._end(name)
        else:
            self._table_or_head(token)

    def _table_or_head(self, token: Token) -> None:
        """Read what defines a row of a table, and the code page."""
        name = token.name
        nested = self._group.reads == "nested row"
        if name == "trowd":
            self._shapes[nested], self._shape = [], CellShape()
        elif name in _SHAPES:
            setattr(self._shape, _SHAPES[name], True)
        elif name == "cellx":
            self._shape.edge = token.number or 0
            self._shapes[nested].append(self._shape)
            self._shape = CellShape()
        elif name in ("ansi", "mac", "pc", "pca"):
            self._sheet.codec = codec_of_code_page(name)
        elif name == "ansicpg":
            self._sheet.codec = codec_of_code_page("ansi", token.number)

    def _end(self, name: str) -> None:
        flow, paragraph = self._group.flow, self._group.paragraph
        if flow is None or self._group.captured is not None:
            return
        if name in _PARAGRAPH_ENDS:
            if not (self._group.format.deleted and name == "par"):  # a deleted mark joins two paragraphs
                flow.end_paragraph(paragraph)
        elif name == "cell":
            flow.end_cell(Paragraph(in_table=True))
        elif name == "nestcell":
            flow.end_cell(Paragraph(in_table=True, table_depth=max(2, paragraph.table_depth)))
        else:
            flow.end_row(self._shapes[name != "row"], 1 if name == "row" else max(2, paragraph.table_depth))

    def _symbol(self, name: str) -> None:
        if self._skip:
            self._skip -= 1
        elif name == "*":
            self._destinations.starred = True
        elif name in _SYMBOLS:
            self._add(_SYMBOLS[name])
        elif name in ("\n", "\r"):
            self._end("par")
        elif name == "\t":
            self._add("\t")

    def _bytes(self, data: bytes) -> None:
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        if self._group.flow is not None or self._group.captured is not None:
            self._pending += data

    def _flush(self) -> None:
        if not self._pending:
            return
        data = bytes(self._pending)
        self._pending.clear()
        codec = self._sheet.codecs.get(self._group.format.font, self._sheet.codec)
        self._add(data.decode("latin-1" if codec == SYMBOL else codec, "replace"))

    def _unicode(self, number: int) -> None:
        code = number & 0xFFFF
        self._skip = self._group.fallback
        if 0xD800 <= code < 0xDC00:
            self._surrogate = code
            return
        if 0xDC00 <= code < 0xE000:
            text = chr(0x10000 + ((self._surrogate - 0xD800) << 10) + code - 0xDC00) if self._surrogate else ""
            self._surrogate = 0
        else:
            text = chr(code)
        self._add(text)

    def _add(self, text: str) -> None:
        group = self._group
        if group.captured is not None:
            group.captured.append(self._as_shown(text, group.format) if group.reads == "label" else text)
            return
        if group.flow is None or group.format.deleted:
            return
        if group.format.hidden:
            self._lost["hidden-text"] += bool(text.strip())
            return
        group.flow.add(_run(self._as_shown(text, group.format), group.format, group.link))

    def _as_shown(self, text: str, form: Format) -> str:
        font = self._sheet.fonts.get(form.font, "")
        symbols = is_symbol_font(font)
        if symbols and (
            self._sheet.codecs.get(form.font) == SYMBOL or any("\uf000" <= char <= "\uf0ff" for char in text)
        ):
            text = in_symbol_font(font, text)
            self._lost["symbol"] += text.count("\ufffd")
        return text if text in ("\t", "\n") else clean_text(text)


def _run(text: str, form: Format, link: str) -> Run:
    return Run(text=text, bold=form.bold, italic=form.italic, struck=form.struck, position=form.position, link=link)
