"""The part of an answer that the delivery log keeps: cleaned text; pure."""

from __future__ import annotations

import unicodedata

from blocks.runtime.in_words import shortened

# Enough for the first lines of any error page, and small enough for a row per attempt.
MAX_KEPT_BYTES = 4 * 1024

_REPLACEMENT = "\ufffd"
# Control and format characters and lone surrogates: they would end a line, reverse it, or colour a terminal.
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_LAYOUT = "\n\t"


def kept_text(body: bytes, content_encoding: str = "") -> str | None:
    """Return the beginning of *body* as clean text of at most `MAX_KEPT_BYTES`; None for an empty body.

    Never decompresses: for a compressed body it returns a note with the encoding.
    """
    if not body:
        return None
    if content_encoding.strip().lower() not in {"", "identity"}:
        return f"({clean_line(content_encoding, 40)}, not decompressed)"
    text = body[:MAX_KEPT_BYTES].decode("utf-8", "replace").replace("\r\n", "\n")
    return _cut("".join(char if char in _LAYOUT else _printable(char) for char in text))


def clean_line(text: str, max_chars: int) -> str:
    """Return *text* as one line of at most *max_chars*, without characters that a terminal would act on."""
    line = " ".join("".join(_printable(char) for char in text.replace("\t", " ").replace("\n", " ")).split())
    return shortened(line, max_chars)


def _printable(char: str) -> str:
    return _REPLACEMENT if unicodedata.category(char) in _UNPRINTABLE else char


def _cut(text: str) -> str:
    # Replacement characters may take more bytes than the characters they replace.
    return text.encode()[:MAX_KEPT_BYTES].decode("utf-8", "ignore")
