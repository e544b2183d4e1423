"""One text part of a mail as Markdown: decoded, put together, and with the words that its sender wrote.

Owns what charsets are called and what they are meant to be, and the forms of text: plain, flowed, HTML, enriched
(RFC 1896), Markdown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from blocks.errors import WaybillError
from tasks.conversion.mail.flowed_text import unflowed
from tasks.conversion.mail.headers import Message
from tasks.conversion.notebook.markdown_piece import closed
from tasks.conversion.plain.encodings import codec_of, guess_legacy_codec
from tasks.conversion.plain.legacy_codecs import decisive_lines
from tasks.conversion.plain.markdown import plain_to_markdown
from tasks.conversion.reading import clean_text
from tasks.losses import loss

READABLE = frozenset(
    {
        *("text/plain", "text/html", "text/enriched", "text/richtext", "text/markdown", "text/x-markdown"),
        *("text/x-amp-html", "application/xhtml+xml"),
    }
)
PAGES = frozenset({"text/html", "text/x-amp-html", "application/xhtml+xml"})

_SAMPLE_BYTES = 32 << 10
# Blanks between words: no base64 has them.
_WORDS_IN_ORDER = re.compile(r"[A-Za-z]{2,},? [A-Za-z]{2,}")
_DECLARATION_BYTES = 4 << 10
_CHARSET = re.compile(rb"<meta[^<>]{0,300}?charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.IGNORECASE)
# Programs write the name of the smaller set for a larger one, which holds it.
_MEANT = {
    **dict.fromkeys(("iso-8859-1", "latin-1", "latin1", "us-ascii", "ascii"), "cp1252"),
    **dict.fromkeys(("gb2312", "gbk", "x-gbk"), "gb18030"),
    **dict.fromkeys(("ks_c_5601-1987", "euc-kr", "ksc5601"), "cp949"),
    **dict.fromkeys(("shift_jis", "shift-jis", "x-sjis"), "cp932"),
    "iso-8859-9": "cp1254",
}
# Sets of one byte decode everything, also UTF-8 that was sent under their name.
_SINGLE_BYTE = re.compile(r"(?:iso-?8859|windows-?125|cp125|latin|(?:us-)?ascii|koi8|macintosh)", re.IGNORECASE)
# Files inside of plain text, as programs sent them before MIME.
_UUENCODED = re.compile(r"^begin [0-7]{3,4} ([^\n]{1,200})\n(?:[!-`][ -`]{0,61}\n)*?(?:[`\s]?\n)?end$", re.MULTILINE)
# Text that is signed in the clear (RFC 9580 section 7): a line that begins with a hyphen has "- " in front.
_CLEAR_SIGNED = "-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE = "-----BEGIN PGP SIGNATURE-----"
_SIGNATURE_END = "-----END PGP SIGNATURE-----"
_ARMOR_HEADERS = re.compile(r"\n(?:[A-Za-z-]+: [^\n]*\n)*\n")
_INNER_IMAGE = re.compile(r"!\[([^\]\n]{0,500})\]\((?:cid|data|mid):[^)\n]{0,2000}\)", re.IGNORECASE)
_NAME_OF_PICTURE = re.compile(
    r"(?:image|picture|grafik|bild|photo|logo)?[ _-]*\d*|\S+\.(?:png|jpe?g|gif|svg|webp|emf|wmf)", re.IGNORECASE
)
_IMAGE_DATA = re.compile(r"<img\b[^<>]{0,2000}?\bsrc\s*=\s*[\"']?data:", re.IGNORECASE)
_SHOWN_PART = re.compile(r"<img\b[^<>]{0,2000}?\bsrc\s*=\s*[\"']?cid:([^\"'\s>]{1,500})", re.IGNORECASE)
_ENRICHED_PARAMETER = re.compile(r"<param>[^<]{0,1000}</param>", re.IGNORECASE)
_ENRICHED_COMMAND = re.compile(r"(?<!<)<(?!<)/?[A-Za-z0-9-]{1,60}>")
_LINE_ENDS_OF_ENRICHED = re.compile(r"\n+")


@dataclass(frozen=True, kw_only=True)
class PartText:
    """A text part: its Markdown, what its sender wrote, the names and types of files inside, the
    pictures inside.

    *pictures* are the ids of parts that a page shows, *images* counts those that are in the page itself. *warnings* are
    about everything else.
    """

    markdown: str
    source: str
    files: tuple[tuple[str, str], ...] = ()
    pictures: frozenset[str] = frozenset()
    images: int = 0
    warnings: tuple[str, ...] = ()


def read_text(part: Message, kind: str, exclude_selectors: Sequence[str]) -> PartText:
    """Return the text of *part*, which is of *kind*. HTML that cannot be read has no words."""
    raw, warnings = _decoded(part, is_page=kind in PAGES)
    if kind in PAGES:
        page = page_text(clean_text(raw), exclude_selectors)
        return replace(page, warnings=(*warnings, *page.warnings))
    text = _put_together(part, clean_text(raw))
    if kind in ("text/markdown", "text/x-markdown"):
        return PartText(markdown=closed(text).strip("\n"), source=text, warnings=warnings)
    if kind in ("text/enriched", "text/richtext"):
        text = _unenriched(text)
    found = _UUENCODED.finditer(text) if "\nend" in text else ()
    files = [(file[1], "application/octet-stream") for file in found]
    if files:
        text = _UUENCODED.sub("", text)
    if _CLEAR_SIGNED in text:
        text = _without_signatures(text)
        files.append(("", "application/pgp-signature"))
    return PartText(
        markdown=plain_to_markdown(text, quotes=True).strip("\n"), source=text, files=tuple(files), warnings=warnings
    )


def plain_text(part: Message) -> str:
    """Return the text of a part that is no HTML, put together if it was sent in pieces of lines."""
    return _put_together(part, clean_text(decoded(part)))


def _put_together(part: Message, text: str) -> str:
    if str(part.get_param("format", "")).lower() == "flowed":
        return unflowed(text, deletes_space=str(part.get_param("delsp", "")).lower() == "yes")
    return text


def decoded(part: Message) -> str:
    """Return a part's text: by its charset, or by what is meant by that name; else as UTF-8, else by statistics."""
    return _decoded(part)[0]


def _decoded(part: Message, *, is_page: bool = False) -> tuple[str, tuple[str, ...]]:
    """Return a part's text and the warnings about its decoding."""
    data = _payload(part)
    declared = part.get_content_charset() or ""
    if not declared and is_page and (found := _CHARSET.search(data, 0, _DECLARATION_BYTES)):
        declared = found[1].decode("ascii").lower()
    codecs = _codecs(declared, data)
    for codec in codecs:
        try:
            return data.decode(codec), ()
        except (LookupError, ValueError):
            continue
    for codec in codecs:
        text, broken = _damaged(data, codec)
        if text:
            return text, loss("bytes", broken) if codec == "utf-8" else (
                f"bytes that {codec} does not have were replaced",
            )
    codec = guess_legacy_codec(b"".join(decisive_lines(data))[:_SAMPLE_BYTES])
    return data.decode(codec, "replace"), (f"the character set of a text was guessed, and it was read as {codec}",)


def _payload(part: Message) -> bytes:
    """Return a part's bytes. Text that is called base64 and is none is taken as it stands."""
    if str(part.get("Content-Transfer-Encoding", "")).strip().lower() == "base64":
        raw = part.get_payload()
        if isinstance(raw, str) and len(_WORDS_IN_ORDER.findall(raw[:_SAMPLE_BYTES])) > 1:
            return raw.encode("utf-8", "surrogateescape")
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _damaged(data: bytes, codec: str) -> tuple[str, int]:
    """Return text of which some bytes are broken, and how many; empty if *data* is not in this set of several bytes."""
    try:
        text = data.decode(codec, "replace")
    except LookupError:
        return "", 0
    broken = text.count("\ufffd")
    whole = sum(char > "\x7f" for char in text) - broken
    return (text, broken) if whole > broken else ("", 0)


def _codecs(declared: str, data: bytes) -> list[str]:
    if declared.lower() in ("us-ascii", "ascii"):  # it says nothing about bytes above 127
        return ["utf-8"]
    meant = _MEANT.get(declared.lower()) or codec_of(declared) or declared
    # Text in a set of one byte is valid UTF-8 by chance only if it is ASCII.
    return ["utf-8", meant] if not declared or _SINGLE_BYTE.match(declared) else [meant, "utf-8"]


def page_text(text: str, exclude_selectors: Sequence[str]) -> PartText:
    """Return the text of HTML. What cannot be read has no words."""
    if not text.strip():
        return PartText(markdown="", source=text)
    from tasks.conversion.html.web_page import html_to_markdown

    try:
        reading = html_to_markdown(text, exclude_selectors)
        body, warnings = reading.body, reading.warnings
    except WaybillError:
        body, warnings = "", ()  # another version may be readable, and headers and attachments are useful
    return PartText(
        markdown=_INNER_IMAGE.sub(_description, body).strip("\n"),
        source=text,
        pictures=frozenset(found[1] for found in _SHOWN_PART.finditer(text)),
        images=len(_IMAGE_DATA.findall(text)),
        warnings=warnings,
    )


def _description(image: re.Match[str]) -> str:
    text = image[1].strip()
    return "" if _NAME_OF_PICTURE.fullmatch(text) else text


def _without_signatures(text: str) -> str:
    """Return what was signed in the clear, without the signatures and the hyphens that were put in front of lines."""
    parts: list[str] = []
    at = 0
    while (start := text.find(_CLEAR_SIGNED, at)) >= 0:
        signature = text.find(_SIGNATURE, start)
        end = text.find(_SIGNATURE_END, signature) if signature >= 0 else -1
        headers = _ARMOR_HEADERS.match(text, start + len(_CLEAR_SIGNED))
        if end < 0 or headers is None or headers.end() > signature:
            break
        signed = text[headers.end() : signature].split("\n")
        parts += [text[at:start], "\n".join(line.removeprefix("- ") for line in signed)]
        at = end + len(_SIGNATURE_END)
    return "".join([*parts, text[at:]])


def _unenriched(text: str) -> str:
    """Return the words of enriched text: a line end is a blank, each further one a line end (RFC 1896 section 3)."""
    text = _LINE_ENDS_OF_ENRICHED.sub(lambda ends: "\n" * (len(ends[0]) - 1) or " ", text)
    return _ENRICHED_COMMAND.sub("", _ENRICHED_PARAMETER.sub("", text)).replace("<<", "<")
