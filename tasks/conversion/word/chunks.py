"""Documents inside of a document (`w:altChunk`, ECMA-376 part 1, 17.17.2): web pages, plain text, RTF.

Programs that make Word documents from web pages leave the conversion to Word in this way; then it is all the text there
is. Word documents inside are read by `reader`, which knows them as a whole. Other formats count as embedded objects
that were left out.
"""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable

from blocks.errors import TooLarge, UnreadableDocument, WaybillError
from blocks.filetype import TYPES
from tasks.conversion.plain.markdown import plain_to_markdown
from tasks.conversion.word.document import Document
from tasks.conversion.word.names import Element, R


def read_chunk(document: Document, part: str, element: Element) -> str:
    """Return the Markdown of the document that *element* includes; what cannot be read counts as lost."""
    target = document.target(part, element.get(f"{R}id", ""))
    ending = target.rpartition(".")[2].lower()
    read = _READERS.get(ending) or document.read_inner.get(ending)
    if read is None:
        document.lost["object"] += 1
        return ""
    try:
        return read(document.package.read(target))
    except (UnreadableDocument, LookupError, ValueError):  # the last two of a web archive's encodings
        document.lose_part(target)
    except TooLarge:
        raise
    except WaybillError:
        document.lost["object"] += 1
    return ""


def _web_page(data: bytes) -> str:
    from tasks.conversion.html.page import write_page

    return write_page(data, ()).markdown


def _web_archive(data: bytes) -> str:
    message = email.message_from_bytes(data, policy=email.policy.default)
    for one in message.walk():
        if one.get_content_type() == "text/html":
            content = one.get_content()
            return _web_page(content.encode("utf-8", "replace") if isinstance(content, str) else content)
    return ""


def _plain(data: bytes) -> str:
    return plain_to_markdown(data.decode("utf-8-sig", "replace"))


def _rich_text(data: bytes) -> str:
    from tasks.conversion.rtf.reader import read_rtf_bytes

    return read_rtf_bytes(data, TYPES["rtf"], "the document inside").body


_READERS: dict[str, Callable[[bytes], str]] = {
    **dict.fromkeys(("html", "htm", "xhtml"), _web_page),
    **dict.fromkeys(("mht", "mhtml", "eml"), _web_archive),
    "txt": _plain,
    "rtf": _rich_text,
}
