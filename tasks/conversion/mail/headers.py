"""The headers of mails as text: encoded words decoded (RFC 2047), raw 8-bit text read as UTF-8 (RFC 6532).

Owns which headers are shown, and their bounds.
"""

from __future__ import annotations

import base64
import quopri
import re
from collections.abc import Mapping
from email.message import Message as _Message
from typing import TypeAlias

from tasks.conversion.markdown_writer import escape
from tasks.conversion.reading import single_line

Message: TypeAlias = "_Message[str, str]"

SHOWN_HEADERS = ("From", "To", "Cc", "Date", "Subject")
# Distribution lists have thousands of addresses that no reader searches for.
_MAX_HEADER_CHARACTERS = 1_000
# No real header is this long.
_MAX_RAW_HEADER_CHARACTERS = 20_000
_MAX_FILE_NAME_CHARACTERS = 200
_ENCODED_WORD = re.compile(r"=\?([\w.:-]{1,40})(?:\*[\w-]{1,20})?\?([bBqQ])\?([^?]{0,2000})\?=")
_ENCODED_WORDS = re.compile(rf"{_ENCODED_WORD.pattern}(?:\s*{_ENCODED_WORD.pattern})*")


def header(message: Message, name: str) -> str:
    """Return a header's text on one line; empty when it is absent, undecoded when its encoding is broken."""
    values = [str(value) for key, value in message.raw_items() if key.lower() == name.lower()]
    return decoded_words(", ".join(values))


def header_list(message: Message) -> str:
    """Return the main headers as a Markdown list."""
    return as_list({name: header(message, name) for name in SHOWN_HEADERS})


def as_list(values: Mapping[str, str]) -> str:
    """Return names with values as a Markdown list, without those that are empty."""
    shown = {name: value[:_MAX_HEADER_CHARACTERS] for name, value in values.items()}
    return "\n".join(f"- **{name}:** {escape(value)}" for name, value in shown.items() if value)


def attachment_line(name: str, kind: str) -> str:
    """Return how an attachment is listed: by its name, on one line, and its type."""
    return f"{escape(decoded_words(name)[:_MAX_FILE_NAME_CHARACTERS]) or 'unnamed'} ({kind})"


def decoded_words(raw: str) -> str:
    """Decode RFC 2047 encoded words; raw 8-bit text, which RFC 6532 allows, is read as UTF-8.

    Words that only white space separates are one text, even where a character is cut in two. What cannot be decoded
    stays as it is.
    """
    raw = raw[:_MAX_RAW_HEADER_CHARACTERS].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return single_line(_ENCODED_WORDS.sub(_decoded, raw))


def _decoded(words: re.Match[str]) -> str:
    text, codec, data = "", "", b""
    for found in _ENCODED_WORD.finditer(words[0]):
        if codec and found[1].lower() != codec:
            text, data = text + _as_text(data, codec), b""
        codec = found[1].lower()
        try:
            data += _bytes_of(found[2].lower(), found[3])
        except ValueError:
            return words[0]
    return text + _as_text(data, codec)


def _bytes_of(encoding: str, text: str) -> bytes:
    raw = text.encode("utf-8")
    return quopri.decodestring(raw, header=True) if encoding == "q" else base64.b64decode(raw + b"=" * (-len(raw) % 4))


def _as_text(data: bytes, codec: str) -> str:
    for name in (codec, "utf-8"):
        try:
            return data.decode(name)
        except (LookupError, ValueError):
            continue
    return data.decode("latin-1" if codec.startswith("iso-8859") else "utf-8", "replace")
