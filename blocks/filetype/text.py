"""Recognition of text types: markup by its first words, the rest by content, then by the extension; pure.

Reads a bounded prefix. The encoding is guessed well enough to see ASCII markup; the converters find it exactly.
"""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from collections import Counter

from blocks.filetype.types import TYPES, FileType, by_extension

_BOMS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Control characters that text files hold: tab, line feed, form feed, carriage return, and escape (terminal logs).
_TEXT_CONTROLS = frozenset(b"\t\n\x0b\x0c\r\x1b\x08")
_ASCII_TEXT = bytes({*range(32, 127), *b"\t\n\r"})
_MAX_STRAY_ZEROS = 0.05
_MIN_READABLE = 0.9
# Random bytes hold 10 % control characters, text in any 8-bit encoding practically none.
_MAX_CONTROL_SHARE = 0.01
_MAX_UTF16_BYTES = 8192
# Markup declares itself early; searching further costs time and finds examples inside prose.
_MARKUP_WINDOW_CHARACTERS = 16_384

_MAIL_HEADERS = frozenset(
    {
        *("from", "to", "cc", "subject", "date", "reply-to", "sender", "received", "message-id", "return-path"),
        *("delivered-to", "mime-version", "content-type", "content-transfer-encoding", "dkim-signature", "x-mailer"),
    }
)
# At least one of these makes it a message rather than notes that begin with "Subject:".
_MAIL_ORIGIN_HEADERS = frozenset({"from", "received", "return-path", "message-id", "mime-version", "delivered-to"})
_HEADER_LINE = re.compile(r"([A-Za-z][A-Za-z0-9-]{1,60}):(?:\s|$)")

_ROOT = re.compile(r"<(?:[\w.-]+:)?([A-Za-z_][\w.-]*)([^>]*)")
_HTML_TAG = re.compile(r"</?(?:html|head|body|div|p|h[1-6]|table|ul|ol|span|a|br|article|section|main|img)\b", re.I)
_XML_ROOTS: dict[str, str] = {"fictionbook": "fb2", "opml": "opml", "svg": "svg", "kml": "kml", "html": "xhtml"}
# Each of these patterns reads a hostile prefix in linear time: no part can match the same characters in two ways.
_TEX_START = re.compile(r"(?:[ \t]*%[^\n]*\n|[ \t]*\n)*+[ \t]*\\(?:documentclass|documentstyle|begin\{document\})")
_MARKDOWN_SIGNS = re.compile(
    r"^(?:#{1,6} \S|```|~~~|[-*+] \[[ xX]\] |\|[^|\n]*\|[^|\n]*\||!\[)"
    r"|\[[^\]\n]{1,200}\]\([^)\n]{1,500}\)"
    r"|\*\*\S[^*\n]{0,200}\*\*",
    re.MULTILINE,
)
_DELIMITERS = ",;\t|"


def text_encoding(head: bytes) -> str | None:
    """Return a codec that decodes the ASCII part of *head*, or None for bytes that are not text."""
    for mark, codec in _BOMS:
        if head.startswith(mark):
            return codec
    if b"\0" in head and not _has_stray_zeros(head):
        return _utf16_without_mark(head)
    controls = sum(head.count(code) for code in range(1, 32) if code not in _TEXT_CONTROLS)
    if controls > len(head) * _MAX_CONTROL_SHARE:
        return None
    return "utf-8"


def _has_stray_zeros(head: bytes) -> bool:
    """Return whether zero bytes are faults of a text, as loggers leave them: few, and nearly all other bytes ASCII.

    Other control characters make it no text.
    """
    zeros = head.count(0)
    readable = len(head) - len(head.translate(None, _ASCII_TEXT))
    if any(code in head for code in range(1, 32) if code not in _TEXT_CONTROLS):
        return False
    return zeros <= len(head) * _MAX_STRAY_ZEROS and readable >= (len(head) - zeros) * _MIN_READABLE


def _utf16_without_mark(head: bytes) -> str | None:
    """Return the UTF-16 codec of text that has zero bytes and no mark; None for what is no text."""
    pairs = len(head) // 2
    zeros_first, zeros_second = head[0::2].count(0), head[1::2].count(0)
    if pairs < 2:
        return None
    # Mostly Latin text has a zero in every second byte and none in the others.
    if zeros_second > 0.4 * pairs and zeros_first < 0.01 * pairs:
        return "utf-16-le"
    if zeros_first > 0.4 * pairs and zeros_second < 0.01 * pairs:
        return "utf-16-be"
    return next((codec for codec in ("utf-16-le", "utf-16-be") if _is_text_in(head[: pairs * 2], codec)), None)


def _is_text_in(head: bytes, codec: str) -> bool:
    """Return whether *head* is text of another script in UTF-16: only assigned characters, blanks and line ends."""
    head = head[:_MAX_UTF16_BYTES]
    try:
        text = head.decode(codec)
    except UnicodeDecodeError as exc:
        if exc.start < len(head) - 4:  # elsewhere than in a pair that the end of the head cuts
            return False
        text = head[: exc.start].decode(codec)
    counts = Counter(map(unicodedata.category, text))
    wrong = counts["Cn"] + counts["Co"] + counts["Cs"] + counts["Cc"] - sum(map(text.count, "\t\n\r\f"))
    blanks = sum(map(text.count, " \n\u3000。、"))
    letters = sum(count for category, count in counts.items() if category[0] in "LM")
    # The wrong order of bytes makes U+2000 of a blank and an unassigned character of a line end.
    return not wrong and blanks * 200 >= len(text) and letters * 2 > len(text) and "\u2000" not in text


def identify(head: bytes, tail: bytes, encoding: str, extension: str) -> FileType:
    """Return the text type of a file with this beginning and end. *extension* decides only between text types."""
    text = head.decode(encoding, "replace").lstrip("\ufeff").lstrip()
    claimed = by_extension(extension)
    kind = _by_first_words(text, tail, extension)
    if kind is not None:
        return TYPES[kind]
    if claimed is not None and _claim_holds(claimed, text):
        return claimed
    return TYPES[_by_looks(text, ignore_mail=claimed is not None)]


def _by_first_words(text: str, tail: bytes, extension: str) -> str | None:
    """Return a type that declares itself at the very start, whatever the file is called."""
    if text.startswith("{\\rtf"):
        return "rtf"
    if text.startswith("WEBVTT"):
        return "vtt"
    if text[:1] == "{" and _is_notebook(text, tail):
        return "ipynb"
    if text[:1] != "<":
        return None
    window = text[:_MARKUP_WINDOW_CHARACTERS]
    lowered = window[:200].lower()
    if lowered.startswith(("<!doctype html", "<html", "<head", "<body")):
        return "xhtml" if extension in {"xhtml", "xht"} else "html"
    if not lowered.startswith(("<?xml", "<!doctype", "<!--")):
        return None
    return _by_root_element(window, declared=lowered.startswith(("<?xml", "<!doctype")))


def _is_notebook(text: str, tail: bytes) -> bool:
    return '"cell_type"' in text and ('"nbformat"' in text or b'"nbformat"' in tail)


def _by_root_element(window: str, *, declared: bool) -> str | None:
    start = _after_prolog(window)
    root = _ROOT.match(window, start)
    if root is None:
        return "xml" if declared else None
    name, before_and_tag = root[1].lower(), (window[:start] + root[2]).lower()
    if name in _XML_ROOTS:
        return _XML_ROOTS[name]
    if "docbook" in before_and_tag:
        return "dbk"
    if name == "article" and ("jats" in before_and_tag or "nlm" in before_and_tag or "article-type" in before_and_tag):
        return "jats"
    return "xml" if declared else None


def _after_prolog(text: str) -> int:
    """Return where the root element begins: after XML declaration, comments and document type declaration."""
    at = 0
    while True:
        while text[at : at + 1].isspace():
            at += 1
        if text.startswith("<?", at):
            end = text.find("?>", at)
        elif text.startswith("<!--", at):
            end = text.find("-->", at)
        elif text[at : at + 9].lower() == "<!doctype":
            subset, close = text.find("[", at), text.find(">", at)
            end = text.find(">", text.find("]", subset)) if 0 <= subset < close else close
        else:
            return at
        if end < 0:
            return len(text)
        at = text.find(">", end) + 1


def _claim_holds(claimed: FileType, text: str) -> bool:
    """Return whether *text* can be of the type its extension claims. Types with a signature are recognised before."""
    kind = claimed.extension
    if kind in {"html", "xhtml"}:
        return _HTML_TAG.search(text) is not None
    if kind in {"xml", "svg", "kml", "opml", "dbk", "jats", "fb2"}:
        return text.startswith("<")
    if kind in {"json", "geojson", "jsonl"}:
        return text[:1] in '{["-0123456789tfn'
    if kind == "eml":
        return _looks_like_mail(text)
    return claimed.family in {"markup", "markdown", "text", "table", "code"} and kind != "vtt"


def _by_looks(text: str, *, ignore_mail: bool) -> str:
    """Return the most likely text type of a file whose name is no help; plain text when in doubt."""
    if not ignore_mail and _looks_like_mail(text):
        return "eml"
    if _HTML_TAG.match(text):
        return "html"
    if text[:1] in ("{", "[") and _is_json(text):
        return "json"
    window = text[:_MARKUP_WINDOW_CHARACTERS]
    if _TEX_START.match(window):
        return "tex"
    if len(_MARKDOWN_SIGNS.findall(window)) >= 2:
        return "md"
    return _table_kind(window) or "txt"


def _looks_like_mail(text: str) -> bool:
    """Return whether header fields (RFC 5322 section 2.2) begin *text*, some of which occur in messages only."""
    found = set[str]()
    lines = text.splitlines()
    for line in lines[1:] if lines and lines[0].startswith("From ") else lines:
        if not line.strip():
            break
        if line[0] in " \t":  # a folded field continues
            continue
        field = _HEADER_LINE.match(line)
        if field is None:
            return False
        found.add(field[1].lower())
    return len(found & _MAIL_HEADERS) >= 2 and bool(found & _MAIL_ORIGIN_HEADERS)


def _is_json(text: str) -> bool:
    if len(text) >= _MARKUP_WINDOW_CHARACTERS:  # a prefix cannot be parsed; a string key or a nested start is enough
        return re.match(r'[\[{]\s*(?:"(?:[^"\\]|\\.){0,200}"\s*[:,]|[\[{])', text) is not None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _table_kind(window: str) -> str | None:
    """Return a table type if one delimiter occurs equally often in each of the first lines; None otherwise."""
    lines = [line for line in window.splitlines()[:20] if line.strip()]
    if len(lines) < 3:
        return None
    for delimiter in _DELIMITERS:
        counts = {line.count(delimiter) for line in lines[:-1]}  # the last line may be cut
        if len(counts) == 1 and counts != {0}:
            return "tsv" if delimiter == "\t" else "csv"
    return None
