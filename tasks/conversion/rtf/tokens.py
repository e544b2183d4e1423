"""The tokens of an RTF file: braces, control words with their numbers, control symbols, bytes of text; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["open", "close", "word", "symbol", "byte", "text"]

_TOKEN = re.compile(
    rb"\\([A-Za-z]{1,32})(-?\d{1,10})? ?"  # a word; the blank after it belongs to it
    rb"|\\'([0-9A-Fa-f]{2})"
    rb"|\\([^A-Za-z])"
    rb"|([{}])"
    rb"|([^\\{}\r\n]+)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One token. `name` is a word's or a symbol's, `number` a word's parameter, `data` the bytes of text."""

    kind: Kind
    name: str = ""
    number: int | None = None
    data: bytes = b""

    @property
    def is_on(self) -> bool:
        """Whether a switch is on: without a number, or with one that is not 0."""
        return self.number != 0


_OPEN, _CLOSE = Token("open"), Token("close")


def tokens(data: bytes) -> Iterator[Token]:
    """Yield the tokens of *data*; what belongs to no token (line ends) is skipped, and so are binary bytes."""
    at = 0
    while (found := _TOKEN.search(data, at)) is not None:
        at = found.end()
        word, number, code, symbol, brace, text = found.groups()
        if word is not None:
            token = Token("word", word.decode("ascii"), int(number) if number else None)
            if token.name == "bin":
                at += max(0, token.number or 0)
            yield token
        elif brace is not None:
            yield _OPEN if brace == b"{" else _CLOSE
        elif text is not None:
            yield Token("text", data=text)
        elif code is not None:
            yield Token("byte", data=bytes.fromhex(code.decode("ascii")))
        else:
            yield Token("symbol", symbol.decode("latin-1"))
