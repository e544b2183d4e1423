"""PDF to Markdown: xberg's text, mended by where the signs of each page stand.

Owns the order of both, and the warnings about pages.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pypdfium2 as _pdfium  # pyright: ignore[reportMissingTypeStubs]

from blocks.filetype import FileType
from tasks.conversion.ocr.engine import MOST_PIXELS, installed
from tasks.conversion.ocr.pages import Ocr, ReadPage, read_page, summary, warnings
from tasks.conversion.pdf.mending import mended, with_pages
from tasks.conversion.pdf.page_signs import PageSigns, Shifted, baseline, page_signs, raw
from tasks.conversion.reading import Reading
from tasks.conversion.xberg_reader import extract

pdfium: Any = _pdfium

# More shows nothing that print of 6 points and more needs.
_DOTS_PER_INCH = 300

# Readers look for the marker in the last 1,024 bytes (implementation note 18); some producers append padding.
_PDF_END_BYTES = 2048


def read_pdf(path: Path, file_type: FileType, shown: str, ocr: Ocr) -> Reading:
    """Return the document's text. Raises what `xberg_reader.extract` raises, and what `Ocr.is_used` does."""
    pages, levelled = _signs(path)
    reading = extract(path, file_type, shown, data=levelled)
    read, unread = _read_scans(path, pages, shown, ocr)
    found = [page for page in read if page.markdown]
    return replace(
        reading,
        body=with_pages(mended(reading.body, pages), pages, found),
        converter=f"{reading.converter}, {installed()}" if found else reading.converter,
        warnings=(*_early_end(path), *reading.warnings, *warnings(read, len(unread))),
        metadata=summary(found) | ({"scanned_pages": unread} if unread else {}),
    )


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


def _signs(path: Path) -> tuple[list[PageSigns], bytes | None]:
    """Return the signs of each page, and the file with raised and lowered signs on their lines, if it has any.

    xberg takes a sign that is smaller than its line for a line of its own, and puts it between paragraphs.
    """
    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError:  # xberg says what is wrong with it, or reads it
        return [], None
    try:
        pages: list[PageSigns] = []
        levelled = 0
        for number in range(len(document)):
            try:
                page = document[number]
            except pdfium.PdfiumError:
                continue
            text_page = page.get_textpage()
            signs = page_signs(page, text_page)
            moved = _level(text_page, signs.shifted)
            text_page.close()
            if moved:
                raw.FPDFPage_GenerateContent(page.raw)
                levelled += moved
            page.close()
            pages.append(signs)
        if not levelled:
            return pages, None
        file = io.BytesIO()
        document.save(file)
        return pages, file.getvalue()
    finally:
        document.close()


def _level(text_page: Any, shifted: Sequence[Shifted]) -> int:
    """Put raised and lowered pieces on their line, as high as it is; return how many those are."""
    moved = 0
    for one in shifted:
        piece = raw.FPDFText_GetTextObject(text_page.raw, one.index)
        if not piece or _length(text_page, piece) > len(one.text) + 2:
            continue
        own = baseline(text_page.raw, one.index)
        raw.FPDFPageObj_Transform(piece, 1, 0, 0, one.scale, 0, one.baseline - one.scale * own)
        moved += 1
    return moved


def _length(text_page: Any, piece: Any) -> int:
    return raw.FPDFTextObj_GetText(piece, text_page.raw, None, 0) // 2 - 1
