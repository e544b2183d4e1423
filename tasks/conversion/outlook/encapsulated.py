"""HTML and plain text that a mail program has wrapped in RTF ([MS-OXRTFEX]), taken out again; pure.

Owns the rules of that format: what `\\htmltag` holds is HTML as it was, text outside of it is its text, and what stands
between `\\htmlrtf` and `\\htmlrtf0`, or in a destination that is not known, is for readers of RTF only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from tasks.conversion.rtf.code_pages import codec_of_charset, codec_of_code_page
from tasks.conversion.rtf.tokens import Token, tokens

Form = Literal["html", "text", ""]

# The mark is among the first words of the file (2.1.3.1).
_MARK_TOKENS = 30
_SIGNS = {
    "par": "\n",
    "line": "\n",
    "tab": "\t",
    "lquote": "‘",
    "rquote": "’",
    "ldblquote": "“",
    "rdblquote": "”",
    "bullet": "•",
    "endash": "–",
    "emdash": "—",
    "emspace": "\u2003",
    "enspace": "\u2002",
}
_SYMBOLS = {"~": "\u00a0", "_": "\u2011", "-": "\u00ad", "{": "{", "}": "}", "\\": "\\", "\n": "\n", "\r": "\n"}
_SILENT = frozenset(
    {"fonttbl", "colortbl", "stylesheet", "info", "pict", "listtable", "listoverridetable", "generator"}
)


@dataclass(frozen=True, slots=True)
class _State:
    """What the controls of a group mean for its text."""

    shown: bool = True
    is_tag: bool = False
    suppressed: bool = False
    skip: int = 1
    font: int = 0
    in_fonts: bool = False


def form_of(rtf: bytes) -> Form:
    """Return what the RTF was made of; empty for a document that was written as RTF."""
    for token in islice(tokens(rtf[: 64 << 10]), _MARK_TOKENS):
        if token.kind == "word" and token.name == "fromhtml" and token.is_on:
            return "html"
        if token.kind == "word" and token.name == "fromtext":
            return "text"
    return ""


def original(rtf: bytes, form: Form) -> str:
    """Return the HTML or the plain text that *rtf* was made of."""
    return _Unwrapping(is_page=form == "html").read(rtf)


class _Unwrapping:
    def __init__(self, *, is_page: bool) -> None:
        self._is_page = is_page
        self._out: list[str] = []
        self._bytes = bytearray()
        self._groups: list[_State] = []
        self._state = _State()
        self._is_star = False
        self._to_skip = 0
        self._code_page = "cp1252"
        self._fonts: dict[int, str] = {}
        self._defined_font = 0

    def read(self, rtf: bytes) -> str:
        for token in tokens(rtf):
            star, self._is_star = self._is_star, False
            if token.kind == "open":
                self._flush()
                self._groups.append(self._state)
            elif token.kind == "close":
                self._flush()
                self._to_skip = 0
                if not self._groups:
                    break
                self._state = self._groups.pop()
            elif token.kind in ("text", "byte"):
                self._add_bytes(token.data)
            elif token.kind == "symbol":
                self._is_star = token.name == "*"
                if not self._is_star:
                    self._add(_SYMBOLS.get(token.name, ""))
            else:
                self._word(token, is_star=star)
        self._flush()
        # Signs beyond 65,535 are written as two halves.
        return "".join(self._out).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    def _word(self, token: Token, *, is_star: bool) -> None:
        name, number = token.name, token.number
        if is_star or name in _SILENT:
            is_tag = is_star and name == "htmltag" and self._is_page
            in_fonts = name == "fonttbl"
            self._change(is_tag=is_tag, shown=is_tag and self._state.shown, in_fonts=in_fonts)
        elif name == "htmlrtf":
            self._change(suppressed=token.is_on)
        elif name == "u" and number is not None:
            self._add_unicode(number)
        elif name == "uc":
            self._change(skip=max(0, number or 0))
        elif name == "f" and number is not None:
            self._defined_font = number
            self._change(font=number)
        elif name == "fcharset" and self._state.in_fonts and (codec := codec_of_charset(number or 0)):
            self._fonts[self._defined_font] = codec
        elif name in ("ansi", "mac", "pc", "pca"):
            self._code_page = codec_of_code_page(name)
        elif name == "ansicpg":
            self._code_page = codec_of_code_page("ansi", number)
        elif name in _SIGNS:
            self._add(_SIGNS[name])

    def _change(self, **fields: int | bool) -> None:
        self._flush()
        self._state = replace(self._state, **fields)  # pyright: ignore[reportArgumentType]

    def _add_unicode(self, number: int) -> None:
        self._flush()
        self._write(chr(number % 65536))
        self._to_skip = self._state.skip

    def _add_bytes(self, data: bytes) -> None:
        skipped = min(self._to_skip, len(data))
        self._to_skip -= skipped
        self._bytes += data[skipped:]

    def _add(self, text: str) -> None:
        if self._to_skip and text:
            self._to_skip -= 1
            return
        self._flush()
        self._write(text)

    def _flush(self) -> None:
        if self._bytes:
            codec = self._fonts.get(self._state.font, self._code_page) if not self._state.is_tag else self._code_page
            try:
                text = self._bytes.decode(codec, "replace")
            except LookupError:  # a symbol font
                text = self._bytes.decode("cp1252", "replace")
            self._bytes.clear()
            self._write(text)

    def _write(self, text: str) -> None:
        state = self._state
        if state.shown and not state.suppressed and text:
            # Text outside of tags is HTML too: its special signs are entities inside of tags (2.2.4), and some programs
            # write tags there.
            self._out.append(text.replace("\u00a0", "&nbsp;") if self._is_page and not state.is_tag else text)
