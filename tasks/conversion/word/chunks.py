"""Documents inside of a document (`w:altChunk`, ECMA-376 part 1, 17.17.2): plain text and web pages.

Programs that make Word documents from web pages leave the conversion to Word in this way; then it is all the text there
is. Other formats count as embedded objects that were left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from blocks.errors import UnreadableDocument, WaybillError
from blocks.filetype import TYPES
from tasks.conversion.plain_markdown import plain_to_markdown
from tasks.conversion.word.document import Document
from tasks.conversion.word.names import Element, R

_WEB_PAGES = (".html", ".htm", ".xhtml")


def read_chunk(document: Document, part: str, element: Element) -> Iterator[str]:
    """Yield the Markdown of the document that *element* includes; what cannot be read counts as lost."""
    target = document.target(part, element.get(f"{R}id", ""))
    try:
        data = document.package.read(target) if target else b""
        if target.lower().endswith(_WEB_PAGES):
            yield _web_page(data)
        elif target.lower().endswith(".txt"):
            yield plain_to_markdown(data.decode("utf-8-sig", "replace"))
        else:
            document.lost["object"] += 1
    except UnreadableDocument:
        document.lose_part(target)
    except WaybillError:
        document.lost["object"] += 1


def _web_page(data: bytes) -> str:
    from pathlib import Path

    from tasks.conversion.xberg_reader import extract

    return extract(Path("chunk.html"), TYPES["html"], "chunk.html", data=data).body
