"""Fields of forms as a page shows them: what is entered, ticked and chosen; pure."""

from __future__ import annotations

from typing import Protocol

from tasks.conversion.html.inline import Piece, collapse
from tasks.conversion.html.tree import Element, all_text

# What these hold is not shown, or is the name of a button.
_NOT_SHOWN = frozenset({"hidden", "password", "submit", "button", "reset", "image", "file", "color", "range"})


class _Writer(Protocol):
    def content(self, element: Element, pieces: list[Piece], style: int) -> None: ...


def entered(writer: _Writer, element: Element, pieces: list[Piece], style: int) -> None:
    """Add the value of an input, or whether it is ticked."""
    kind = (element.get("type") or "text").lower()
    if kind in ("checkbox", "radio"):
        pieces += (Piece(" "), Piece("[x]" if "checked" in element.attrib else "[ ]", raw=True), Piece(" "))
    elif kind not in _NOT_SHOWN:
        _add(pieces, element.get("value") or "", style)


def chosen(writer: _Writer, element: Element, pieces: list[Piece], style: int) -> None:
    """Add the options that are chosen; all of them if the page chooses none."""
    options = list(element.iter("option"))
    selected = [option for option in options if "selected" in option.attrib] or options
    _add(pieces, ", ".join(filter(None, (collapse(all_text(option)).strip() for option in selected))), style)


def typed(writer: _Writer, element: Element, pieces: list[Piece], style: int) -> None:
    """Add the lines of a text area."""
    for index, line in enumerate(all_text(element).strip().split("\n")):
        if index:
            pieces.append(Piece("\n"))
        _add(pieces, line.strip(), style)


def _add(pieces: list[Piece], text: str, style: int) -> None:
    """Add *text* with a blank before and after it: a field stands apart from what is around it."""
    if text:
        pieces += (Piece(" "), Piece(text, style), Piece(" "))
