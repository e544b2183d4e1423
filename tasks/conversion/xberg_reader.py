"""Binary and markup formats, read through the xberg library.

Owns how xberg is called and how its errors are translated. It is configured without cache, OCR and network, so that it
writes no files and the same bytes give the same text. Its messages are interpreted in this module only.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import xberg

from blocks.errors import EncryptedDocument, TooLarge, UnreadableDocument, UnsupportedType, WaybillError
from blocks.filetype import FileType
from tasks.conversion.office.pictures import description
from tasks.conversion.reading import Reading, clean_text, single_line

CONVERTER = f"xberg {xberg.__version__}"

# A reason is one line of xberg. Its readers of text formats quote the text, so their messages are not passed on.
_MAX_REASON_CHARACTERS = 120
_FAMILIES_WITH_REASON = frozenset({"pdf", "office", "database", "image"})
# A table is limited by the worker's memory; the default of 100,000 cells refuses ordinary exports.
_MAX_TABLE_CELLS = 5_000_000
# Deflate is limited to 1,032 to 1, and tables reach 200 to 1: the limit on the size (500 MB) is what protects.
_MAX_COMPRESSION_RATIO = 1_100
# More would hide the important one.
_MAX_WARNINGS = 5
# Warnings about parts that are not to be read.
_IGNORED_WARNING_SOURCES = frozenset({"exif", "ocr"})

_PAGED = frozenset({"pdf", "office"})
# Rules that separate nothing, in front of the first slide.
_LEADING_RULES = re.compile(r"\A(?:\s*-{3,}[ \t]*\n)+")
# Markdown cannot link to images inside a document; their description is kept.
_EMBEDDED_IMAGE = re.compile(r"\\?!\[([^\]\n]{0,500})\]\((?!https?:|data:)[^)\n]{0,500}\)")
# xberg puts a note's text on an indented line of its own, where Markdown takes it for something else.
_FOOTNOTE = re.compile(r"^(\[\^[^\]\n]{1,60}\]:)\n {4}(?=\S)", re.MULTILINE)


def extract(
    path: Path,
    file_type: FileType,
    shown: str,
    *,
    data: bytes | None = None,
    page_by_page: bool = False,
) -> Reading:
    """Convert the file at *path* (or *data* in its place). *shown* names the document in messages.

    With *page_by_page*, the result has its pages one by one as well.

    Raises `EncryptedDocument`, `UnsupportedType`, `TooLarge`, `UnreadableDocument`.
    """
    source = xberg.ExtractInput(
        kind="uri" if data is None else "bytes",
        uri=str(path) if data is None else None,
        bytes=data,
        mime_type=file_type.media_type,
    )
    config = _configuration(page_by_page)
    try:
        result = asyncio.run(xberg.extract(source, config))
    except MemoryError:  # for the worker, which reports the memory limit
        raise
    except BaseException as exc:
        # A Rust panic is a BaseException that can be recognised by name only.
        if isinstance(exc, Exception) or type(exc).__name__ == "PanicException":
            raise _translated(str(exc), file_type, shown) from exc
        raise
    if result.errors or not result.results:
        message = result.errors[0].message if result.errors else "no result"
        raise _translated(message, file_type, shown)
    document = result.results[0]
    pages = tuple(clean_text(page.content) for page in document.pages or ()) if page_by_page else ()
    return replace(_reading(document, file_type), page_texts=pages)


def _configuration(page_by_page: bool) -> xberg.ExtractionConfig:
    return xberg.ExtractionConfig(
        output_format="markdown",
        use_cache=False,
        disable_ocr=True,  # otherwise xberg tries to download language data, and the document fails
        enable_quality_processing=False,
        max_archive_depth=0,
        security_limits=xberg.SecurityLimits(
            max_table_cells=_MAX_TABLE_CELLS, max_compression_ratio=_MAX_COMPRESSION_RATIO
        ),
        pdf_options=xberg.PdfConfig(
            extract_form_fields=False
        ),  # would add "insured: true" by technical names at the end
        pages=xberg.PageConfig(extract_pages=True) if page_by_page else None,
    )


def _reading(document: xberg.ExtractedDocument, file_type: FileType) -> Reading:
    metadata = document.metadata
    body = clean_text(document.content)
    body = _EMBEDDED_IMAGE.sub(lambda image: description(image[1]), body)
    body = _FOOTNOTE.sub(r"\1 ", _LEADING_RULES.sub("", body))
    return Reading(
        body=body,
        converter=CONVERTER,
        title=metadata.title,
        created=metadata.created_at,
        language=metadata.language,
        pages=(document.counts.pages or None) if file_type.family in _PAGED else None,
        warnings=_warnings(document),
    )


def _warnings(document: xberg.ExtractedDocument) -> tuple[str, ...]:
    warnings = [
        single_line(warning.message)[:200]
        for warning in document.processing_warnings
        if warning.source not in _IGNORED_WARNING_SOURCES
    ]
    pdf = document.metadata.format.pdf if document.metadata.format else None
    if pdf is not None:
        warnings += [
            *_page_warning(pdf.fabricated_text_pages, "have fonts without a character map; their text may be wrong"),
            *_page_warning(pdf.implausible_text_pages, "do not look like any language; their text may be wrong"),
        ]
    return tuple(warnings[:_MAX_WARNINGS])


def _page_warning(pages: Sequence[int] | None, what: str) -> list[str]:
    if not pages:
        return []
    listed = ", ".join(map(str, pages[:10])) + (" and more" if len(pages) > 10 else "")
    return [f"pages {listed} {what}"]


def _translated(message: str, file_type: FileType, shown: str) -> WaybillError:
    lowered = message.lower()
    if "password" in lowered or "encrypt" in lowered:
        return EncryptedDocument(
            f"{shown!r} is a password-protected {file_type.label}; save it without a password and send it again"
        )
    if lowered.startswith("unsupported format"):
        return UnsupportedType(f"{shown!r} was recognised as {file_type.label}, which the converter does not read")
    known = file_type.family in _FAMILIES_WITH_REASON
    reason = f" ({single_line(message)[:_MAX_REASON_CHARACTERS]})" if known else ""
    if "security" in lowered or "limit" in lowered or "bomb" in lowered:
        return TooLarge(f"{shown!r} ({file_type.label}) unpacks to more than the limits of a document allow{reason}")
    return UnreadableDocument(
        f"{shown!r} could not be read as {file_type.label}{reason}; check that it opens and send it again"
    )
