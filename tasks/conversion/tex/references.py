"""Numbers of sections, formulas, figures, tables and items, and what refers to them.

Owns the counters as LaTeX's standard classes count, and references that stand before what they refer to.
"""

from __future__ import annotations

from collections import Counter

from tasks.conversion.html.tree import Element

_SECTIONS = ("chapter", "section", "subsection", "subsubsection")
_KINDS: tuple[str, ...] = ("figure", "table", "section", "chapter", "equation")
_NAMES = {
    "english": ("Figure", "Table", "Section", "Chapter", "Equation"),
    "german": ("Abbildung", "Tabelle", "Abschnitt", "Kapitel", "Gleichung"),
    "french": ("Figure", "Table", "section", "chapitre", "équation"),
    "spanish": ("Figura", "Cuadro", "sección", "capítulo", "ecuación"),
}


class References:
    """The labels of a document and the places that wait for them."""

    def __init__(self) -> None:
        self.language = "english"
        self._counts: Counter[str] = Counter()
        self._last = ("section", "")
        self._labels: dict[str, tuple[str, str]] = {}
        self._cited: dict[str, str] = {}
        self._waiting: list[tuple[Element, str, str]] = []

    def step(self, kind: str) -> str:
        """Count a thing of *kind* and return its number; labels that follow are its."""
        self._counts[kind] += 1
        if kind in _SECTIONS:
            for below in _SECTIONS[_SECTIONS.index(kind) + 1 :]:
                self._counts[below] = 0
            if kind == "chapter":
                for inside in ("figure", "table", "equation"):
                    self._counts[inside] = 0
            above = _SECTIONS[: _SECTIONS.index(kind) + 1]
            number = ".".join(str(self._counts[one]) for one in above if self._has(one))
        elif self._counts["chapter"] and kind in ("figure", "table", "equation"):
            number = f"{self._counts['chapter']}.{self._counts[kind]}"
        else:
            number = str(self._counts[kind])
        self._last = (kind, number)
        return number

    def _has(self, kind: str) -> bool:
        return kind != "chapter" or self._counts["chapter"] > 0

    def at(self, kind: str, number: str) -> None:
        """Let labels that follow mean *number*."""
        self._last = (kind, number)

    def label(self, name: str) -> None:
        self._labels[name.strip()] = self._last

    def cite_as(self, key: str, label: str) -> None:
        self._cited[key.strip()] = label

    def name(self, kind: str) -> str:
        """Return what a thing of *kind* is called in front of its number."""
        names: dict[str, str] = dict(zip(_KINDS, _NAMES[self.language], strict=True))
        return names.get(kind, kind.capitalize())

    def wait(self, place: Element, command: str, name: str) -> None:
        """Let the text of *place* be what *command* makes of *name* at the end of the document."""
        self._waiting.append((place, command, name.strip()))

    def resolve(self) -> None:
        """Write all references. One without its label shows the label, for it says more than two question marks."""
        for place, command, name in self._waiting:
            if command == "cite":
                place.text = self._cited.get(name, name)
                continue
            kind, number = self._labels.get(name, ("", ""))
            if not number:
                place.text = f"[{name}]"
            elif command == "eqref":
                place.text = f"({number})"
            elif command in ("autoref", "cref", "Cref", "fullref"):
                place.text = f"{self.name(kind)}\u00a0{number}"
            else:
                place.text = number
