"""A PDF with its raised and lowered signs on their lines, as high as these are.

xberg takes a sign that is smaller than its line for a line of its own, and puts it between paragraphs. Owns the proof
that nothing else changed: pdfium 5.15 writes fonts of one name as one font, which changes signs of the others.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pypdfium2 as _pdfium  # pyright: ignore[reportMissingTypeStubs]

from tasks.conversion.pdf.page_signs import PageSigns, Shifted, baseline, raw

pdfium: Any = _pdfium


def levelled(path: Path, pages: Sequence[PageSigns]) -> bytes | None:
    """Return the file at *path* with the shifted signs of *pages* on their lines; None where nothing is to be done."""
    wanted = {number for number, page in enumerate(pages) if page.shifted}
    while wanted:
        content, moved = _written(path, pages, wanted)
        if not moved:
            return None
        changed = _changed(content, pages, wanted)
        if not changed:
            return content
        wanted -= changed  # at most twice: what is left was the same before
    return None


def _written(path: Path, pages: Sequence[PageSigns], wanted: Collection[int]) -> tuple[bytes, int]:
    with pdfium.PdfDocument(path) as document:
        moved = sum(_level_page(document[number], pages[number].shifted) for number in sorted(wanted))
        file = io.BytesIO()
        if moved:
            document.save(file)
        return file.getvalue(), moved


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


def _changed(content: bytes, pages: Sequence[PageSigns], wanted: Collection[int]) -> set[int]:
    """Return the pages whose signs are not what they were."""
    with pdfium.PdfDocument(content) as document:
        return {number for number in wanted if _signs(_text(document[number])) != _signs(pages[number].text)}


def _text(page: Any) -> str:
    text_page = page.get_textpage()
    text: str = text_page.get_text_range()
    text_page.close()
    page.close()
    return text


def _signs(text: str) -> list[str]:
    """Return the letters and digits of a text, and its other signs but those that a line end may change, sorted."""
    return sorted(sign for sign in text if sign > " " and sign not in "-\u00ad\ufffe\u2010")
