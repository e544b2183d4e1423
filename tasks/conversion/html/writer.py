"""The blocks of an HTML tree as Markdown: paragraphs, headings, quotations, code, figures, definitions.

Owns how elements are classified and how white space, line ends and styles become those of Markdown.
Tables, lists and forms have modules of their own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import ClassVar
from urllib.parse import urljoin

from tasks.conversion.html import definitions, forms, lists, media, tables
from tasks.conversion.html.block import Block, joined
from tasks.conversion.html.code import code_text, language
from tasks.conversion.html.formulas import FORMULA
from tasks.conversion.html.inline import (
    BOLD,
    BREAK,
    ITALIC,
    LINE_END,
    LOWERED,
    RAISED,
    STRUCK,
    Piece,
    autolink,
    collapse,
    link_target,
    render,
    split_paragraphs,
)
from tasks.conversion.html.notes import NOTE, Notes
from tasks.conversion.html.tree import Element, all_text
from tasks.conversion.markdown_writer import code_span, escape_line_starts
from tasks.conversion.plain.reader import as_code_block

_BLOCK_NAMES = """
address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure
footer form frameset h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav noframes ol optgroup p pre
search section summary table tbody td tfoot th thead tr ul audio canvas embed iframe object svg video
"""
BLOCKS = frozenset(_BLOCK_NAMES.split())
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_STYLES = {
    **dict.fromkeys(("b", "strong"), BOLD),
    **dict.fromkeys(("i", "em", "var", "dfn"), ITALIC),
    **dict.fromkeys(("del", "s", "strike"), STRUCK),
    "sup": RAISED,
    "sub": LOWERED,
}
_CODE = frozenset({"code", "kbd", "samp", "tt"})
# Styles of the element itself, as editors and programs that export write them.
_INLINE_STYLES = (
    (re.compile(r"vertical-align\s*:\s*super\b", re.IGNORECASE), RAISED),
    (re.compile(r"vertical-align\s*:\s*sub\b", re.IGNORECASE), LOWERED),
    (re.compile(r"font-weight\s*:\s*(?:bold|[6-9]00)\b", re.IGNORECASE), BOLD),
    (re.compile(r"font-style\s*:\s*italic\b", re.IGNORECASE), ITALIC),
    (re.compile(r"text-decoration(?:-line)?\s*:[^;]*\bline-through\b", re.IGNORECASE), STRUCK),
)
# A formula that is all of its paragraph.
_ALONE = re.compile(r"\$[^$]+\$")
# Raised and lowered text is one word; a longer one is a matter of layout.
_BLANK_INSIDE = re.compile(r"\s")
_PERMALINK = re.compile(r"[\s¶#§🔗\u2190-\u21ff⚓\ufe0f]*")


class Writer:
    """Writes one tree. It keeps count of what was lost in `lost`, and the notes that were met in `notes`."""

    def __init__(self, root: Element, notes: Notes, base: str = "") -> None:
        self._notes = notes
        self.lost: Counter[str] = Counter()
        self.in_cell = 0
        self._base = base
        self._abbreviations: set[str] = set()
        # Inline elements with blocks in them, which are written as blocks; kept, so that lxml keeps their identity.
        self._containers: set[Element] = set()
        for block in root.iter(*BLOCKS, FORMULA):
            if block.tag != FORMULA or block.get("display") == "block":
                self._mark_containers(block)

    def _mark_containers(self, block: Element) -> None:
        """Note the inline elements around *block*."""
        parent = block.getparent()
        while parent is not None and parent.tag not in BLOCKS and parent not in self._containers:
            self._containers.add(parent)
            parent = parent.getparent()

    def markdown(self, element: Element) -> str:
        """Return the blocks in *element* as one text."""
        return joined(self.blocks(element))

    def blocks(self, element: Element, style: int = 0) -> list[Block]:
        """Return the blocks in *element*; text between them is paragraphs."""
        result: list[Block] = []
        pieces: list[Piece] = []
        if element.text:
            pieces.append(Piece(collapse(element.text), style))
        for child in element:
            if self._is_block(child):
                result += self.paragraphs(pieces)
                pieces = []
                last = result[-1].kind if result else ""
                result += self._block(child, style, last)
            else:
                self.inline(child, pieces, style)
            if child.tail:
                pieces.append(Piece(collapse(child.tail), style))
        return result + self.paragraphs(pieces)

    def _is_block(self, element: Element) -> bool:
        shown_apart = element.tag == FORMULA and element.get("display") == "block"
        return element.tag in BLOCKS or element in self._containers or shown_apart

    def blocks_around(self, element: Element) -> list[Block]:
        """Return *element*, which stands where blocks stand, as blocks."""
        if self._is_block(element):
            return self._block(element, 0, "")
        pieces: list[Piece] = []
        self.inline(element, pieces, 0)
        return self.paragraphs(pieces)

    def paragraphs(self, pieces: list[Piece]) -> list[Block]:
        """Return pieces as paragraphs: two line ends in a row stand for one between paragraphs."""
        result: list[Block] = []
        for part in split_paragraphs(pieces):
            text = render(part)
            if not text.strip("\u00a0 "):
                continue
            if self.in_cell or _ALONE.fullmatch(text):
                result.append(Block(text if self.in_cell else f"${text}$"))
            else:
                result.append(Block(escape_line_starts(text)))
        return result

    def inline(self, element: Element, pieces: list[Piece], style: int) -> None:
        """Add *element*, which stands in a line, to *pieces*."""
        tag = element.tag
        write = self._INLINE.get(tag)
        if write is not None:
            write(self, element, pieces, style)
        elif tag in ("sup", "sub") and _BLANK_INSIDE.search(all_text(element).strip()):
            self.content(element, pieces, style)
        elif tag in _STYLES:
            self.content(element, pieces, style | _STYLES[tag])
        elif tag in _CODE:
            self._code(element, pieces, style)
        elif tag in ("span", "font") and (named := element.get("style")):
            self.content(element, pieces, style | _style_of(named))
        else:
            self.content(element, pieces, style)

    def content(self, element: Element, pieces: list[Piece], style: int) -> None:
        """Add what is inside of *element* to *pieces*."""
        if element.text:
            pieces.append(Piece(collapse(element.text), style))
        for child in element:
            self.inline(child, pieces, style)
            if child.tail:
                pieces.append(Piece(collapse(child.tail), style))

    def line(self, element: Element) -> str:
        """Return what is inside of *element* as one line."""
        pieces: list[Piece] = []
        self.content(element, pieces, 0)
        return render(pieces).replace(BREAK, " ")

    def target(self, address: str) -> str:
        """Return *address* as the page means it."""
        try:
            return urljoin(self._base, address.strip()) if self._base and not address.startswith("#") else address
        except ValueError:
            return address

    # Elements in a line

    def _break(self, element: Element, pieces: list[Piece], style: int) -> None:
        pieces.append(Piece(LINE_END))

    def _code(self, element: Element, pieces: list[Piece], style: int) -> None:
        text = collapse(code_text(element))
        if text.strip():
            pieces += (Piece(" " * text.startswith(" ")), Piece(code_span(text.strip()), style, raw=True))
        pieces.append(Piece(" " * text.endswith(" ")))

    def _anchor(self, element: Element, pieces: list[Piece], style: int) -> None:
        address = element.get("href") or ""
        if address.startswith("#") and _is_permalink(element):
            return
        inner: list[Piece] = []
        self.content(element, inner, style)
        target = link_target(self.target(address))
        if not target:
            pieces += inner
            return
        text = render(inner).replace(BREAK, " ")
        if own := autolink(text, target):
            pieces.append(Piece(own, raw=True))
        elif text:
            pieces += (
                piece._replace(text=" " if piece.text == LINE_END else piece.text, link=target) for piece in inner
            )

    def _quote(self, element: Element, pieces: list[Piece], style: int) -> None:
        inner = any(ancestor.tag == "q" for ancestor in element.iterancestors())
        pieces.append(Piece("'" if inner else '"', style))
        self.content(element, pieces, style)
        pieces.append(Piece("'" if inner else '"', style))

    def _abbreviation(self, element: Element, pieces: list[Piece], style: int) -> None:
        self.content(element, pieces, style)
        title = collapse(element.get("title") or "").strip()
        if title and title not in self._abbreviations and title.lower() != all_text(element).strip().lower():
            self._abbreviations.add(title)
            pieces.append(Piece(f" ({title})", style))

    def _ruby(self, element: Element, pieces: list[Piece], style: int) -> None:
        """Add a text with its reading in brackets, whether the page writes brackets or not."""
        if element.text:
            pieces.append(Piece(collapse(element.text), style))
        for child in element:
            if child.tag in ("rt", "rtc"):
                reading = self.line(child)
                pieces.append(Piece(f"({reading})" if reading else "", style))
            elif child.tag != "rp":
                self.inline(child, pieces, style)
            if child.tail:
                pieces.append(Piece(collapse(child.tail), style))

    def _note(self, element: Element, pieces: list[Piece], style: int) -> None:
        while pieces and not pieces[-1].text.strip(" "):
            pieces.pop()
        pieces.append(Piece(self._notes.mark(element.get("note")), raw=True))

    def _formula(self, element: Element, pieces: list[Piece], style: int) -> None:
        latex = collapse(element.text or "").strip()
        if latex:
            pieces.append(Piece(f"${latex}$", raw=True))

    # Blocks

    def _block(self, element: Element, style: int, last: str) -> list[Block]:
        tag = element.tag
        if tag in _HEADINGS:
            return self._heading(element, _HEADINGS[tag])
        if tag == "p":
            return self._paragraph(element, style)
        write = self._BLOCK.get(tag)
        if write is not None:
            return write(self, element)
        if tag in ("ul", "ol", "menu", "dir"):
            return lists.listed(self, element, last)
        if tag in _CODE:
            return self._preformatted(element)
        if tag == FORMULA:
            return self._displayed(element)
        return self.blocks(element, style | _STYLES.get(tag, 0))

    def _paragraph(self, element: Element, style: int) -> list[Block]:
        formula = only_child(element, FORMULA)
        if formula is not None:
            return self._displayed(formula)
        item = lists.word_item(self, element)
        return [item] if item is not None else self.blocks(element, style)

    def _displayed(self, element: Element) -> list[Block]:
        latex = (element.text or "").strip()
        return [Block(f"$${latex}$$" if self.in_cell or "\n" not in latex else f"$$\n{latex}\n$$")] if latex else []

    def _heading(self, element: Element, level: int) -> list[Block]:
        if element in self._containers or any(child.tag in BLOCKS for child in element):
            text = " ".join(block.text.replace(BREAK, " ").replace("\n", " ") for block in self.blocks(element))
        else:
            text = self.line(element)
        if not text or self.in_cell:
            return [Block(text)] if text else []
        return [Block(f"{'#' * level} {re.sub(r'(#+)$', lambda found: chr(92) + found[1], text)}")]

    def _quotation(self, element: Element) -> list[Block]:
        text = joined(self.blocks(element))
        if not text or self.in_cell:
            return [Block(text)] if text else []
        return [Block("\n".join(f"> {line}".rstrip() for line in text.split("\n")))]

    def _preformatted(self, element: Element) -> list[Block]:
        text = code_text(element).removeprefix("\n")
        if not text.strip():
            return []
        if self.in_cell:
            lines = (code_span(line) for line in text.split("\n") if line.strip())
            return [Block("\n".join(lines))]
        return [Block(as_code_block(text.rstrip(), language(element)).rstrip("\n"))]

    def _rule(self, element: Element) -> list[Block]:
        return [] if self.in_cell else [Block("---")]

    def caption(self, element: Element) -> list[Block]:
        """Return the caption of a figure or a table, in italics."""
        return self.blocks(element, ITALIC)

    def item_blocks(self, element: Element) -> list[Block]:
        """Return the blocks of a list's item."""
        return self.blocks(element)

    def _table(self, element: Element) -> list[Block]:
        return tables.as_lines(self, element) if self.in_cell else tables.written(self, element)

    _INLINE: ClassVar[dict[str, Callable[..., None]]] = {
        "br": _break,
        "a": _anchor,
        "q": _quote,
        "abbr": _abbreviation,
        "acronym": _abbreviation,
        "ruby": _ruby,
        "img": media.image,
        "image": media.image,
        "input": forms.entered,
        "select": forms.chosen,
        "textarea": forms.typed,
        NOTE: _note,
        FORMULA: _formula,
    }
    _BLOCK: ClassVar[dict[str, Callable[..., list[Block]]]] = {
        "blockquote": _quotation,
        "pre": _preformatted,
        "hr": _rule,
        "figcaption": caption,
        "dl": definitions.defined,
        "table": _table,
        "svg": media.drawing,
        **dict.fromkeys(("iframe", "video", "audio", "canvas", "object", "embed"), media.embedded),
    }


def _style_of(named: str) -> int:
    return sum(style for pattern, style in _INLINE_STYLES if pattern.search(named))


def only_child(element: Element, tag: str) -> Element | None:
    """Return the child that is all there is in *element*, if it is a *tag*."""
    if len(element) != 1 or (element.text or "").strip() or (element[0].tail or "").strip():
        return None
    child = element[0]
    return child if child.tag == tag else only_child(child, tag) if child.tag in ("span", "div", "center") else None


def _is_permalink(anchor: Element) -> bool:
    return _PERMALINK.fullmatch(all_text(anchor)) is not None and any(
        ancestor.tag in _HEADINGS or ancestor.tag in ("dt", "figcaption", "caption", "p")
        for ancestor in anchor.iterancestors()
    )
