"""Lists of HTML as Markdown, with the numbers that a browser shows.

Owns the value of each item (HTML Living Standard 4.4.5 and 4.4.8: start, reversed, value). Numbers that count up by one
are a Markdown list. Others (letters, Roman numerals, counting down, gaps) are text at the beginning of an item, because
Markdown would count them anew.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from tasks.conversion.html.block import Block
from tasks.conversion.html.tree import Element
from tasks.conversion.office.numerals import numeral

if TYPE_CHECKING:
    from tasks.conversion.html.writer import Writer

_STYLE_TYPE = re.compile(r"list-style(?:-type)?\s*:[^;]*?\b(decimal|none|(?:lower|upper)-(?:alpha|latin|roman))\b")
_KINDS = {
    **{kind: kind for kind in "aAiI"},
    **dict.fromkeys(("lower-alpha", "lower-latin"), "a"),
    **dict.fromkeys(("upper-alpha", "upper-latin"), "A"),
    "lower-roman": "i",
    "upper-roman": "I",
}
# The classes of docutils.
_CLASSES = {"loweralpha": "a", "upperalpha": "A", "lowerroman": "i", "upperroman": "I"}
# A label that another format gives to an item, or to all items of a list, where "{}" is the number.
LABEL = "waybill-label"
# CommonMark 5.2 allows nine digits.
_MAX_NUMBER = 999_999_999
_WORD_LIST = re.compile(r"mso-list\s*:\s*l\d+\s+level(\d)", re.IGNORECASE)
_WORD_LABEL = re.compile(r"mso-list\s*:\s*ignore", re.IGNORECASE)
_PLAIN_NUMBER = re.compile(r"(\d{1,9})\.")
_LABEL_WITH_WORD = re.compile(r"[^\W_]")


def listed(writer: Writer, element: Element, last: str) -> list[Block]:
    """Return the list as one block; *last* is the kind of the block before it, from which it must differ."""
    items = [child for child in element if child.tag == "li" or child.tag not in ("ul", "ol")]
    labels = _labels(element, items) if element.tag == "ol" else []
    counts = _counts_up(labels)
    kind = (")" if last == "." else ".") if counts else ("*" if last == "-" else "-")
    parts: list[str] = []
    for child in element:
        text = _contents(writer, child)
        if not text:
            continue
        if child.tag in ("ul", "ol"):  # a list in a list without an item, as old editors write it
            parts.append(_indented(text, "  " if not parts else " " * (len(parts[0]) - len(parts[0].lstrip()) + 2)))
            continue
        label = labels.pop(0) if labels else ""
        marker = f"{label[:-1]}{kind} " if counts else f"{kind} "
        prefix = "" if counts or not label else f"{label} "
        if writer.in_cell:
            marker, prefix = ("" if counts else marker), (f"{label} " if label else "")
        parts.append(f"{marker}{prefix}{_indented(text, ' ' * len(marker)).lstrip(' ')}".rstrip())
    return [_block(parts, kind)] if parts else []


def _block(parts: list[str], kind: str) -> Block:
    loose = any("\n\n" in part for part in parts)
    return Block(("\n\n" if loose else "\n").join(parts), kind)


def _contents(writer: Writer, item: Element) -> str:
    """Return the blocks of an item; a list follows its paragraph at once where Markdown allows it."""
    blocks = writer.item_blocks(item)
    parts: list[str] = []
    for index, block in enumerate(blocks):
        tight = index == 1 and block.kind in ("-", "*", ".", ")") and (block.kind in "-*" or block.text.startswith("1"))
        parts.append(("\n" if tight or writer.in_cell else "\n\n") * bool(index) + block.text)
    return "".join(parts)


def _indented(text: str, indent: str) -> str:
    return "\n".join(indent + line if line else "" for line in text.split("\n"))


def _labels(element: Element, items: list[Element]) -> list[str]:
    """Return the label of each item of an ordered list: "7.", "c.", "iv."."""
    kind = _kind(element)
    backwards = "reversed" in element.attrib
    value = _number(element.get("start"), len(items) if backwards else 1)
    labels: list[str] = []
    for item in items:
        value = _number(item.get("value"), value)
        own = _KINDS.get(item.get("type") or "", kind)
        number = "" if own == "none" else written_number(value, own)
        labels.append(item.get(LABEL) or (element.get(LABEL) or ("{}." if number else "")).replace("{}", number))
        value += -1 if backwards else 1
    return labels


def _kind(element: Element) -> str:
    style = _STYLE_TYPE.search((element.get("style") or "").lower())
    if style:
        return "none" if style[1] == "none" else _KINDS.get(style[1], "1")
    named = (_CLASSES[name] for name in (element.get("class") or "").split() if name in _CLASSES)
    return _KINDS.get(element.get("type") or "") or next(named, "1")


def _number(text: str | None, otherwise: int) -> int:
    try:
        value = int(text or "")
    except ValueError:
        return otherwise
    return value if abs(value) <= _MAX_NUMBER else otherwise


def written_number(value: int, kind: str) -> str:
    """Return *value* as numeral of *kind*; what has no letters (0, a negative number) is written in digits."""
    if kind in ("a", "A") and value > 0:
        letters = ""
        while value:
            value, rest = divmod(value - 1, 26)
            letters = chr(ord(kind) + rest) + letters
        return letters
    if kind in ("i", "I"):
        return numeral(value, "upperRoman" if kind == "I" else "lowerRoman")
    return str(value)


def _counts_up(labels: list[str]) -> bool:
    """Return whether the labels are numbers that count up by one."""
    numbers = [int(label[:-1]) for label in labels if re.fullmatch(r"\d{1,9}\.", label)]
    return bool(numbers) and len(numbers) == len(labels) and all(b == a + 1 for a, b in pairwise(numbers))


def word_item(writer: Writer, paragraph: Element) -> Block | None:
    """Return a list's paragraph as Word saves it in HTML: the label is in the text, the level in the style."""
    style = _WORD_LIST.search(paragraph.get("style") or "")
    if style is None:
        return None
    label = ""
    for span in paragraph.iter("span"):
        if _WORD_LABEL.search(span.get("style") or ""):
            label = "".join(span.itertext()).strip(" \u00a0\n\t\r")
            span.text = ""
            for child in list(span):
                span.remove(child)
            break
    content = " ".join(block.text for block in writer.blocks(paragraph))
    number = _PLAIN_NUMBER.fullmatch(label)
    worded = _LABEL_WITH_WORD.search(label) and label != "o"
    marker = f"{label} " if number else "- "
    prefix = f"{label} " if worded and not number else ""
    indent = "   " * (int(style[1]) - 1)
    return Block(f"{indent}{marker}{prefix}{content}", "word")
