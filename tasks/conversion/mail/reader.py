"""E-mail messages: the main headers, the text, and the names of the attachments.

Owns the walk over a message's parts: which of them are its text, which are versions of one text (RFC 2046 section
5.1.4), and what is named only. Attachments are listed and not read: each is a document with an identity of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from email import policy
from email.errors import MessageError
from email.parser import BytesParser
from functools import cached_property
from pathlib import Path
from typing import cast
from urllib.parse import unquote

from blocks.errors import UnreadableDocument
from tasks.conversion.mail.calendar_event import events
from tasks.conversion.mail.headers import Message, as_list, attachment_line, header, header_list
from tasks.conversion.mail.signed_envelope import signed_content
from tasks.conversion.mail.text import PAGES, READABLE, decoded, plain_text, read_text
from tasks.conversion.mail.versions import Version, Wording, has_words, joined, wording_of, wording_of_page
from tasks.conversion.markdown_writer import escape
from tasks.conversion.plain.reader import as_code_block
from tasks.conversion.reading import Reading, clean_text
from tasks.losses import counted, losses

CONVERTER = "waybill-mail 2"

# A forwarded message in a forwarded message is still a conversation; deeper nesting is a loop or an attack.
_MAX_FORWARDS = 3
# What the standard library's parser is known to raise on malformed parameters and encodings.
_PARSER_FAILURES = (MessageError, ValueError, LookupError, TypeError, AttributeError, AssertionError)
_MESSAGES = frozenset({"message/rfc822", "message/global"})
# What mail systems report about a message: fields for machines, with the reason that people look for.
_REPORTS = frozenset(
    {
        *("message/delivery-status", "message/global-delivery-status", "message/disposition-notification"),
        *("message/global-disposition-notification", "message/feedback-report"),
    }
)
_SEALED = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime", "application/pgp-encrypted"})
# What a saved page is shown with.
_FORMS_OF_PAGES = ("text/css", "text/javascript", "application/javascript", "font/", "application/font")
_TNEF = frozenset({"application/ms-tnef", "application/vnd.ms-tnef"})


@dataclass(kw_only=True)
class _Content:
    """The parts of a message found so far.

    `sources` are its texts as the sender wrote them, each with whether it is HTML.
    """

    blocks: list[str] = field(default_factory=list[str])
    attachments: list[str] = field(default_factory=list[str])
    sources: list[tuple[str, bool]] = field(default_factory=list[tuple[str, bool]])

    @cached_property
    def wording(self) -> Wording:
        """All that the sender wrote; complete when the parts are."""
        wording = Wording()
        for source, is_page in self.sources:
            wording |= wording_of_page(source) if is_page else wording_of(source)
        return wording

    @property
    def is_page(self) -> bool:
        return any(is_page for _, is_page in self.sources)

    @property
    def markdown(self) -> str:
        return "\n\n".join(block for block in self.blocks if block.strip())


class _MailReader:
    """Walks one message's parts; opens no other file than the message."""

    def __init__(self, exclude_selectors: Sequence[str]) -> None:
        self._exclude_selectors = exclude_selectors
        self._lost: Counter[str] = Counter()
        self._shown_parts: set[str] = set()
        self._parts: set[str] = set()
        self._warnings: list[str] = []

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be carried over; a picture that the text shows and the message lacks is a lost one too."""
        lost = Counter(self._lost)
        lost["image"] += len({unquote(name) for name in self._shown_parts} - self._parts)
        return losses(lost) + tuple(dict.fromkeys(self._warnings))

    def content(self, message: Message, forwards: int = 0) -> _Content:
        found = _Content(blocks=[header_list(message)])
        if _is_other_text(message):  # the message is the file, such as a table that a program has sent
            found.blocks.append(as_code_block(clean_text(decoded(message)), message.get_content_subtype()))
        else:
            self._collect(message, found, forwards)
        if found.attachments:
            listed = "\n".join(f"- {name}" for name in dict.fromkeys(found.attachments))
            found.blocks.append(f"**Attachments:**\n\n{listed}")
        return found

    def _collect(self, part: Message, found: _Content, forwards: int) -> None:
        kind = part.get_content_type()
        children = cast("list[Message]", part.get_payload()) if part.is_multipart() else []
        if kind in _MESSAGES and children and forwards < _MAX_FORWARDS:
            inner = children[0]
            subject = escape(header(inner, "Subject")) or "without subject"
            found.blocks.append(f"## Forwarded message: {subject}")
            found.blocks += self.content(inner, forwards + 1).blocks
        elif kind == "multipart/alternative" and children:
            self._collect_versions(children, found, forwards)
        elif kind.startswith("multipart/") and part.is_multipart():
            for child in children:
                self._collect(child, found, forwards)
        elif kind in _SEALED and forwards < _MAX_FORWARDS and (signed := _signed_message(part)) is not None:
            found.attachments.append(attachment_line(part.get_filename() or "", kind))
            self._collect(signed, found, forwards + 1)
        elif kind in _REPORTS and not _is_attached(part):
            found.blocks.append(_report(part, children))
        elif _is_attached(part) or not (kind in READABLE or kind.startswith("multipart/")):
            self._name(part, kind, found)
        else:
            self._add_text(part, kind, found)

    def _collect_versions(self, children: list[Message], found: _Content, forwards: int) -> None:
        """Add the richest version of a text, what stands in the others only, and the event that it is about."""
        contents: dict[int, _Content] = {}
        calendars = [child for child in children if child.get_content_type() == "text/calendar"]
        known = Wording()
        # Plain text last, whatever the order: it is rarely more than a form of the others.
        for index, child in sorted(enumerate(children), key=lambda one: one[1].get_content_type() == "text/plain"):
            content = contents[index] = _Content()
            if child not in calendars and not _says_the_same(child, known):
                self._collect(child, content, forwards)
            found.attachments += content.attachments
            found.sources += content.sources
            if has_words(content.markdown):
                known |= content.wording
        readable = [content for _, content in sorted(contents.items()) if has_words(content.markdown)]
        if not readable:  # a single sign is an answer too
            readable = [content for _, content in sorted(contents.items()) if content.markdown][-1:]
        readable.sort(key=lambda content: content.is_page)
        if readable:
            versions = [Version(markdown=content.markdown, wording=content.wording) for content in readable]
            chosen, added = joined(versions)
            found.blocks += [*readable[chosen].blocks, added]
        for calendar in calendars:
            self._add_calendar(calendar, found, with_source=not readable)
            found.attachments.append(attachment_line(calendar.get_filename() or "", "text/calendar"))

    def _add_calendar(self, part: Message, found: _Content, *, with_source: bool) -> None:
        """Add the events of calendar data as lists, and the data as code where no letter says what it is."""
        text = clean_text(decoded(part))
        lists = [as_list(event) for event in events(text)]
        found.blocks += [block for block in lists if block not in found.blocks]
        if with_source and text.strip():
            found.blocks.append(as_code_block(text, "ics"))

    def _add_text(self, part: Message, kind: str, found: _Content) -> None:
        text = read_text(part, kind, self._exclude_selectors)
        lost, warnings = counted(text.warnings)
        self._lost += Counter({**lost, "image": text.images})
        self._warnings += warnings
        self._shown_parts |= text.pictures
        found.blocks.append(text.markdown)
        found.sources.append((text.source, kind in PAGES))
        found.attachments += [attachment_line(*file) for file in text.files]

    def _name(self, part: Message, kind: str, found: _Content) -> None:
        """Add a part that is not read to the attachments; count what was shown inside the text."""
        if kind == "text/calendar" and not _is_attached(part):
            self._add_calendar(part, found, with_source=True)
            return
        name = part.get_filename() or ""
        if not name and kind.startswith(_FORMS_OF_PAGES):
            return
        found.attachments.append(attachment_line(name, kind))
        self._parts.add(unquote(str(part.get("Content-ID", "")).strip().strip("<>")))
        if kind.startswith("image/") and part.get_content_disposition() != "attachment":
            self._lost["image"] += 1
        if kind in _SEALED and str(part.get_param("smime-type", "")).lower() != "certs-only":
            how = "signed" if "signed" in str(part.get_param("smime-type", "")).lower() else "encrypted"
            self._warnings.append(f"the message is {how} in a form that is not read; its text may be missing")
        if kind in _TNEF:
            self._warnings.append("text and attachments may be inside winmail.dat, a form of Outlook that is not read")


def read_mail(path: Path, shown: str, exclude_selectors: Sequence[str]) -> Reading:
    """Return the message as Markdown. Raises `UnreadableDocument` for malformed or too deeply nested messages."""
    reader = _MailReader(exclude_selectors)
    try:
        with path.open("rb") as file:
            message = BytesParser(policy=policy.compat32).parse(file)
        content = reader.content(message)
    except RecursionError as exc:
        raise UnreadableDocument(
            f"{shown!r} is a message whose parts are nested too deeply to be read; send the inner message alone"
        ) from exc
    except _PARSER_FAILURES as exc:
        raise UnreadableDocument(
            f"{shown!r} is not a well-formed e-mail message ({type(exc).__name__}); export it again"
        ) from exc
    subject = header(message, "Subject")
    heading = [f"# {escape(subject)}"] if subject else []
    return Reading(
        body="\n\n".join(block.strip("\n") for block in [*heading, *content.blocks] if block.strip()) + "\n",
        converter=CONVERTER,
        title=subject or None,
        created=header(message, "Date") or None,
        warnings=reader.warnings,
    )


def _signed_message(part: Message) -> Message | None:
    """Return the message inside a signed envelope; None for an encrypted one."""
    payload = part.get_payload(decode=True)
    content = signed_content(payload) if isinstance(payload, bytes) else None
    return None if content is None else BytesParser(policy=policy.compat32).parsebytes(content)


def _is_attached(part: Message) -> bool:
    return part.get_content_disposition() == "attachment" or bool(part.get_filename())


def _says_the_same(part: Message, known: Wording) -> bool:
    """Return whether *part* is plain text whose lines are all *known*; most are, and need not be converted."""
    is_plain = part.get_content_type() == "text/plain" and not _is_attached(part)
    return is_plain and bool(known) and not known.lacks_any(plain_text(part))


def _is_other_text(message: Message) -> bool:
    kind = message.get_content_type()
    return kind.startswith("text/") and kind not in READABLE and kind != "text/calendar" and not _is_attached(message)


def _report(part: Message, children: list[Message]) -> str:
    """Return a report for machines as lines in a code block: the message's fields, then those of each recipient."""
    fields = [str(child).strip() for child in children] or [decoded(part)]
    text = clean_text("\n\n".join(text for text in fields if text))
    return as_code_block(text, "text") if text.strip() else ""
