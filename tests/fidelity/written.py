"""Documents of several formats with the same text, and the text that a reader of their Markdown sees."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from xml.sax.saxutils import escape

from docx import Document
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pptx import Presentation
from pptx.util import Inches

from tools.sample_writers.hypertext import element
from tools.sample_writers.markup import Block, Heading, Items, Paragraph, Table

_PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def words_of(blocks: Iterable[Block]) -> list[str]:
    """Return the words of *blocks* in order, as they are to be found again."""
    words: list[str] = []
    for block in blocks:
        match block:
            case Heading(_, text) | Paragraph(text):
                words += text.split()
            case Items(texts, _):
                words += [word for text in texts for word in text.split()]
            case Table(head, rows):
                words += [word for row in (head, *rows) for cell in row for word in cell.split()]
            case _:
                raise ValueError(block)
    return words


def words_read(markdown: str) -> list[str]:
    """Return the words that a reader of *markdown* (without its header) sees, in order, without labels of lists."""
    return " ".join(_texts(_PARSER.parse(markdown))).split()


def _texts(tokens: Iterable[Token]) -> Iterable[str]:
    for token in tokens:
        if token.type == "inline":
            yield "".join(_shown(child) for child in token.children or ())
        elif token.type in ("fence", "code_block", "html_block"):
            yield token.content


def _shown(token: Token) -> str:
    is_break = token.type in ("softbreak", "hardbreak") or (token.type == "html_inline" and token.content == "<br>")
    return " " if is_break else token.content


def html(blocks: Sequence[Block]) -> bytes:
    return f"<!DOCTYPE html><html><body>{''.join(map(element, blocks))}</body></html>".encode()


def epub(blocks: Sequence[Block]) -> bytes:
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles><rootfile '
        'full-path="p.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="i"><metadata xmlns:dc='
        '"http://purl.org/dc/elements/1.1/"><dc:title>T</dc:title></metadata><manifest><item id="c" href="c.xhtml" '
        'media-type="application/xhtml+xml"/></manifest><spine><itemref idref="c"/></spine></package>'
    )
    chapter = f'<html xmlns="http://www.w3.org/1999/xhtml"><body>{"".join(map(element, blocks))}</body></html>'
    parts = {"META-INF/container.xml": container, "p.opf": package, "c.xhtml": chapter}
    return _package("application/epub+zip", parts)


def odt(blocks: Sequence[Block]) -> bytes:
    office = "urn:oasis:names:tc:opendocument:xmlns:"
    names = " ".join(f'xmlns:{prefix}="{office}{prefix}:1.0"' for prefix in ("office", "text", "table"))
    body = "".join(map(_odt_element, blocks))
    content = (
        f"<office:document-content {names}><office:body><office:text>{body}</office:text></office:body>"
        "</office:document-content>"
    )
    return _package("application/vnd.oasis.opendocument.text", {"content.xml": content})


def _odt_element(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f'<text:h text:outline-level="{level}">{escape(text)}</text:h>'
        case Paragraph(text):
            return f"<text:p>{escape(text)}</text:p>"
        case Items(texts, _):
            items = "".join(f"<text:list-item><text:p>{escape(text)}</text:p></text:list-item>" for text in texts)
            return f"<text:list>{items}</text:list>"
        case Table(head, rows):
            return f"<table:table>{''.join(map(_odt_row, (head, *rows)))}</table:table>"
        case _:
            raise ValueError(block)


def _odt_row(cells: Sequence[str]) -> str:
    inner = "".join(f"<table:table-cell><text:p>{escape(cell)}</text:p></table:table-cell>" for cell in cells)
    return f"<table:table-row>{inner}</table:table-row>"


def docx(blocks: Sequence[Block]) -> bytes:
    document = Document()
    for block in blocks:
        match block:
            case Heading(level, text):
                document.add_heading(text, level)
            case Paragraph(text):
                document.add_paragraph(text)
            case Items(texts, numbered):
                for text in texts:
                    document.add_paragraph(text, style="List Number" if numbered else "List Bullet")
            case Table(head, rows):
                table = document.add_table(rows=0, cols=len(head))
                for row in (head, *rows):
                    for cell, text in zip(table.add_row().cells, row, strict=True):
                        cell.text = text
            case _:
                raise ValueError(block)
    return _saved(document)


def pptx(blocks: Sequence[Block]) -> bytes:
    """A slide for each heading; what comes before the first has a slide of its own."""
    presentation = Presentation()
    slide: Any = presentation.slides.add_slide(presentation.slide_layouts[6])
    top = 0.5
    for block in blocks:
        match block:
            case Heading(_, text):
                slide, top = presentation.slides.add_slide(presentation.slide_layouts[5]), 2.0
                slide.shapes.title.text = text
            case Paragraph(text) | Items((text,), _):
                slide.shapes.add_textbox(Inches(1), Inches(top), Inches(6), Inches(0.4)).text_frame.text = text
            case Items(texts, _):
                frame = slide.shapes.add_textbox(Inches(1), Inches(top), Inches(6), Inches(0.4)).text_frame
                frame.text = texts[0]
                for text in texts[1:]:
                    frame.add_paragraph().text = text
            case Table(head, rows):
                shape = slide.shapes.add_table(len(rows) + 1, len(head), Inches(1), Inches(top), Inches(6), Inches(0.4))
                for row, cells in enumerate((head, *rows)):
                    for column, text in enumerate(cells):
                        shape.table.cell(row, column).text = text
            case _:
                raise ValueError(block)
        top += 0.5
    return _saved(presentation)


def rtf(blocks: Sequence[Block]) -> bytes:
    return f"{{\\rtf1\\ansi\\uc0 {''.join(map(_rtf_element, blocks))}}}".encode("ascii")


def _rtf_element(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"\\pard\\outlinelevel{level - 1} {_rtf_text(text)}\\par\n"
        case Paragraph(text):
            return f"\\pard {_rtf_text(text)}\\par\n"
        case Items(texts, _):
            return "".join(f"\\pard{{\\listtext \\bullet\\tab}}\\ilvl0 {_rtf_text(text)}\\par\n" for text in texts)
        case Table(head, rows):
            return "".join(map(_rtf_row, (head, *rows)))
        case _:
            raise ValueError(block)


def _rtf_row(cells: Sequence[str]) -> str:
    shapes = "".join(f"\\cellx{1000 * (number + 1)}" for number in range(len(cells)))
    contents = "".join(_rtf_text(cell) + "\\cell " for cell in cells)
    return f"\\trowd{shapes}\\pard\\intbl {contents}\\row\n"


def _rtf_text(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\{}" else char if char.isascii() else f"\\u{ord(char)} " for char in text)


FORMATS: dict[str, Callable[[Sequence[Block]], bytes]] = {
    "html": html,
    "epub": epub,
    "docx": docx,
    "odt": odt,
    "pptx": pptx,
    "rtf": rtf,
}


def _saved(document: Any) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def _package(media_type: str, parts: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mimetype", media_type)
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()
