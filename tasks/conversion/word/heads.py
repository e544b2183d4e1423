"""Heads and feet of pages: the text of each different one, without what is only a page's number.

Owns which are shown: those of first pages where the section has them, those of even pages where the document has them
(ECMA-376 part 1, 17.10). A section without one has that of the section before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from tasks.conversion.markdown_writer import Run, inline
from tasks.conversion.office.running_text import belongs_to_a_page_number
from tasks.conversion.word.blocks import Block, Bullets, Paragraph, Table
from tasks.conversion.word.document import Document
from tasks.conversion.word.fields import PAGE_MARK
from tasks.conversion.word.names import Element, R, W, is_on
from tasks.conversion.word.runs import TAB
from tasks.conversion.word.story import Story

Side = Literal["header", "footer"]

# Between the parts of a head: "Register 8842-K | Page 3 of 7".
_BETWEEN = re.compile(rf"([{TAB}\n]+|\s+[|–—·•/-]\s+)")


def heads_and_feet(document: Document, root: Element) -> tuple[list[str], list[str]]:
    """Return the Markdown paragraphs of all heads and of all feet, each different text once."""
    sections = list(root.iter(f"{W}sectPr"))
    sections = [one for one in sections if one.getparent().tag != f"{W}sectPrChange"]
    return _texts(document, sections, "header"), _texts(document, sections, "footer")


def _texts(document: Document, sections: Sequence[Element], side: Side) -> list[str]:
    found: dict[str, None] = {}
    for part in dict.fromkeys(_parts(document, sections, side)):
        for text in _paragraphs(document, part):
            found.setdefault(text)
    return list(found)


def _parts(document: Document, sections: Iterable[Element], side: Side) -> Iterator[str]:
    """Yield the parts that are shown, section by section: that of the first page, then the others."""
    current: dict[str, str] = {}
    for section in sections:
        for reference in section.iterchildren(f"{W}{side}Reference"):
            target = document.target(document.main, reference.get(f"{R}id", ""))
            current[reference.get(f"{W}type", "default")] = target
        shown = ["first"] if is_on(section.find(f"{W}titlePg")) else []
        shown += ["default", "even"] if document.has_even_heads else ["default"]
        yield from (current[kind] for kind in shown if current.get(kind))


def _paragraphs(document: Document, part: str) -> Iterator[str]:
    root = document.parse(part)
    if root is not None:
        yield from _plain(Story(document, part, in_head=True).read(root))


def _plain(blocks: Iterable[Block]) -> Iterator[str]:
    """Yield the paragraphs of a head, also those in its tables, whose lines only place them."""
    for block in blocks:
        if isinstance(block, Table):
            for row in block.rows:
                for cell in row:
                    yield from _plain(cell.blocks)
        elif isinstance(block, Paragraph):
            text = _without_page_number(block)
            if text.strip():
                yield text
        elif isinstance(block, Bullets):
            yield from (inline([Run(text=text)]) for _, text in block.items)
        else:
            yield block.text


def _without_page_number(paragraph: Paragraph) -> str:
    text = "".join(run.text for run in paragraph.runs)
    if PAGE_MARK not in text:
        return paragraph.labelled()
    parts = _BETWEEN.split(text)
    kept: list[str] = []
    for index in range(0, len(parts), 2):
        rest = " ".join(parts[index].replace(PAGE_MARK, " ").split())
        if rest and not (PAGE_MARK in parts[index] and belongs_to_a_page_number(rest)):
            kept += [parts[index - 1] if kept else "", rest]
    return inline([Run(text="".join(kept))])
