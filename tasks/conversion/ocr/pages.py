"""The pages of one document read by OCR, within its options, and what is said about them.

Owns the mark above a page's text, and the warnings about pages that were read badly or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from blocks.errors import InvalidOptions
from blocks.filetype import FileType
from tasks.conversion.ocr.engine import INSTALL, installed, recognise
from tasks.conversion.ocr.page_layout import confidence, page_markdown
from tasks.conversion.reading import Reading
from tasks.losses import loss

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Mode = Literal["auto", "off", "require"]
# Below this, words are wrong more often than not.
_LOW_CONFIDENCE = 0.8
_MOST_NUMBERS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Ocr:
    """Whether a stage reads pictures, and how many pages of a document."""

    mode: Mode = "auto"
    max_pages: int = 12

    def is_used(self, shown: str) -> bool:
        """Return whether text is recognised. Raises `InvalidOptions` where it must be and cannot."""
        if self.mode == "off":
            return False
        if installed() is None and self.mode == "require":
            raise InvalidOptions(f"{shown!r} needs OCR, which the option ocr requires and is not installed; {INSTALL}")
        return installed() is not None

    def why_not(self) -> str:
        """Return why there is no text of pictures, and what a user can do about it."""
        if self.mode != "off" and installed() is not None:
            return "OCR found none"
        how = "set the option ocr to auto" if self.mode == "off" else INSTALL
        return f"text in images needs OCR: {how}"


@dataclass(frozen=True, slots=True)
class ReadPage:
    """A page that was read: its number from 1, its Markdown (may be empty), the mean confidence (0 to 1)."""

    number: int
    markdown: str
    confidence: float

    def marked(self) -> str:
        """Return its text with a line before it that says where it comes from."""
        return f"*Read by OCR, confidence {self.confidence:.2f}*\n\n{self.markdown}"


def read_page(number: int, picture: NDArray[np.uint8]) -> ReadPage:
    """Read one page."""
    lines = recognise(picture)
    return ReadPage(number, page_markdown(lines), round(confidence(lines), 2))


def summary(pages: Sequence[ReadPage]) -> dict[str, Any]:
    """Return the metadata about pages that were read: their numbers and their mean confidence."""
    if not pages:
        return {}
    return {
        "ocr_pages": [page.number for page in pages],
        "ocr_confidence": round(sum(page.confidence for page in pages) / len(pages), 2),
    }


def warnings(pages: Sequence[ReadPage], unread: int) -> tuple[str, ...]:
    """Return the warnings about pages that were read with doubt or hold no text, and about *unread* scans."""
    doubtful = [page for page in pages if page.markdown and page.confidence < _LOW_CONFIDENCE]
    listed = ", ".join(f"{page.number} ({page.confidence:.2f})" for page in doubtful[:_MOST_NUMBERS])
    return (
        *((f"pages read by OCR with low confidence: {listed}; check them",) if doubtful else ()),
        *loss("image", sum(not page.markdown for page in pages)),
        *loss("scan", unread),
    )


def read_image(path: Path, file_type: FileType, shown: str, ocr: Ocr) -> Reading:
    """Return the text in an image file. Its body is empty where there is none, or where OCR is not used.

    Raises `InvalidOptions`, `TooLarge`, `UnreadableDocument`.
    """
    if file_type.extension in _NOT_READ or not ocr.is_used(shown):
        from tasks.conversion.xberg_reader import extract

        return extract(path, file_type, shown)
    from tasks.conversion.ocr.pictures import page_count, pictures

    count = page_count(path, shown)
    read = [read_page(number, picture) for number, picture in _first(ocr.max_pages, pictures(path, shown))]
    found = [page for page in read if page.markdown]
    return Reading(
        body="\n\n".join(page.marked() for page in found),
        converter=installed() or "",
        pages=count if count > 1 else None,
        warnings=warnings(read, max(0, count - len(read))),
        metadata=summary(found),
    )


# Pillow has no decoder of its own for it.
_NOT_READ = frozenset({"heic"})


def _first(count: int, pictures: Iterable[NDArray[np.uint8]]) -> Iterable[tuple[int, NDArray[np.uint8]]]:
    for number, picture in enumerate(pictures, 1):
        if number > count:
            return
        yield number, picture
