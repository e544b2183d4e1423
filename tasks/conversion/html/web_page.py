"""HTML pages: encoding, title, date and declared language here; the text through xberg.

Owns what a browser determines before parsing: the character encoding (WHATWG encoding sniffing, byte order mark first,
then a declaration in the first kilobytes), and the metadata in the page's head.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tasks.conversion.html.page import write_page
from tasks.conversion.plain.encodings import codec_of, find_encoding
from tasks.conversion.reading import Reading, clean_text, single_line

CONVERTER = "waybill-html 1"

# Pages have their head here; some have long scripts before the title.
_HEAD_BYTES = 256 << 10
# The standard requires the declaration within 1,024 bytes; real pages are sometimes late.
_DECLARATION_BYTES = 8 << 10

_CHARSET = re.compile(rb"<meta[^<>]{0,300}?charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.IGNORECASE)
_XML_ENCODING = re.compile(rb"^\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{2,40})", re.IGNORECASE)
_TITLE = re.compile(r"<title(?:\s[^<>]{0,200})?>([^<]{1,10000})", re.IGNORECASE)
_LANGUAGE = re.compile(r"<html\s[^<>]{0,1000}?\blang\s*=\s*[\"']?([a-zA-Z]{2})\b", re.IGNORECASE)
_META = re.compile(r"<meta\s([^<>]{1,2000})>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([\w:.-]{1,40})\s*=\s*(?:"([^"]{0,1000})"|'([^']{0,1000})'|([^\s"'>]{1,1000}))""")
# Ordered by how surely they mean the day of publication.
_DATE_NAMES = (
    *("article:published_time", "datepublished", "dcterms.created", "dc.date.created", "citation_publication_date"),
    *("dcterms.date", "dc.date", "date", "pubdate"),
)


def read_web_page(path: Path, exclude_selectors: Sequence[str]) -> Reading:
    """Return the page's text."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    codec, warnings = _encoding(path, head)
    data = path.read_bytes()
    if codec != "utf-8":
        data = data.decode(codec, "replace").encode("utf-8", "replace")
    reading = _read(data, exclude_selectors)
    text = head.decode(codec, "replace")
    title, language = _TITLE.search(text), _LANGUAGE.search(text)
    return replace(
        reading,
        title=single_line(html.unescape(title[1])) if title else None,
        language=language[1].lower() if language else None,
        created=_published(text),
        warnings=(*warnings, *reading.warnings),
    )


def html_to_markdown(text: str, exclude_selectors: Sequence[str]) -> Reading:
    """Return the Markdown of HTML that is part of another document."""
    return _read(text.encode("utf-8", "replace"), exclude_selectors)


def _read(data: bytes, exclude_selectors: Sequence[str]) -> Reading:
    written = write_page(data, exclude_selectors)
    return Reading(body=clean_text(written.markdown), converter=CONVERTER, warnings=written.warnings)


def _encoding(path: Path, head: bytes) -> tuple[str, tuple[str, ...]]:
    found = find_encoding(path)
    if not found.warnings:  # valid UTF-8, or marked as UTF-16: certain, whatever the page declares
        return found.codec, ()
    declared = _CHARSET.search(head, 0, _DECLARATION_BYTES) or _XML_ENCODING.search(head, 0, _DECLARATION_BYTES)
    if declared is not None:
        codec = codec_of(declared[1].decode("ascii"))
        if codec is None:
            return found.codec, found.warnings
        # Browsers read Latin-1 as Windows-1252, and pages rely on it.
        codec = {"iso8859-1": "cp1252", "ascii": "cp1252"}.get(codec, codec)
        if codec not in {"utf-8", "utf-16", "utf-32"}:
            return codec, ()
    return found.codec, found.warnings


def _published(text: str) -> str | None:
    dates: dict[str, str] = {}
    for meta in _META.finditer(text):
        attributes = {
            name.lower(): double or single or bare for name, double, single, bare in _ATTRIBUTE.findall(meta[1])
        }
        name = attributes.get("property") or attributes.get("name") or attributes.get("itemprop") or ""
        if attributes.get("content"):
            dates.setdefault(name.lower(), attributes["content"])
    return next((dates[name] for name in _DATE_NAMES if name in dates), None)
