"""PPTX samples: one slide for each heading, with bullets, tables and speaker notes, written by python-pptx."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from pptx import Presentation
from pptx.presentation import Presentation as PowerPoint
from pptx.shapes.autoshape import Shape
from pptx.slide import Slide
from pptx.text.text import TextFrame
from pptx.util import Emu, Inches, Pt

from tools.sample_writers.archive import repack
from tools.sample_writers.markup import Heading, Items, Paragraph, Table, Text

# A paragraph of this text begins the speaker notes of a slide.
NOTES_MARK = "Notes:"
_BALLAST = ("/printerSettings", "/thumbnail")
# Indexes of the default template's layouts.
_TITLE_LAYOUT, _CONTENT_LAYOUT, _TITLE_ONLY_LAYOUT = 0, 1, 5


def write_slides(text: Text) -> bytes:
    """The PPTX of *text*: a title slide from its header, then a slide for each level-1 heading."""
    presentation = Presentation()
    _drop_ballast(presentation)
    _set_properties(presentation, text.header)
    title = presentation.slides.add_slide(presentation.slide_layouts[_TITLE_LAYOUT])
    _title(title).text = text.header["title"]
    title.placeholders[1].text = f"{text.header['subtitle']}\n{text.header['author']}"  # pyright: ignore[reportAttributeAccessIssue]
    heading: str | None = None
    blocks: list[Paragraph | Items | Table] = []
    for block in text.blocks:
        if isinstance(block, Heading):
            if heading is not None:
                _add_slide(presentation, heading, blocks)
            heading, blocks = block.text, []
        elif isinstance(block, Paragraph | Items | Table):
            blocks.append(block)
        else:
            raise TypeError(f"the PPTX samples hold no {type(block).__name__}")
    if heading is not None:
        _add_slide(presentation, heading, blocks)
    buffer = io.BytesIO()
    presentation.save(buffer)
    return repack(buffer.getvalue())


def _drop_ballast(presentation: PowerPoint) -> None:
    """Take the printer settings and the thumbnail out of the default template."""
    for relations in (presentation.part.rels, presentation.part.package._rels):  # pyright: ignore[reportPrivateUsage]
        for key in [key for key, relation in relations.items() if relation.reltype.endswith(_BALLAST)]:
            relations.pop(key)


def _set_properties(presentation: PowerPoint, header: dict[str, str]) -> None:
    properties = presentation.core_properties
    written = datetime.fromisoformat(header["date"]).replace(tzinfo=UTC)
    properties.title = header["title"]
    properties.author = header["author"]
    properties.last_modified_by = header["author"]
    properties.subject = header["subject"]
    properties.keywords = header["keywords"]
    properties.created = written
    properties.modified = written


def _title(slide: Slide) -> Shape:
    shape = slide.shapes.title
    if shape is None:
        raise ValueError("the layout has no title")
    return shape


def _add_slide(presentation: PowerPoint, heading: str, blocks: list[Paragraph | Items | Table]) -> None:
    marks = [index for index, block in enumerate(blocks) if block == Paragraph(NOTES_MARK)]
    body = blocks[: marks[0]] if marks else blocks
    notes = [block.text for block in blocks[marks[0] + 1 :] if isinstance(block, Paragraph)] if marks else []
    tables = [block for block in body if isinstance(block, Table)]
    items = [item for block in body if isinstance(block, Items) for item in block.texts]
    layout = _TITLE_ONLY_LAYOUT if tables else _CONTENT_LAYOUT
    slide = presentation.slides.add_slide(presentation.slide_layouts[layout])
    _title(slide).text = heading
    if tables:
        below = Emu(_add_table(slide, tables[0]) + Inches(0.2))
        if items:
            _fill(slide.shapes.add_textbox(Inches(0.6), below, Inches(8.8), Inches(1.5)).text_frame, items)
    else:
        _fill(slide.placeholders[1].text_frame, items)  # pyright: ignore[reportAttributeAccessIssue]
    if notes:
        frame = slide.notes_slide.notes_text_frame
        if frame is not None:
            frame.text = "\n".join(notes)


def _fill(frame: TextFrame, items: list[str]) -> None:
    frame.word_wrap = True
    for index, item in enumerate(items):
        paragraph = frame.paragraphs[0] if index == 0 else frame.add_paragraph()
        paragraph.text = item
        paragraph.font.size = Pt(20)


def _add_table(slide: Slide, table: Table) -> Emu:
    """Draw *table* and give the height at which it ends."""
    top, row_height = Inches(1.4), Inches(0.4)
    height = Emu(row_height * (len(table.rows) + 1))
    shape = slide.shapes.add_table(len(table.rows) + 1, len(table.header), Inches(0.6), top, Inches(8.8), height)
    for row_number, row in enumerate((table.header, *table.rows)):
        for column, value in enumerate(row):
            cell = shape.table.cell(row_number, column)
            cell.text = value
            cell.text_frame.paragraphs[0].font.size = Pt(14)
    return Emu(top + height)
