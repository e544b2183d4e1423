"""DOCX samples: styles, real lists, tables and footnotes, written by python-docx."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from docx import Document
from docx.document import Document as WordDocument
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml import OxmlElement
from docx.oxml.ns import nsdecls, qn
from docx.text.paragraph import Paragraph as WordParagraph

from tools.sample_writers.archive import repack
from tools.sample_writers.markup import Block, Heading, Items, Note, Paragraph, Table, Text

_REFERENCE = re.compile(r"\[\^(\d+)\]")
_BALLAST = ("/stylesWithEffects", "/thumbnail")
_FOOTNOTES_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.footnotes+xml"


def write_word(text: Text, *, language: str, east_asian_font: str | None = None) -> bytes:
    """The DOCX of *text*. *east_asian_font* is named in the styles, not embedded."""
    document = Document()
    _drop_ballast(document)
    _set_properties(document, text.header, language)
    if east_asian_font:
        for style in ("Normal", "Title", "Subtitle", "Heading 1", "Heading 2"):
            fonts = document.styles[style].element.get_or_add_rPr().get_or_add_rFonts()
            fonts.set(qn("w:eastAsia"), east_asian_font)
    document.add_paragraph(text.header["title"], style="Title")
    document.add_paragraph(text.header["subtitle"], style="Subtitle")
    for block in text.blocks:
        _add(document, block)
    notes = [block for block in text.blocks if isinstance(block, Note)]
    if notes:
        _add_footnotes(document, notes)
    buffer = io.BytesIO()
    document.save(buffer)
    return repack(buffer.getvalue())


def _drop_ballast(document: WordDocument) -> None:
    """Take out of the default template what no sample uses: 800 kB of table styles, copied twice, and a thumbnail."""
    styles = document.styles.element
    for style in styles.findall(qn("w:style")):
        if style.get(qn("w:type")) == "table" and style.get(qn("w:styleId")) not in {"TableNormal", "TableGrid"}:
            styles.remove(style)
    for relations in (document.part.rels, document.part.package.rels):  # pyright: ignore[reportOptionalMemberAccess]
        for key in [key for key, relation in relations.items() if relation.reltype.endswith(_BALLAST)]:
            del relations[key]


def _set_properties(document: WordDocument, header: dict[str, str], language: str) -> None:
    properties = document.core_properties
    written = datetime.fromisoformat(header["date"]).replace(tzinfo=UTC)
    properties.title = header["title"]
    properties.subject = header["subject"]
    properties.author = header["author"]
    properties.last_modified_by = header["author"]
    properties.keywords = header["keywords"]
    properties.language = language
    properties.comments = ""
    properties.created = written
    properties.modified = written


def _add(document: WordDocument, block: Block) -> None:
    match block:
        case Heading(level, title):
            document.add_heading(title, level)
        case Paragraph(words):
            _add_with_references(document.add_paragraph(), words)
        case Items(texts, numbered):
            for item in texts:
                _add_with_references(document.add_paragraph(style="List Number" if numbered else "List Bullet"), item)
        case Table(head, rows):
            _add_table(document, head, rows)
        case Note():
            pass  # notes are not part of the body: `_add_footnotes` writes them
        case _:
            raise ValueError(f"the DOCX samples hold no {type(block).__name__}")


def _add_with_references(paragraph: WordParagraph, words: str) -> None:
    position = 0
    for match in _REFERENCE.finditer(words):
        paragraph.add_run(words[position : match.start()])
        run = paragraph.add_run()
        run.font.superscript = True
        reference = OxmlElement("w:footnoteReference")
        reference.set(qn("w:id"), match[1])
        run._r.append(reference)  # pyright: ignore[reportPrivateUsage]
        position = match.end()
    paragraph.add_run(words[position:])


def _add_table(document: WordDocument, head: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> None:
    table = document.add_table(rows=1, cols=len(head), style="Table Grid")
    for cell, title in zip(table.rows[0].cells, head, strict=True):
        cell.paragraphs[0].add_run(title).bold = True
    for row in rows:
        for cell, value in zip(table.add_row().cells, row, strict=True):
            cell.text = value
    document.add_paragraph()


def _add_footnotes(document: WordDocument, notes: list[Note]) -> None:
    """Add the footnotes part, which python-docx has no interface for (ECMA-376 part 1, 17.11)."""
    separators = "".join(
        f'<w:footnote w:type="{kind}" w:id="{number}"><w:p><w:r><w:{kind}/></w:r></w:p></w:footnote>'
        for number, kind in ((-1, "separator"), (0, "continuationSeparator"))
    )
    bodies = "".join(
        f'<w:footnote w:id="{note.number}"><w:p><w:r><w:footnoteRef/></w:r>'
        f'<w:r><w:t xml:space="preserve"> {escape(note.text)}</w:t></w:r></w:p></w:footnote>'
        for note in notes
    )
    xml = (
        '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
        f"<w:footnotes {nsdecls('w')}>{separators}{bodies}</w:footnotes>"
    )
    part = Part(PackURI("/word/footnotes.xml"), _FOOTNOTES_TYPE, xml.encode(), document.part.package)
    document.part.relate_to(part, RELATIONSHIP_TYPE.FOOTNOTES)
