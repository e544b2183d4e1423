"""PDF to Markdown: xberg's text, mended by where the signs of each page stand.

Owns the order of both, and the warnings about pages.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pypdfium2 as _pdfium  # pyright: ignore[reportMissingTypeStubs]

from blocks.filetype import FileType
from tasks.conversion.ocr.engine import MOST_PIXELS, installed
from tasks.conversion.ocr.pages import Ocr, ReadPage, read_page, summary, warnings
from tasks.conversion.pdf.attached import PageAttachments, attached_files, page_attachments
from tasks.conversion.pdf.attaching import with_attached
from tasks.conversion.pdf.column_order import in_file_order, read_across, with_pages_replaced
from tasks.conversion.pdf.levelling import levelled
from tasks.conversion.pdf.mending import mended, with_pages
from tasks.conversion.pdf.page_signs import PageSigns, page_signs, pictures_without_text
from tasks.conversion.reading import Reading
from tasks.conversion.xberg_reader import extract
from tasks.losses import loss

pdfium: Any = _pdfium

# More shows nothing that print of 6 points and more needs.
_DOTS_PER_INCH = 300

# Readers look for the marker in the last 1,024 bytes (implementation note 18); some producers append padding.
_PDF_END_BYTES = 2048


@dataclass(slots=True)
class _Asked:
    """What pdfium says about a document. `levelled` is the file with raised signs on their lines, if it has any."""

    pages: list[PageSigns] = field(default_factory=list[PageSigns])
    attached: list[PageAttachments] = field(default_factory=list[PageAttachments])
    files: list[str] = field(default_factory=list[str])
    levelled: bytes | None = None

    @property
    def addresses(self) -> list[str]:
        """The addresses that links lead to."""
        return [address for page in self.attached for address in page.addresses]


def read_pdf(path: Path, file_type: FileType, shown: str, ocr: Ocr) -> Reading:
    """Return the document's text. Raises what `xberg_reader.extract` raises, and what `Ocr.is_used` does."""
    asked = _asked(path)
    reading = extract(path, file_type, shown, data=asked.levelled)
    reading = _in_column_order(path, file_type, shown, asked, reading)
    read, unread = _read_scans(path, asked.pages, shown, ocr)
    found = [page for page in read if page.markdown]
    body = with_pages(mended(reading.body, asked.pages, asked.addresses), asked.pages, found)
    things = [page.things for page in asked.attached]
    if any(things) or asked.files:
        body = with_attached(body, asked.pages, things, asked.files)
    return replace(
        reading,
        body=body,
        converter=f"{reading.converter}, {installed()}" if found else reading.converter,
        warnings=(
            *_early_end(path),
            *reading.warnings,
            *loss("attachment", len(asked.files)),
            *loss("image", pictures_without_text(asked.pages)),
            *warnings(read, len(unread)),
        ),
        metadata=summary(found) | ({"scanned_pages": unread} if unread else {}),
    )


def _in_column_order(path: Path, file_type: FileType, shown: str, asked: _Asked, reading: Reading) -> Reading:
    """Return *reading* with the pages in order that xberg has read across their columns."""
    torn = read_across(reading.body, asked.pages)
    if not torn:
        return reading
    replaced: dict[int, str] = {}
    with pdfium.PdfDocument(asked.levelled or path) as document:
        for number in torn:
            page = document[number]
            text_page = page.get_textpage()
            markdown = in_file_order(text_page)
            text_page.close()
            page.close()
            if markdown is not None:
                replaced[number] = markdown
    if not replaced:
        return reading
    paged = extract(path, file_type, shown, data=asked.levelled, page_by_page=True)
    return replace(reading, body=with_pages_replaced(reading.body, paged.page_texts, replaced))


def _read_scans(path: Path, pages: Sequence[PageSigns], shown: str, ocr: Ocr) -> tuple[list[ReadPage], list[int]]:
    """Return the scanned pages that were read, and the numbers of those that were not."""
    scans = [number for number, page in enumerate(pages, 1) if page.is_scan]
    if not scans or not ocr.is_used(shown):
        return [], scans
    wanted = scans[: ocr.max_pages]
    with pdfium.PdfDocument(path) as document:
        read = [read_page(number, _picture(document[number - 1])) for number in wanted]
    return read, scans[ocr.max_pages :]


def _picture(page: Any) -> Any:
    width, height = page.get_size()
    scale = min(_DOTS_PER_INCH / 72, MOST_PIXELS / max(width, height, 1))
    return page.render(scale=scale, rev_byteorder=False).to_numpy()[:, :, :3]


def _early_end(path: Path) -> tuple[str, ...]:
    """xberg repairs a file that was cut off and returns the rest, which would otherwise pass for the whole document.

    A complete file ends with its end-of-file marker (ISO 32000-1 section 7.5.5).
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _PDF_END_BYTES))
        if b"%%EOF" in file.read():
            return ()
    return ("the file ends early; pages or parts of them may be missing",)


def _asked(path: Path) -> _Asked:
    """Return what pdfium says about the document.

    xberg takes a sign that is smaller than its line for a line of its own, and puts it between paragraphs. So such
    signs are put on their lines first.
    """
    asked = _Asked()
    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError:  # xberg says what is wrong with it, or reads it
        return asked
    try:
        if document.get_formtype():
            document.init_forms()
        asked.files = attached_files(document)
        for number in range(len(document)):
            _ask_page(document, number, asked)
    finally:
        document.close()
    asked.levelled = levelled(path, asked.pages)
    return asked


def _ask_page(document: Any, number: int, asked: _Asked) -> None:
    try:
        page = document[number]
        text_page = page.get_textpage()
    except pdfium.PdfiumError:
        asked.pages.append(PageSigns(""))
        asked.attached.append(PageAttachments())
        return
    asked.pages.append(page_signs(page, text_page))
    asked.attached.append(page_attachments(document, page, text_page))
    text_page.close()
    page.close()
