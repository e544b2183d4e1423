"""Images, films, frames and drawings of pages: what is said of them stands in their place, and the rest is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.conversion.html.block import Block
from tasks.conversion.html.inline import Piece, collapse
from tasks.conversion.html.tree import Element
from tasks.conversion.markdown_writer import Run, escape, escape_label
from tasks.conversion.markdown_writer import inline as written
from tasks.conversion.office.pictures import description

if TYPE_CHECKING:
    from tasks.conversion.html.writer import Writer

_DECORATION_PIXELS = frozenset({"0", "1", "2", "3"})


def image(writer: Writer, element: Element, pieces: list[Piece], style: int) -> None:
    """Add what is said of an image, with its address where it has one outside of the document."""
    alternative = element.get("alt")
    text = description(alternative or element.get("aria-label") or element.get("title"))
    address = (element.get("src") or "").strip()
    if not text:
        # An empty alternative says that the image means nothing, and so does its size.
        small = element.get("width") in _DECORATION_PIXELS or element.get("height") in _DECORATION_PIXELS
        writer.lost["image"] += alternative != "" and not small
        return
    described = escape(text)
    if "emoji" in (element.get("class") or "") or not address or address.lower().startswith(("data:", "cid:", "blob:")):
        pieces.append(Piece(described, raw=True))
    else:
        pieces.append(
            Piece(f"!{written((Run(text=described, link=writer.target(address), markdown=True),))}", raw=True)
        )


def embedded(writer: Writer, element: Element) -> list[Block]:
    """Return what stands in for a film, a page in a frame or a drawing, or its address; else it is lost."""
    content = writer.blocks(element)
    if content and element.tag not in ("iframe", "svg"):
        return content
    address = writer.target(element.get("src") or element.get("data") or "")
    label = collapse(element.get("title") or element.get("aria-label") or "").strip()
    if address.lower().startswith(("http://", "https://")):
        return [Block(f"[{escape_label(label)}]({address})" if label else f"<{address}>")]
    if label:
        return [Block(escape(label))]
    writer.lost["chart" if element.tag == "canvas" else "object"] += 1
    return []


def drawing(writer: Writer, element: Element) -> list[Block]:
    """Return the label of a drawing (``svg``); a diagram without one is lost."""
    label = collapse(element.get("aria-label") or "").strip()
    texts = element.findall(".//text")
    if label and (texts or element.get("role") == "img"):
        return [Block(escape(label))]
    # A symbol has no writing in it; a drawing with labels is a diagram.
    writer.lost["diagram"] += len(texts) > 2
    return []
