"""The YAML header of a Markdown document: its fields, their order and their rules; pure.

Owns `title, source, sha256, type, pages, language, created`. An unknown value is null, never a guess; a hostile title
(line breaks, colons, ten kilobytes) becomes one short line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import yaml

from blocks.filetype import FileType
from blocks.naming import clean_display_name, document_stem
from tasks.contract import DocumentInfo
from tasks.conversion.reading import Reading, single_line

# Two lines on a screen; a longer title is a paragraph.
MAX_TITLE_CHARACTERS = 200
# A heading that names the document is on its first pages.
_HEADING_WINDOW_CHARACTERS = 50_000
# The patterns below take quadratic time on a hostile line, so they get only as much of it as a title needs.
_HEADING_LINE_CHARACTERS = 600

_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*$")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_NOTE_MARK = re.compile(r"(?<!\\)\[\^[^\]\s]{1,40}\](?![(\[:])")
_LINK = re.compile(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])?")
_EMPHASIS = re.compile(r"(?<![\w\\])(\*\*|__|\*|_|~~|`)(?=\S)(.+?)(?<=[^\s\\])\1(?!\w)")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_WORKBOOKS = frozenset({"xlsx", "xlsm", "xltx", "xltm", "xlam", "xlsb", "xls", "ods", "numbers"})
# Values that authoring programs write if no title was entered.
_PLACEHOLDER_TITLES = frozenset(
    {"", "untitled", "(anonymous)", "(unspecified)", "anonymous", "unspecified", "document", "unknown", "none", "title"}
    | {
        "presentation",
        "powerpoint presentation",
        "powerpoint-präsentation",
        "présentation powerpoint",
        "word document",
        "slide 1",
    }
)
# How spreadsheet programs name a sheet before its author does, in the languages of their users.
_DEFAULT_SHEET = re.compile(
    r"(?:(?:sheet|worksheet|tabelle)[ _-]?\d{0,4}|(?:tabellenblatt|arbeitsblatt|blatt|feuil|feuille|feuille de calcul"
    r"|hoja|foglio|folha|planilha|plan|página|pagina|blad|kalkylblad|regneark|ark|list|hárok|munka|munkalap|arkusz|taul"
    r"|taulukko|sayfa|foaie|leht|lapas|lapa|lembar|trang tính|лист|аркуш|φύλλο|シート|工作表|시트|ورقة|גיליון|แผ่น|ชีต"
    r"|chart|diagramm|graphique|gráfico|grafico|グラフ)[ _-]?\d{1,4})(?: \(\d+\))?(?: \(hidden\))?",
    re.IGNORECASE,
)
_PROGRAM_PREFIX = re.compile(r"^microsoft (?:office )?(?:word|powerpoint|excel) -\s*", re.IGNORECASE)
_PDF_DATE = re.compile(r"(?:D:)?(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d))?")
_YEAR_OR_MONTH = re.compile(r"\d{4}(?:-\d\d)?")


@dataclass(frozen=True, kw_only=True)
class Header:
    """The header's own fields, in the order in which they are written."""

    title: str
    source: str
    sha256: str
    type: str
    pages: int | None
    language: str | None
    created: str | None

    def to_yaml(self, further: Mapping[str, Any]) -> str:
        """Return the header with its fences and an empty line after it; *further* fields follow its own.

        A further field with the name of an own field is kept as ``original_NAME`` if its value differs.
        """
        fields: dict[str, Any] = asdict(self)
        for name, value in further.items():
            if name not in fields:
                fields[name] = value
            elif value not in (None, fields[name]) and str(value) != str(fields[name]):
                fields.setdefault(f"original_{name}", value)
        dumped = yaml.safe_dump(fields, allow_unicode=True, sort_keys=False, default_flow_style=False, width=1 << 20)
        return f"---\n{dumped}---\n\n"


def make_header(reading: Reading, document: DocumentInfo, file_type: FileType, language: str | None) -> Header:
    """Return the header of *document*. *language* was detected; without it the declared language is used."""
    return Header(
        title=_title(reading, document, file_type),
        source=clean_display_name(document.name),
        sha256=document.sha256,
        type=file_type.extension,
        pages=reading.pages,
        language=language or _declared_language(reading.language),
        created=to_iso8601(reading.created) or _modified(document),
    )


def _title(reading: Reading, document: DocumentInfo, file_type: FileType) -> str:
    # In plain text a line that begins with a hash is a comment as often as a heading.
    heading = "" if file_type.family == "text" else first_heading(reading.body)
    for candidate in (_PROGRAM_PREFIX.sub("", single_line(reading.title or "")), heading):
        if candidate.lower() not in _PLACEHOLDER_TITLES and not (
            file_type.extension in _WORKBOOKS and _DEFAULT_SHEET.fullmatch(candidate)
        ):
            return _shortened(candidate)
    return _shortened(document_stem(document.name))


def _shortened(title: str) -> str:
    if len(title) <= MAX_TITLE_CHARACTERS:
        return title
    cut = title[: MAX_TITLE_CHARACTERS - 1]
    return f"{cut.rsplit(' ', 1)[0] if ' ' in cut[MAX_TITLE_CHARACTERS // 2 :] else cut}…"


def first_heading(body: str) -> str:
    """Return the text of the first ATX heading outside code blocks, without its markup; empty when there is none."""
    fence: str | None = None
    for line in body[:_HEADING_WINDOW_CHARACTERS].split("\n"):
        mark = _FENCE.match(line)
        if mark is not None:
            if fence is None:
                fence = mark[1]
            elif mark[1].startswith(fence):
                fence = None
        elif fence is None:
            heading = _HEADING.match(line[:_HEADING_LINE_CHARACTERS])
            if heading is not None and (text := _without_markup(heading[1])):
                return text
    return ""


def _without_markup(text: str) -> str:
    text = _LINK.sub(r"\1", _NOTE_MARK.sub("", text))
    text = _EMPHASIS.sub(r"\2", _EMPHASIS.sub(r"\2", text))
    return single_line(_ESCAPED.sub(r"\1", text))


def _declared_language(declared: str | None) -> str | None:
    code = (declared or "").strip().lower()
    return code[:2] if re.fullmatch(r"[a-z]{2}(?:[-_][a-z0-9_-]*)?", code) else None


def to_iso8601(moment: str | None) -> str | None:
    """Return a date of a document (ISO 8601, RFC 5322, PDF, a year alone) as ISO 8601; None when it is not a date."""
    text = single_line(moment or "")[:64]
    if _YEAR_OR_MONTH.fullmatch(text):
        return text
    for parse in (_iso, _pdf, _rfc5322):
        try:
            return parse(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _iso(text: str) -> str:
    return text if len(text) == 10 and date.fromisoformat(text) else datetime.fromisoformat(text).isoformat()


def _pdf(text: str) -> str:
    """Parse ISO 32000-1 section 7.9.4, without the time zone, which is rarely right."""
    found = _PDF_DATE.match(text)
    if found is None:
        raise ValueError("no PDF date")
    year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
    return datetime(year, month, day, hour, minute, second).isoformat()  # noqa: DTZ001 - the source has no zone


def _rfc5322(text: str) -> str:
    return parsedate_to_datetime(text).isoformat()


def _modified(document: DocumentInfo) -> str | None:
    return document.modified_at.astimezone(UTC).isoformat() if document.modified_at else None
