"""What is kept of an answer: a piece of its text for the log; pure."""

from __future__ import annotations

import unicodedata

# Enough for the first lines of any error page, and little enough for a row per attempt.
MAX_KEPT_BYTES = 4 * 1024

_REPLACEMENT = "\ufffd"
# Control and format characters, lone surrogates: they would end a line, reverse it, or colour a terminal.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_LAYOUT = "\n\t"


def kept_text(body: bytes, content_encoding: str = "") -> str | None:
    """The beginning of *body* as text of at most `MAX_KEPT_BYTES`, cleaned; None for an empty one.

    Never unpacks: a compressed body is only named.
    """
    if not body:
        return None
    if content_encoding.strip().lower() not in {"", "identity"}:
        return f"({clean_line(content_encoding, 40)}, not unpacked)"
    text = body[:MAX_KEPT_BYTES].decode("utf-8", "replace").replace("\r\n", "\n")
    return _cut("".join(char if char in _LAYOUT else _printable(char) for char in text))


def clean_line(text: str, max_chars: int) -> str:
    """*text* in one line of at most *max_chars*, without anything that a terminal would act on."""
    line = " ".join("".join(_printable(char) for char in text.replace("\t", " ").replace("\n", " ")).split())
    return line if len(line) <= max_chars else f"{line[: max_chars - 1]}…"


def _printable(char: str) -> str:
    return _REPLACEMENT if unicodedata.category(char) in _UNPRINTABLE else char


def _cut(text: str) -> str:
    # Replaced characters take more bytes than what they stand for.
    return text.encode()[:MAX_KEPT_BYTES].decode("utf-8", "ignore")
