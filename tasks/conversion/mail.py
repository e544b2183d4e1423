"""E-mail messages: the main headers, the text, and the names of the attachments.

Owns the choice of a message's text (RFC 2046: the richest alternative that can be read) and the decoding of its headers
(RFC 2047). Attachments are listed and not read: each is a document with an identity of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from email import policy
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message as _Message
from email.parser import BytesParser
from pathlib import Path
from typing import TypeAlias, cast

from blocks.errors import UnreadableDocument, WaybillError
from tasks.conversion.encodings import guess_legacy_codec
from tasks.conversion.reading import Reading, clean_text, single_line

Message: TypeAlias = "_Message[str, str]"

CONVERTER = "waybill-mail 1"

_SHOWN_HEADERS = ("From", "To", "Cc", "Date", "Subject")
# A forwarded message in a forwarded message is still a conversation; deeper nesting is a loop or an attack.
_MAX_FORWARDS = 3
# Distribution lists have thousands of addresses that no reader searches for.
_MAX_HEADER_CHARACTERS = 1_000
# Decoding encoded words takes more than linear time; no real header is this long.
_MAX_RAW_HEADER_CHARACTERS = 20_000
_MAX_FILE_NAME_CHARACTERS = 200
# What the standard library's parser is known to raise on malformed parameters and encodings.
_PARSER_FAILURES = (MessageError, ValueError, LookupError, TypeError, AttributeError, AssertionError)
_WORD = re.compile(r"[^\W_]")
_IMAGE = re.compile(r"!\[[^\]\n]{0,500}\]\([^)\n]{0,2000}\)")
_MARKUP = re.compile(r"([\\`*\[\]<])")


@dataclass(kw_only=True)
class _Content:
    """The parts of a message found so far."""

    blocks: list[str] = field(default_factory=list[str])
    attachments: list[str] = field(default_factory=list[str])


class _MailReader:
    """Walks one message's parts; opens no other file than the message."""

    def __init__(self, path: Path, shown: str, exclude_selectors: Sequence[str]) -> None:
        self._path = path
        self._shown = shown
        self._exclude_selectors = exclude_selectors

    def content(self, message: Message, forwards: int = 0) -> _Content:
        found = _Content(blocks=[_header_list(message)])
        self._collect(message, found, forwards)
        if found.attachments:
            listed = "\n".join(f"- {name}" for name in found.attachments)
            found.blocks.append(f"**Attachments:**\n\n{listed}")
        return found

    def _collect(self, part: Message, found: _Content, forwards: int) -> None:
        kind = part.get_content_type()
        children = cast("list[Message]", part.get_payload()) if part.is_multipart() else []
        if kind == "message/rfc822" and children and forwards < _MAX_FORWARDS:
            inner = children[0]
            subject = _escaped(_header(inner, "Subject")) or "without subject"
            found.blocks.append(f"## Forwarded message: {subject}")
            found.blocks += self.content(inner, forwards + 1).blocks
        elif kind == "multipart/alternative" and part.is_multipart():
            self._collect_richest(children, found, forwards)
        elif part.is_multipart() and kind.startswith("multipart/"):
            for child in children:
                self._collect(child, found, forwards)
        elif part.get_content_disposition() == "attachment" or part.get_filename() or not _is_text(kind):
            found.attachments.append(_attachment_line(part, kind))
        else:
            found.blocks.append(self._text(part, kind))

    def _collect_richest(self, alternatives: list[Message], found: _Content, forwards: int) -> None:
        """Add the last alternative that has any text: senders put the richest one last (RFC 2046 section 5.1.4)."""
        for part in reversed(alternatives):
            attempt = _Content()
            self._collect(part, attempt, forwards)
            if any(_WORD.search(_IMAGE.sub("", block)) for block in attempt.blocks):
                found.blocks += attempt.blocks
                found.attachments += attempt.attachments
                return

    def _text(self, part: Message, kind: str) -> str:
        text = clean_text(_decoded(part))
        if kind != "text/html" or not text.strip():
            return text.strip("\n")
        from tasks.conversion.web_page import html_to_markdown

        try:
            reading = html_to_markdown(text, self._path, self._shown, self._exclude_selectors)
        except WaybillError:
            return ""  # another alternative may be readable, and headers and attachments are useful
        return reading.body.strip("\n")


def read_mail(path: Path, shown: str, exclude_selectors: Sequence[str]) -> Reading:
    """Return the message as Markdown. Raises `UnreadableDocument` for malformed or too deeply nested messages."""
    try:
        with path.open("rb") as file:
            message = BytesParser(policy=policy.compat32).parse(file)
        content = _MailReader(path, shown, exclude_selectors).content(message)
    except RecursionError as exc:
        raise UnreadableDocument(
            f"{shown!r} is a message whose parts are nested too deeply to be read; send the inner message alone"
        ) from exc
    except _PARSER_FAILURES as exc:
        raise UnreadableDocument(
            f"{shown!r} is not a well-formed e-mail message ({type(exc).__name__}); export it again"
        ) from exc
    subject = _header(message, "Subject")
    heading = [f"# {_escaped(subject)}"] if subject else []
    return Reading(
        body="\n\n".join(block for block in [*heading, *content.blocks] if block.strip()) + "\n",
        converter=CONVERTER,
        title=subject or None,
        created=_header(message, "Date") or None,
    )


def _header_list(message: Message) -> str:
    values = {name: _header(message, name)[:_MAX_HEADER_CHARACTERS] for name in _SHOWN_HEADERS}
    return "\n".join(f"- **{name}:** {_escaped(value)}" for name, value in values.items() if value)


def _header(message: Message, name: str) -> str:
    """Return a header's text on one line; empty when it is absent, undecoded when its encoding is broken."""
    values = [str(value) for key, value in message.raw_items() if key.lower() == name.lower()]
    return _decoded_words(", ".join(values))


def _decoded_words(raw: str) -> str:
    """Decode RFC 2047 encoded words; raw 8-bit text, which RFC 6532 allows, is read as UTF-8."""
    raw = raw[:_MAX_RAW_HEADER_CHARACTERS].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    try:
        return single_line(str(make_header(decode_header(raw))))
    except (MessageError, LookupError, ValueError):
        return single_line(raw)


def _is_text(kind: str) -> bool:
    """Return whether a part is shown as text; so is a multipart message without its boundary, which has no parts."""
    return kind.startswith(("text/", "multipart/"))


def _escaped(text: str) -> str:
    return _MARKUP.sub(r"\\\1", text)


def _attachment_line(part: Message, kind: str) -> str:
    name = _decoded_words(part.get_filename() or "")
    return f"{_escaped(name[:_MAX_FILE_NAME_CHARACTERS]) or 'unnamed'} ({kind})"


def _decoded(part: Message) -> str:
    """Return a text part's text: decoded by its declared charset, else as UTF-8, else by statistics."""
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    for codec in (part.get_content_charset() or "utf-8", "utf-8"):
        try:
            return data.decode(codec)
        except (LookupError, ValueError):
            continue
    return data.decode(guess_legacy_codec(data[: 32 << 10]), "replace")
