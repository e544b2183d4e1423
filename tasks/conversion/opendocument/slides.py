"""An OpenDocument presentation (.odp) as Markdown: slides in order, each with its notes and comments."""

from __future__ import annotations

import re
from pathlib import Path

from blocks.errors import UnreadableDocument
from blocks.filetype import FileType
from tasks.conversion.markdown_writer import Body, Run, inline
from tasks.conversion.office.package import Element, local_name
from tasks.conversion.office.reading_order import Box, reading_order
from tasks.conversion.opendocument.document import attribute, open_document, optional_part, properties
from tasks.conversion.opendocument.objects import Objects
from tasks.conversion.opendocument.paragraphs import FLOATS, PARAGRAPHS, Context, Paragraph
from tasks.conversion.opendocument.styles import Format
from tasks.conversion.opendocument.text_document import CONVERTER, context_of
from tasks.conversion.opendocument.writer import Writer
from tasks.conversion.presentation.remarks import COMMENTS_HEADING, NOTES_HEADING
from tasks.conversion.reading import Reading, clean_text
from tasks.losses import losses

_LENGTH = re.compile(r"(-?\d+(?:\.\d+)?)(cm|mm|in|pt|pc|px)?")
_EMU = {"cm": 360_000, "mm": 36_000, "in": 914_400, "pt": 12_700, "pc": 152_400, "px": 9_525}
# Frames with the slide's date and number, and its picture on a page of notes.
_RUNNING = frozenset({"date-time", "page-number", "footer", "header", "page"})


def read_slides(path: Path, file_type: FileType, shown: str, *, include_speaker_notes: bool) -> Reading:
    """Return the slides at *path*. Raises `EncryptedDocument`, `UnreadableDocument`, `TooLarge`."""
    with open_document(path, file_type, shown) as package:
        content = package.parse("content.xml")
        presentation = content.find("{*}body/{*}presentation")
        if presentation is None:
            raise UnreadableDocument(f"{shown!r} ({file_type.label}) holds no presentation; save it again")
        context = context_of(content, optional_part(package, "styles.xml"))
        slides = _Slides(context, Writer(context, Objects(package, context.lost)), include_speaker_notes)
        pages = list(presentation.iterfind("{*}page"))
        for page in pages:
            slides.write(page)
        for foot in presentation.iterfind("{*}footer-decl"):
            slides.body.paragraph(inline([Run(text=clean_text(foot.text or ""))]))
        about = properties(package)
        return Reading(
            body=str(slides.body),
            converter=CONVERTER,
            title=about.title,
            created=about.created,
            language=about.language,
            pages=len(pages),
            warnings=losses(context.lost),
        )


class _Slides:
    def __init__(self, context: Context, writer: Writer, include_speaker_notes: bool) -> None:
        self.body = Body()
        self._context = context
        self._writer = writer
        self._include_speaker_notes = include_speaker_notes

    def write(self, page: Element) -> None:
        shapes = [one for one in page if local_name(one) in FLOATS and attribute(one, "class") not in _RUNNING]
        titles = [one for one in shapes if attribute(one, "class") == "title"]
        self.body.heading(2, f"{' '.join(map(self._line, titles))} {self._hidden(page)}")
        rest = [one for one in shapes if one not in titles]
        for index in _order(rest):
            self._writer.write_float(self.body, rest[index])
        if self._include_speaker_notes:
            self._write_notes(page)
        self._write_comments(page)

    def _hidden(self, page: Element) -> str:
        """Return what the title of a slide that is not shown says of it; such slides are counted."""
        style = attribute(page, "style-name")
        if self._context.styles.property("drawing-page", style, "visibility") != "hidden":
            return ""
        self._context.lost["hidden-slide"] += 1
        return "(hidden)"

    def _line(self, title: Element) -> str:
        paragraphs = (Paragraph(self._context).markdown(one, Format()) for one in title.iter(*PARAGRAPHS))
        return " ".join(text for text in paragraphs if text)

    def _write_notes(self, page: Element) -> None:
        notes = Body()
        for frame in page.iterfind("{*}notes/{*}frame"):
            if attribute(frame, "class") == "notes":
                self._writer.write_float(notes, frame)
        if notes:
            self.body.block(f"{NOTES_HEADING}\n\n{notes}")

    def _write_comments(self, page: Element) -> None:
        comments = Body()
        for comment in page.iterfind("{*}annotation"):
            author = " ".join((comment.findtext("{*}creator") or "").split())
            said = " ".join(
                text for one in comment.iter(*PARAGRAPHS) if (text := Paragraph(self._context).markdown(one, Format()))
            )
            name = inline([Run(text=clean_text(author))])
            comments.item("-", f"{name}: {said}" if name else said)
        if comments:
            self.body.block(f"{COMMENTS_HEADING}\n\n{comments}")


def _order(shapes: list[Element]) -> list[int]:
    """Return the order of reading: what has no place of its own first, then by place."""
    boxes = [_box(shape) for shape in shapes]
    placed = [(index, box) for index, box in enumerate(boxes) if box is not None]
    ordered = reading_order([box for _, box in placed])
    return [*(index for index, box in enumerate(boxes) if box is None), *(placed[index][0] for index in ordered)]


def _box(shape: Element) -> Box | None:
    numbers = [_length(attribute(shape, name)) for name in ("x", "y", "width", "height")]
    if any(number is None for number in numbers):
        inner = [box for child in shape if (box := _box(child)) is not None]
        return _around(inner) if inner else None
    left, top, width, height = (number or 0 for number in numbers)
    return Box(left, top, width, height)


def _around(boxes: list[Box]) -> Box:
    left, top = min(box.left for box in boxes), min(box.top for box in boxes)
    return Box(left, top, max(box.right for box in boxes) - left, max(box.bottom for box in boxes) - top)


def _length(written: str) -> int | None:
    found = _LENGTH.fullmatch(written)
    return round(float(found[1]) * _EMU[found[2] or "px"]) if found else None
