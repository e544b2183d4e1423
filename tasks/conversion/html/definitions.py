"""Terms and their definitions, as many kinds of Markdown write them: a colon before each definition; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.conversion.html.block import Block
from tasks.conversion.html.tree import Element

if TYPE_CHECKING:
    from tasks.conversion.html.writer import Writer

# A paragraph does not begin with these; what does is another kind of block.
_BLOCK_SIGNS = ("#", ">", "`", "|", "<", "-", "$")


def defined(writer: Writer, element: Element) -> list[Block]:
    """Return terms, and below each its definitions after a colon, as many kinds of Markdown write them."""
    result: list[Block] = []
    terms: list[str] = []
    for child in element.iter("dt", "dd"):
        if next(child.iterancestors("dl"), None) is not element:
            continue
        content = writer.blocks(child)
        if child.tag == "dt":
            terms.append(" ".join(block.text.replace("\n", " ") for block in content))
            continue
        if content and not content[0].kind and content[0].text[:1] not in _BLOCK_SIGNS:
            content[0] = Block(f": {content[0].text}", "definition")
        if terms:
            result.append(Block("\n".join(terms), "term"))
            terms = []
        result += content
    return [Block(block.text) for block in _together([*result, *[Block("\n".join(terms))] * bool(terms)])]


def _together(blocks: list[Block]) -> list[Block]:
    """Join each definition to the term or the definition above it."""
    result: list[Block] = []
    for block in blocks:
        if block.kind == "definition" and result and result[-1].kind in ("term", "definition"):
            result[-1] = Block(f"{result[-1].text}\n{block.text}", "definition")
        else:
            result.append(block)
    return result
