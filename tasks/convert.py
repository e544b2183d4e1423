"""Stage 1: any supported document becomes Markdown with a YAML header.

Owns the promise that an output holds text: an empty document, one without text and one with a password each have an
error of their own, and none passes as a success. `tasks.conversion.readers` chooses the reader.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from blocks.errors import EmptyDocument, NoText
from blocks.filetype import FileType, sniff
from blocks.naming import clean_display_name
from tasks.contract import SOURCE, Read, Services, Stage, StageInput, StageOutput
from tasks.conversion.header import make_header
from tasks.conversion.language import detect_language
from tasks.conversion.ocr.engine import installed
from tasks.conversion.ocr.pages import Ocr
from tasks.conversion.options import ConvertOptions
from tasks.conversion.readers import read

_WORD = re.compile(r"[^\W_]+")
_KEPT_TEXT = frozenset({"text", "markdown", "code", "table"})


def convert(given: StageInput, options: ConvertOptions) -> StageOutput:
    """Convert the document to Markdown. Same bytes, same name and same options give the same Markdown.

    Raises `EmptyDocument`, `NoText`, `EncryptedDocument`, `UnreadableDocument`, `UnsupportedType`, `TooLarge`, and
    `InvalidOptions` where OCR is required and not installed.
    """
    document = given.document
    file_type = sniff(given.first(SOURCE), document.name)
    reading = read(given.first(SOURCE), file_type, clean_display_name(document.name), options)
    characters, words = len(reading.body), sum(1 for _ in _WORD.finditer(reading.body))
    if not words:
        raise _without_text(file_type, clean_display_name(document.name), options.ocr_use())
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


def _without_text(file_type: FileType, shown: str, ocr: Ocr) -> EmptyDocument | NoText:
    if file_type.family in _KEPT_TEXT:
        return EmptyDocument(f"{shown!r} ({file_type.label}) has no words; check that it is the right file")
    why = {
        "pdf": f"its pages are images; {ocr.why_not()}",
        "image": ocr.why_not(),
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
    version="2",
    suffix=".md",
    media_type="text/markdown",
    reads=(Read(any_of=(SOURCE,)),),
    options=ConvertOptions,
    run=convert,
    identity=_identity,
)
