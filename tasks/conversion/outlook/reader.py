"""Outlook messages (.msg) in the form of mails: headers as a list, the text, the names of attachments.

Owns the choice among the forms of a body ([MS-OXCMSG] 2.2.1.58): HTML, RTF that HTML or plain text was wrapped in, RTF,
plain text. Attached messages are read, up to three deep; other attachments are named.
"""

from __future__ import annotations

import email.utils
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email import policy
from email.parser import HeaderParser
from pathlib import Path

from blocks.errors import UnreadableDocument, WaybillError
from blocks.filetype import TYPES
from tasks.conversion.mail.headers import SHOWN_HEADERS, Message, as_list, attachment_line, header
from tasks.conversion.mail.versions import Version, Wording, has_words, joined, wording_of, wording_of_page
from tasks.conversion.markdown_writer import escape
from tasks.conversion.outlook.compressed_rtf import unpacked
from tasks.conversion.outlook.encapsulated import form_of, original
from tasks.conversion.outlook.properties import (
    HEADER_OF_INNER_MESSAGE,
    HEADER_OF_ITEM,
    HEADER_OF_MESSAGE,
    Properties,
)
from tasks.conversion.outlook.storage import CompoundFile, Storage
from tasks.conversion.plain.markdown import plain_to_markdown
from tasks.conversion.reading import Reading, single_line
from tasks.losses import counted, losses

CONVERTER = "waybill-outlook 1"

_MAX_FORWARDS = 3
# Distribution lists; the list of names that Outlook shows is taken where there are more.
_MAX_RECIPIENTS = 200
# [MS-OXPROPS]
_SUBJECT, _HEADERS, _BODY, _RTF = 0x0037, 0x007D, 0x1000, 0x1009
_SENT, _DELIVERED, _CREATED = 0x0039, 0x0E06, 0x3007
_SENDER_NAME, _SENDER_TYPE, _SENDER_ADDRESS, _SENDER_SMTP = 0x0C1A, 0x0C1E, 0x0C1F, 0x5D01
_BEHALF_NAME, _BEHALF_ADDRESS, _BEHALF_SMTP = 0x0042, 0x0065, 0x5D02
_DISPLAY_TO, _DISPLAY_CC = 0x0E04, 0x0E03
_NAME, _ADDRESS, _SMTP, _RECIPIENT_TYPE = 0x3001, 0x3003, 0x39FE, 0x0C15
_FILE_NAME, _SHORT_FILE_NAME, _FILE_TYPE, _CONTENT_ID = 0x3707, 0x3704, 0x370E, 0x3712
_METHOD, _ATTACHED_MESSAGE, _OBJECT = 0x3705, 5, 6
_INNER_MESSAGE = "__substg1.0_3701000D"
_MESSAGE_CLASS = 0x001A
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".emf", ".wmf")


@dataclass(kw_only=True)
class _Message:
    """A message's parts as Markdown."""

    subject: str
    sent: datetime | None
    blocks: list[str] = field(default_factory=list[str])


def read_outlook(path: Path, shown: str, exclude_selectors: Sequence[str]) -> Reading:
    """Return the message as Markdown. Raises `UnreadableDocument` for a damaged file."""
    reader = _OutlookReader(shown, exclude_selectors)
    try:
        with path.open("rb") as file:
            message = reader.message(CompoundFile(file).root, HEADER_OF_MESSAGE)
    except ValueError as exc:
        raise UnreadableDocument(
            f"{shown!r} could not be read as {TYPES['msg'].label} ({exc}); check that it opens and send it again"
        ) from exc
    heading = [f"# {escape(message.subject)}"] if message.subject else []
    return Reading(
        body="\n\n".join(block.strip("\n") for block in [*heading, *message.blocks] if block.strip()) + "\n",
        converter=CONVERTER,
        title=message.subject or None,
        created=message.sent.isoformat() if message.sent else None,
        warnings=losses(reader.lost) + tuple(dict.fromkeys(reader.warnings)),
    )


class _OutlookReader:
    """Reads one file; `lost` and `warnings` are about all messages in it."""

    def __init__(self, shown: str, exclude_selectors: Sequence[str]) -> None:
        self._shown = shown
        self._exclude_selectors = exclude_selectors
        self.lost: Counter[str] = Counter()
        self.warnings: list[str] = []

    def message(self, storage: Storage, header_bytes: int, forwards: int = 0) -> _Message:
        properties = Properties(storage, header_bytes)
        sent = properties.moment(_SENT, _DELIVERED, _CREATED)
        found = _Message(subject=single_line(properties.text(_SUBJECT)), sent=sent)
        found.blocks += [_header_list(storage, properties, found), self._body(properties)]
        attachments: list[str] = []
        for attached in storage.storages("__attach_version1.0_"):
            self._attachment(attached, properties.codec, found, attachments, forwards)
        if attachments:
            listed = "\n".join(f"- {name}" for name in dict.fromkeys(attachments))
            found.blocks.append(f"**Attachments:**\n\n{listed}")
        kind = properties.text(_MESSAGE_CLASS).lower()
        if "smime" in kind and "multipartsigned" not in kind:
            self.warnings.append(
                "the message is encrypted or signed in a form that is not read; its text may be missing"
            )
        return found

    def _attachment(self, storage: Storage, codec: str, found: _Message, attachments: list[str], forwards: int) -> None:
        properties = Properties(storage, HEADER_OF_ITEM, codec)
        inner = storage.storage(_INNER_MESSAGE)
        method = properties.number(_METHOD)
        if inner is not None and method == _ATTACHED_MESSAGE and forwards < _MAX_FORWARDS:
            message = self.message(inner, HEADER_OF_INNER_MESSAGE, forwards + 1)
            found.blocks.append(f"## Forwarded message: {escape(message.subject) or 'without subject'}")
            found.blocks += message.blocks
            return
        name = properties.text(_FILE_NAME, _SHORT_FILE_NAME, _NAME)
        usual = "application/octet-stream" if inner is None else "message/rfc822"
        kind = properties.text(_FILE_TYPE) or usual
        attachments.append(attachment_line(name, kind))
        is_picture = kind.startswith("image/") or name.lower().endswith(_PICTURES)
        if method == _OBJECT:
            self.lost["object"] += 1
        elif is_picture and properties.text(_CONTENT_ID):
            self.lost["image"] += 1

    def _body(self, properties: Properties) -> str:
        """Return the richest form of the text, and what another form says only."""
        written = [form for form in self._forms(properties) if form.markdown]
        forms = [form for form in written if has_words(form.markdown)] or written[-1:]
        if not forms:
            return ""
        chosen, added = joined(forms)
        return "\n\n".join(part for part in (forms[chosen].markdown, added) if part)

    def _forms(self, properties: Properties) -> list[Version]:
        """Return the body in its forms, the richest last."""
        forms = [self._plain(properties.text(_BODY))]
        page, rtf = properties.page(), b""
        if not page and (packed := properties.data(_RTF)):
            try:
                rtf = unpacked(packed)
            except ValueError:
                self.lost["part"] += 1
        kind = form_of(rtf) if rtf else ""
        if kind == "text":
            forms.append(self._plain(original(rtf, kind)))
        elif kind == "html":
            page = original(rtf, kind)
        elif rtf:
            forms.append(self._rtf(rtf))
        if page:
            forms.append(self._page(page))
        return forms

    def _plain(self, text: str) -> Version:
        return Version(markdown=plain_to_markdown(text, quotes=True).strip("\n"), wording=wording_of(text))

    def _page(self, page: str) -> Version:
        from tasks.conversion.mail.text import page_text

        text = page_text(page, self._exclude_selectors)
        lost, warnings = counted(text.warnings)
        self.lost.update({**lost, "image": text.images})
        self.warnings += warnings
        return Version(markdown=text.markdown, wording=wording_of_page(page))

    def _rtf(self, rtf: bytes) -> Version:
        from tasks.conversion.rtf.reader import read_rtf_bytes

        try:
            reading = read_rtf_bytes(rtf, TYPES["rtf"], self._shown)
        except WaybillError:
            self.lost["part"] += 1
            return Version(markdown="", wording=Wording())
        lost, warnings = counted(reading.warnings)
        self.lost.update(lost)
        self.warnings += warnings
        return Version(markdown=reading.body.strip("\n"), wording=wording_of(reading.body))


def _header_list(storage: Storage, properties: Properties, message: _Message) -> str:
    """Return the main headers: as they were sent through the internet if they were, else as Outlook keeps them."""
    sent: Message = HeaderParser(policy=policy.compat32).parsestr(properties.text(_HEADERS))
    kept = {
        "From": _sender(properties),
        **_recipients(storage, properties),
        "Date": message.sent.strftime("%Y-%m-%d %H:%M:%S UTC") if message.sent else "",
        "Subject": message.subject,
    }
    names = ("From", "Date")
    return as_list({name: (name in names and header(sent, name)) or kept[name] for name in SHOWN_HEADERS})


def _sender(properties: Properties) -> str:
    behalf = properties.text(_BEHALF_NAME), properties.text(_BEHALF_SMTP) or properties.text(_BEHALF_ADDRESS)
    sender = properties.text(_SENDER_NAME), properties.text(_SENDER_SMTP) or properties.text(_SENDER_ADDRESS)
    return _mailbox(*(behalf if any(behalf) else sender))


def _recipients(storage: Storage, properties: Properties) -> dict[str, str]:
    kinds = {1: "To", 2: "Cc"}
    found: dict[str, list[str]] = {"To": [], "Cc": []}
    storages = storage.storages("__recip_version1.0_")
    for one in storages if len(storages) <= _MAX_RECIPIENTS else []:
        recipient = Properties(one, HEADER_OF_ITEM, properties.codec)
        kind = kinds.get((recipient.number(_RECIPIENT_TYPE) or 0) & 0xF)
        if kind:
            address = recipient.text(_SMTP) or recipient.text(_ADDRESS)
            found[kind].append(_mailbox(recipient.text(_NAME), address))
    return {
        name: ", ".join(mailbox for mailbox in found[name] if mailbox) or single_line(properties.text(tag))
        for name, tag in (("To", _DISPLAY_TO), ("Cc", _DISPLAY_CC))
    }


def _mailbox(name: str, address: str) -> str:
    """Return a name with its address; not the address inside Exchange, which no reader knows."""
    name, address = single_line(name).strip("'\""), single_line(address)
    if "@" not in address or address == name:
        return name or address
    return email.utils.formataddr((name, address)) if name.isascii() else f"{name} <{address}>"
