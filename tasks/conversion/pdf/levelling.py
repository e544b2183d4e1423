"""A PDF with its raised and lowered signs on their lines, as high as these are.

xberg takes a sign that is smaller than its line for a line of its own, and puts it between paragraphs. Owns the proof
that nothing else changed: pdfium 5.15 writes fonts of one name as one font, which changes signs of the others.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pypdfium2 as _pdfium  # pyright: ignore[reportMissingTypeStubs]

from tasks.conversion.pdf.page_signs import PageSigns, Shifted, baseline, raw

pdfium: Any = _pdfium

_PAGES_AT_ONCE = 20


def levelled(path: Path, pages: Sequence[PageSigns]) -> bytes | None:
    """Return the file at *path* with the shifted signs of *pages* on their lines; None where nothing is to be done."""
    wanted = [number for number, page in enumerate(pages) if page.shifted]
    if not wanted:
        return None
    moved = 0
    with pdfium.PdfDocument(path) as document:
        for start in range(0, len(wanted), _PAGES_AT_ONCE):
            moved += _replace(document, pages, wanted[start : start + _PAGES_AT_ONCE])
        if not moved:
            return None
        file = io.BytesIO()
        document.save(file)
        return file.getvalue()


def _replace(document: Any, pages: Sequence[PageSigns], numbers: Sequence[int]) -> int:
    """Replace pages of *document* by themselves with their signs on the line; return how many were.

    pdfium looks at every object of a document for each page that it writes, so they are written in a small one.
    """
    with pdfium.PdfDocument.new() as part:
        part.import_pages(document, list(numbers))
        moved = [index for index, number in enumerate(numbers) if _level_page(part[index], pages[number].shifted)]
        file = io.BytesIO()
        part.save(file)
    with pdfium.PdfDocument(file.getvalue()) as part:
        same = [index for index in moved if _signs(_text(part[index])) == _signs(pages[numbers[index]].text)]
        for run in _runs(same, numbers):
            first = numbers[run[0]]
            document.import_pages(part, run, first)  # copies the fonts of its pages each time
            for _ in run:
                document.del_page(first + len(run))
    return len(same)


def _runs(indices: Sequence[int], numbers: Sequence[int]) -> list[list[int]]:
    """Return *indices* in runs whose page numbers follow each other."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and numbers[index] == numbers[runs[-1][-1]] + 1 and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs


def _level_page(page: Any, shifted: Sequence[Shifted]) -> int:
    text_page = page.get_textpage()
    moved = sum(_level(text_page, one) for one in shifted)
    text_page.close()
    if moved:
        raw.FPDFPage_GenerateContent(page.raw)
    page.close()
    return moved


def _level(text_page: Any, one: Shifted) -> bool:
    """Put the piece that is the shifted run, and no other, on its line."""
    piece = raw.FPDFText_GetTextObject(text_page.raw, one.index)
    if not piece or raw.FPDFTextObj_GetText(piece, text_page.raw, None, 0) // 2 - 1 > len(one.text) + 2:
        return False
    own = baseline(text_page.raw, one.index)
    raw.FPDFPageObj_Transform(piece, 1, 0, 0, one.scale, 0, one.baseline - one.scale * own)
    return True


def _text(page: Any) -> str:
    text_page = page.get_textpage()
    text: str = text_page.get_text_range()
    text_page.close()
    page.close()
    return text


def _signs(text: str) -> list[str]:
    """Return the letters and digits of a text, and its other signs but those that a line end may change, sorted."""
    return sorted(sign for sign in text if sign > " " and sign not in "-\u00ad\ufffe\u2010")
