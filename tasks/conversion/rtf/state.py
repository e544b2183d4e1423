"""What the controls of a group mean for its text: format, paragraph, destination.

A group takes over the state of the group that it is in, and the state ends with it (RTF 1.9.1, "Contents of an RTF
file").
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tasks.conversion.markdown_writer import Position
from tasks.conversion.rtf.tokens import Token

if TYPE_CHECKING:
    from tasks.conversion.rtf.flows import Flow


@dataclass(frozen=True, slots=True)
class Format:
    """How characters are shown."""

    bold: bool = False
    italic: bool = False
    struck: bool = False
    position: Position = ""
    hidden: bool = False
    deleted: bool = False
    font: int = 0


@dataclass(frozen=True, slots=True)
class Paragraph:
    """What is said of a paragraph. `style` is its number in the style sheet, `level` that in a list (from 0)."""

    style: int = 0
    outline: int | None = None
    level: int = 0
    in_table: bool = False
    table_depth: int = 1


@dataclass(slots=True)
class Group:
    """The state of one group. `flow` takes its text; without one the text is left out."""

    flow: Flow | None = None
    format: Format = Format()
    paragraph: Paragraph = Paragraph()
    fallback: int = 1
    """How many characters after a Unicode one stand for it in older programs."""
    link: str = ""
    captured: list[str] | None = None
    """Where the text goes instead, for a group whose text is a value (a title, an address, a label)."""
    reads: str = ""
    """The destination, for the few whose controls mean something of their own (the tables of fonts and styles)."""
    kept_flow: Flow | None = None
    """The text that goes on in an inner group, of a group whose own text is for older programs."""

    def inner(self) -> Group:
        """Return the state of a group inside of this one."""
        return replace(self)


_SWITCHES = {"b": "bold", "i": "italic", "strike": "struck", "striked": "struck", "v": "hidden", "deleted": "deleted"}


def formatted(form: Format, token: Token) -> Format | None:
    """Return *form* as the control word *token* changes it; None if it is not about characters."""
    name = token.name
    if name in _SWITCHES:
        return replace(form, **{_SWITCHES[name]: token.is_on})
    if name == "plain":
        return Format(deleted=form.deleted, font=form.font)
    if name == "f":
        return replace(form, font=token.number or 0)
    position = _position(token)
    return None if position is None else replace(form, position=position)


def _position(token: Token) -> Position | None:
    if token.name == "super" or (token.name == "up" and token.number != 0):
        return "raised" if token.is_on else ""
    if token.name == "sub" or (token.name == "dn" and token.number != 0):
        return "lowered" if token.is_on else ""
    return "" if token.name in ("nosupersub", "up", "dn") else None


def described(paragraph: Paragraph, token: Token) -> Paragraph | None:
    """Return *paragraph* as the control word *token* changes it; None if it is not about paragraphs."""
    number = token.number or 0
    if token.name == "pard":
        return Paragraph()
    if token.name == "s":
        return replace(paragraph, style=number)
    if token.name == "outlinelevel":
        return replace(paragraph, outline=number)
    if token.name == "ilvl":
        return replace(paragraph, level=max(0, min(number, 8)))
    if token.name == "intbl":
        return replace(paragraph, in_table=True)
    if token.name == "itap":
        return replace(paragraph, table_depth=max(0, number), in_table=number > 0)
    return None


@dataclass
class Style:
    """A paragraph style: its name, and the level of heading (from 0) that it says it is."""

    name: str = ""
    outline: int | None = None


@dataclass
class Sheet:
    """The tables of the document's head: code page, codecs of fonts, names of fonts, styles."""

    codec: str = "cp1252"
    codecs: dict[int, str] = field(default_factory=dict[int, str])
    fonts: dict[int, str] = field(default_factory=dict[int, str])
    styles: dict[int, Style] = field(default_factory=dict[int, Style])
