"""Formulas of RTF (RTF 1.9.1, "Math"): the same elements as in Office Math, as control words that begin with m.

The group of a formula is built up as the tree that Word writes in its XML files, so one reader makes LaTeX of both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from tasks.conversion.formulas.office_math import MATH, Formula, read_formula
from tasks.conversion.office.package import Element

_etree: Any = import_module("lxml.etree")

# A formula that is nested more deeply is no formula.
_MAX_DEPTH = 200
BEGINS = frozenset({"moMath", "mmath"})


@dataclass
class FormulaTree:
    """The tree of one formula while its groups are read. `depth` is that of the group that holds the formula."""

    depth: int
    _root: Element = field(default_factory=lambda: _etree.Element(f"{MATH}oMath"))
    _open: list[tuple[int, Element]] = field(default_factory=list[tuple[int, Element]])

    def begin(self, word: str, depth: int) -> None:
        """Begin the element that the control word *word* (``mf``, ``mnum``) names, in the group of *depth*."""
        if len(self._open) < _MAX_DEPTH and word not in BEGINS:
            self._open.append((depth, _etree.SubElement(self._parent, f"{MATH}{word[1:]}")))

    def end(self, depth: int) -> None:
        """End the elements that were begun in the group of *depth*."""
        while self._open and self._open[-1][0] >= depth:
            self._open.pop()

    def add(self, text: str) -> None:
        """Add *text*: that of a run, or the value of a property."""
        parent = self._parent
        name = parent.tag.removeprefix(MATH)
        if name == "r":
            _etree.SubElement(parent, f"{MATH}t").text = text
        elif self._open and text.strip():
            parent.set(f"{MATH}val", text.strip())

    def formula(self) -> Formula:
        """Return the formula that was read."""
        return read_formula(self._root)

    @property
    def _parent(self) -> Element:
        return self._open[-1][1] if self._open else self._root
