"""The reader of each type of document.

Owns the two tables from a type to its reader, which every type of `blocks.filetype` is in. A reader is imported when
a document of its type comes: xberg alone takes 0.15 s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from blocks.filetype import FileType
from tasks.conversion.options import ConvertOptions
from tasks.conversion.reading import Reading

# What xberg drops of a format without saying so.
_GAPS = {
    "doc": "tables, marks of notes and raised digits may be lost; save it as docx to keep them",
    "ppt": "tables, order of boxes and marks of hidden slides may be lost; save it as pptx to keep them",
    "dj": "raised digits, marks of notes and first numbers of lists may be lost",
}


class Reader(Protocol):
    """Reads the document at *path*; *shown* names it in messages. Raises the errors that `tasks.convert` names."""

    def __call__(self, path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading: ...


def read(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    """Return what the reader of *file_type* makes of the document. Raises what the reader raises."""
    return reader_of(file_type)(path, file_type, shown, options)


def reader_of(file_type: FileType) -> Reader:
    """Return the reader of the extension; where that has none of its own, of the family."""
    return _BY_EXTENSION.get(file_type.extension) or _BY_FAMILY[file_type.family]


def _asciidoc(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.asciidoc.reader import read_asciidoc

    return read_asciidoc(path, shown)


def _code(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.plain.reader import read_code

    return read_code(path, file_type, options.encoding)


def _epub(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.book.epub import read_epub

    return read_epub(path, file_type, shown)


def _fiction_book(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.book.fiction_book import read_fiction_book

    return read_fiction_book(path, file_type, shown)


def _image(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.ocr.pages import read_image

    return read_image(path, file_type, shown, options.ocr_use())


def _latex(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.tex.reader import read_latex

    return read_latex(path, shown)


def _mail(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.mail.reader import read_mail

    return read_mail(path, shown, options.exclude_selectors)


def _markdown(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.plain.markdown_source import read_markdown

    return read_markdown(path, options.encoding)


def _notebook(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.notebook.reader import read_notebook

    return read_notebook(path, file_type, shown)


def _opendocument_slides(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.opendocument.slides import read_slides

    return read_slides(path, file_type, shown, include_speaker_notes=options.include_speaker_notes)


def _opendocument_text(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.opendocument.text_document import read_text_document

    return read_text_document(path, file_type, shown)


def _org(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.markup.org import read_org

    return read_org(path)


def _outlook(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.outlook.reader import read_outlook

    return read_outlook(path, shown, options.exclude_selectors)


def _pdf(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.pdf.reader import read_pdf

    return read_pdf(path, file_type, shown, options.ocr_use())


def _plain_text(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.plain.reader import read_plain_text

    return read_plain_text(path, options.encoding)


def _restructured_text(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.markup.restructured_text import read_restructured_text

    return read_restructured_text(path, shown)


def _rtf(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.rtf.reader import read_rtf

    return read_rtf(path, file_type, shown)


def _slides(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.presentation.reader import read_slides

    return read_slides(path, file_type, shown, include_speaker_notes=options.include_speaker_notes)


def _table(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.table.reader import read_table

    return read_table(path, options.encoding, options.csv_delimiter)


def _web_page(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.html.web_page import read_web_page

    return read_web_page(path, options.exclude_selectors)


def _word(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.word.reader import read_word

    return read_word(path, file_type, shown)


def _workbook(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.workbook.reader import read_workbook

    return read_workbook(path, file_type, shown)


def _xberg(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.xberg_reader import extract

    reading = extract(path, file_type, shown)
    gap = _GAPS.get(file_type.extension)
    return replace(reading, warnings=(*reading.warnings, gap)) if gap and reading.body.strip() else reading


def _xml_article(path: Path, file_type: FileType, shown: str, options: ConvertOptions) -> Reading:
    from tasks.conversion.markup.xml_article import read_xml_article

    return read_xml_article(path, file_type, shown)


_BY_EXTENSION: Mapping[str, Reader] = {
    **dict.fromkeys(("docx", "dotx", "docm", "dotm"), _word),
    **dict.fromkeys(("pptx", "ppsx", "potx", "pptm", "potm"), _slides),
    **dict.fromkeys(("xlsx", "xlsm", "xltx", "xltm", "xlam", "xls", "xlsb", "ods"), _workbook),
    "odt": _opendocument_text,
    "odp": _opendocument_slides,
    "rtf": _rtf,
    "msg": _outlook,
    "epub": _epub,
    "fb2": _fiction_book,
    "rst": _restructured_text,
    "adoc": _asciidoc,
    "org": _org,
    "tex": _latex,
    "vtt": _plain_text,
    "dbk": _xml_article,
    "jats": _xml_article,
}
_BY_FAMILY: Mapping[str, Reader] = {
    "markdown": _markdown,
    "text": _plain_text,
    "code": _code,
    "table": _table,
    "mail": _mail,
    "web": _web_page,
    "pdf": _pdf,
    "image": _image,
    "notebook": _notebook,
    "office": _xberg,
    "markup": _xberg,
    "database": _xberg,
}
