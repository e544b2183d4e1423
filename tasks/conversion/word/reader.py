"""A Word document as Markdown: heads, main text, feet, notes.

Owns the order of what a document has next to its main text, and the promise that damage outside of the main part costs
that part alone. Documents before 2007 (`doc`) are not read here.
"""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path

from blocks.errors import UnreadableDocument
from blocks.filetype import FileType
from tasks.conversion.office.package import CoreProperties, Package
from tasks.conversion.reading import Reading, clean_text
from tasks.conversion.word.document import Document
from tasks.conversion.word.heads import heads_and_feet
from tasks.conversion.word.names import Element, W, integer
from tasks.conversion.word.notes import define_notes
from tasks.conversion.word.story import Story
from tasks.conversion.word.writing import StoryWriter
from tasks.losses import losses

CONVERTER = "waybill-word 1"
# Documents in documents in documents: programs that put several together make one level.
_MAX_DEPTH = 2
_NOTE_LABEL = re.compile(r"(?<!\\)\[\^(?=\w)")


def read_word(path: Path, file_type: FileType, shown: str) -> Reading:
    """Return the document. Raises `UnreadableDocument`, `TooLarge`, `EncryptedDocument`."""
    with Package(path, file_type, shown) as package:
        package.check_size()
        document = Document(package)
        document.read_inner = {"docx": _Inner(document, file_type, shown, depth=1)}
        root = package.parse(document.main)
        body = _body(document, root)
        about = _about(document)
        document.lost["number-format"] += len(document.numbering.unknown)
        return Reading(
            body=clean_text(body),
            converter=CONVERTER,
            title=about.title,
            created=about.created,
            language=about.language or document.styles.language or None,
            pages=_pages(document),
            warnings=losses(document.lost),
        )


class _Inner:
    """Reads the documents that stand inside of another one, whose losses and whose limit of size are theirs too."""

    def __init__(self, outer: Document, file_type: FileType, shown: str, *, depth: int) -> None:
        self._outer = outer
        self._file_type = file_type
        self._shown = shown
        self._depth = depth
        self._count = 0

    def __call__(self, data: bytes) -> str:
        """Return the Markdown of a document; its notes have labels of their own."""
        self._count += 1
        with Package(BytesIO(data), self._file_type, self._shown) as package:
            package.check_size()
            document = Document(package, self._outer.lost)
            if self._depth < _MAX_DEPTH:
                document.read_inner = {"docx": _Inner(document, self._file_type, self._shown, depth=self._depth + 1)}
            body = _body(document, package.parse(document.main))
            self._outer.package.count(package.unpacked_bytes)
        return _NOTE_LABEL.sub(f"[^d{self._count}-", body)


def _body(document: Document, root: Element) -> str:
    writer = StoryWriter()
    heads, feet = heads_and_feet(document, root)
    document.numbering.restart()
    for head in heads:
        writer.text(head)
    main = root.find(f"{W}body")
    writer.write(Story(document, document.main).read(root if main is None else main))
    for foot in feet:
        writer.text(foot)
    document.numbering.restart()
    define_notes(document)
    for definition in document.notes.definitions():
        writer.block(definition)
    return str(writer)


def _about(document: Document) -> CoreProperties:
    try:
        return document.package.core_properties()
    except UnreadableDocument:
        document.lose_part("properties")
        return CoreProperties()


def _pages(document: Document) -> int | None:
    """Return how many pages the program that wrote the document counted."""
    try:
        root = document.package.parse_optional("docProps/app.xml")
    except UnreadableDocument:
        return None
    return (integer(root.findtext("{*}Pages")) if root is not None else None) or None
