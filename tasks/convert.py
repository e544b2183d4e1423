"""Stage 1: any supported document becomes Markdown with a YAML header.

Owns the choice of the converter by the document's content, and the promise that an output holds text: an empty
document, one without text and one with a password each have an error of their own, and none passes as a success.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from blocks.errors import EmptyDocument, NoText
from blocks.filetype import FileType, sniff
from blocks.naming import clean_display_name
from tasks.contract import SOURCE, Read, Services, Stage, StageInput, StageOptions, StageOutput
from tasks.conversion.header import make_header
from tasks.conversion.language import detect_language
from tasks.conversion.mail import read_mail
from tasks.conversion.markdown_source import read_markdown
from tasks.conversion.ocr.engine import installed
from tasks.conversion.ocr.pages import Ocr, read_image
from tasks.conversion.plain_text import read_code, read_plain_text
from tasks.conversion.reading import Reading
from tasks.conversion.table import read_table

_WORD = re.compile(r"[^\W_]+")
_WORD_DOCUMENTS = frozenset({"docx", "dotx", "docm", "dotm"})
_SLIDES = frozenset({"pptx", "ppsx", "potx", "pptm", "potm"})
_WORKBOOKS = frozenset({"xlsx", "xlsm", "xltx", "xltm", "xlam", "xls", "xlsb", "ods"})
_KEPT_TEXT = frozenset({"text", "markdown", "code", "table"})


class ConvertOptions(StageOptions):
    """Options of the conversion to Markdown."""

    exclude_selectors: tuple[str, ...] = Field(
        default=("nav", "footer", "aside"),
        max_length=50,
        description="HTML pages and HTML mails: CSS selectors of elements to leave out. Scripts and styles always are.",
    )
    include_speaker_notes: bool = Field(
        default=True, description="Presentations: put the speaker notes below their slide."
    )
    encoding: str | None = Field(
        default=None,
        max_length=40,
        description="Text, Markdown, code and CSV: the character encoding (utf-8, cp1252, shift_jis ...). "
        "Empty: detected.",
    )
    csv_delimiter: str | None = Field(
        default=None,
        min_length=1,
        max_length=1,
        description="CSV: the character between two cells. Empty: detected.",
    )

    ocr: Literal["auto", "off", "require"] = Field(
        default="auto",
        description="PDF pages and images without text: read them by OCR. auto: if the extra `ocr` is installed; "
        "require: fail if it is not.",
    )
    ocr_max_pages: int = Field(
        default=12,
        ge=1,
        le=10_000,
        description="How many pages of a document are read by OCR, from the first; the others get a warning. "
        "A page takes 5 to 8 s of `WAYBILL_STAGE_TIMEOUT_SECONDS`.",
    )

    @field_validator("csv_delimiter")
    @classmethod
    def _can_delimit(cls, value: str | None) -> str | None:
        if value is not None and value in '"\r\n\0':
            raise ValueError("a line end or the quotation mark cannot stand between two cells; use another character")
        return value


def convert(given: StageInput, options: ConvertOptions) -> StageOutput:
    """Convert the document to Markdown. Same bytes, same name and same options give the same Markdown.

    Raises `EmptyDocument`, `NoText`, `EncryptedDocument`, `UnreadableDocument`, `UnsupportedType`, `TooLarge`, and
    `InvalidOptions` where OCR is required and not installed.
    """
    document = given.document
    file_type = sniff(given.first(SOURCE), document.name)
    reading = _read(given, file_type, options)
    characters, words = len(reading.body), sum(1 for _ in _WORD.finditer(reading.body))
    if not words:
        raise _without_text(file_type, clean_display_name(document.name), _ocr(options))
    header = make_header(reading, document, file_type, detect_language(reading.body))
    return StageOutput(
        content=header.to_yaml(reading.fields).encode() + reading.body.strip("\n").encode("utf-8", "replace") + b"\n",
        metadata={
            "title": header.title,
            "language": header.language,
            "pages": header.pages,
            "created": header.created,
            "media_type": file_type.media_type,
            "type": file_type.extension,
            "words": words,
            "characters": characters,
            "converter": reading.converter,
            **reading.metadata,
        },
        warnings=reading.warnings,
    )


def _read(given: StageInput, file_type: FileType, options: ConvertOptions) -> Reading:
    """Read the document with the converter of its family. xberg (0.15 s to import) is loaded only where needed."""
    path, shown = given.first(SOURCE), clean_display_name(given.document.name)
    if file_type.family == "markdown":
        return read_markdown(path, options.encoding)
    if file_type.family == "text":
        return read_plain_text(path, options.encoding)
    if file_type.family == "code":
        return read_code(path, file_type, options.encoding)
    if file_type.family == "table":
        return read_table(path, options.encoding, options.csv_delimiter)
    if file_type.family == "mail":
        return read_mail(path, shown, options.exclude_selectors)
    if file_type.extension == "msg":
        from tasks.conversion.outlook.reader import read_outlook

        return read_outlook(path, shown, options.exclude_selectors)
    if file_type.family == "web":
        from tasks.conversion.web_page import read_web_page

        return read_web_page(path, options.exclude_selectors)
    if file_type.family == "pdf":
        from tasks.conversion.pdf.reader import read_pdf

        return read_pdf(path, file_type, shown, _ocr(options))
    if file_type.family == "image":
        return read_image(path, file_type, shown, _ocr(options))
    if file_type.family == "notebook":
        from tasks.conversion.notebook import read_notebook

        return read_notebook(path, file_type, shown)
    if file_type.extension == "rtf":
        from tasks.conversion.rtf.reader import read_rtf

        return read_rtf(path, file_type, shown)
    if file_type.family in ("book", "markup"):
        return _read_book_or_markup(path, file_type, shown)
    if file_type.extension == "odt":
        from tasks.conversion.opendocument.text_document import read_text_document

        return read_text_document(path, file_type, shown)
    if file_type.extension == "odp":
        from tasks.conversion.opendocument import slides

        return slides.read_slides(path, file_type, shown, include_speaker_notes=options.include_speaker_notes)
    if file_type.extension in _WORD_DOCUMENTS:
        from tasks.conversion.word.reader import read_word

        return read_word(path, file_type, shown)
    if file_type.extension in _WORKBOOKS:
        from tasks.conversion.workbook.reader import read_workbook

        return read_workbook(path, file_type, shown)
    if file_type.extension in _SLIDES:
        from tasks.conversion.presentation.reader import read_slides

        return read_slides(path, file_type, shown, include_speaker_notes=options.include_speaker_notes)
    from tasks.conversion.xberg_reader import extract

    return extract(path, file_type, shown)


def _read_book_or_markup(path: Path, file_type: FileType, shown: str) -> Reading:
    if file_type.extension == "epub":
        from tasks.conversion.book.epub import read_epub

        return read_epub(path, file_type, shown)
    if file_type.extension == "fb2":
        from tasks.conversion.book.fiction_book import read_fiction_book

        return read_fiction_book(path, file_type, shown)
    if file_type.extension == "tex":
        from tasks.conversion.tex.reader import read_latex

        return read_latex(path, shown)
    if file_type.extension == "adoc":
        from tasks.conversion.asciidoc.reader import read_asciidoc

        return read_asciidoc(path, shown)
    if file_type.extension == "org":
        from tasks.conversion.org import read_org

        return read_org(path)
    if file_type.extension in ("dbk", "jats"):
        from tasks.conversion.xml_article import read_xml_article

        return read_xml_article(path, file_type, shown)
    if file_type.extension == "rst":
        from tasks.conversion.restructured_text import read_restructured_text

        return read_restructured_text(path, shown)
    from tasks.conversion.xberg_reader import extract

    return extract(path, file_type, shown)


def _ocr(options: ConvertOptions) -> Ocr:
    return Ocr(mode=options.ocr, max_pages=options.ocr_max_pages)


def _without_text(file_type: FileType, shown: str, ocr: Ocr) -> EmptyDocument | NoText:
    if file_type.family in _KEPT_TEXT:
        return EmptyDocument(f"{shown!r} ({file_type.label}) has no words; check that it is the right file")
    why = {
        "pdf": f"its pages are images, and text in images needs OCR: {ocr.why_not()}",
        "image": f"text in images needs OCR: {ocr.why_not()}",
        "notebook": "its cells are empty or have only pictures",
        "web": "its text is written by scripts, is in elements that are left out, or is nested too deeply",
    }.get(file_type.family, "it has only images, or nothing at all; scans need OCR")
    return NoText(f"no text was found in {shown!r} ({file_type.label}): {why}")


def _identity(options: ConvertOptions, _services: Services) -> Mapping[str, str]:
    """Installing the extra, or another version of it, makes new outputs where pictures are read."""
    recogniser = None if options.ocr == "off" else installed()
    return {"ocr": recogniser} if recogniser else {}


CONVERT: Stage[ConvertOptions] = Stage(
    number=1,
    name="markdown-conversion",
    version="1",
    suffix=".md",
    media_type="text/markdown",
    reads=(Read(any_of=(SOURCE,)),),
    options=ConvertOptions,
    run=convert,
    identity=_identity,
)
