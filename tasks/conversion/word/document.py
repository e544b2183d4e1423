"""The open document: its package, what its parts say, and what cannot be carried over.

Owns that a damaged part next to the main one never fails the document: it counts as lost, and reads as if it were not
there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property

from blocks.errors import UnreadableDocument
from tasks.conversion.markdown_writer import NoteKind, Notes
from tasks.conversion.office.package import Package, Relation
from tasks.conversion.word.comments import Comments
from tasks.conversion.word.names import Element, W, address, is_on
from tasks.conversion.word.numbering import Numbering
from tasks.conversion.word.styles import Styles

_MAIN = "word/document.xml"


class Document:
    """A Word document that is being read. `lost` counts what cannot be carried over, by kind of loss."""

    def __init__(self, package: Package, lost: Counter[str] | None = None) -> None:
        self.package = package
        # Returns the Markdown of a document inside, by the ending of its name.
        self.read_inner: Mapping[str, Callable[[bytes], str]] = {}
        self.lost: Counter[str] = Counter() if lost is None else lost
        self.notes = Notes()
        # Notes that have a mark of their own in place of a number: their text begins with it.
        self.custom_marks: dict[tuple[NoteKind, str], str] = {}
        self._relations: dict[str, dict[str, Relation]] = {}
        self._unreadable: set[str] = set()
        self.main = next((name for name in package.related("", "officeDocument")), _MAIN)

    @cached_property
    def styles(self) -> Styles:
        """The styles."""
        return Styles(self.part("styles"))

    @cached_property
    def numbering(self) -> Numbering:
        """The numbering of lists."""
        return Numbering(self.part("numbering"), self.styles)

    @cached_property
    def comments(self) -> Comments:
        """The comments."""
        return Comments(self)

    @cached_property
    def has_even_heads(self) -> bool:
        """Whether even pages have a head and a foot of their own."""
        settings = self.part("settings")
        return settings is not None and is_on(settings.find(f"{W}evenAndOddHeaders"))

    def part(self, kind: str) -> Element | None:
        """Return the root of the part that the main part is related to by *kind*; None if it is absent or damaged."""
        return next((root for _, root in self.parts(kind)), None)

    def parts(self, kind: str) -> list[tuple[str, Element]]:
        """Return the names and roots of the parts that the main part is related to by *kind*."""
        found = [one.target for one in self.relations(self.main).values() if one.kind == kind and not one.external]
        return [(name, root) for name in found if (root := self.parse(name)) is not None]

    def parse(self, name: str) -> Element | None:
        """Return the root of the part *name*; None, and a loss, if it is absent or damaged."""
        try:
            return self.package.parse(name)
        except UnreadableDocument:
            self.lose_part(name)
            return None

    def lose_part(self, name: str) -> None:
        """Count the part *name* as lost, once."""
        if name not in self._unreadable:
            self._unreadable.add(name)
            self.lost["part"] += 1

    def relations(self, part: str) -> dict[str, Relation]:
        """Return the relations of *part* by id; none if they are damaged."""
        if part not in self._relations:
            try:
                self._relations[part] = self.package.relations(part)
            except UnreadableDocument:
                self.lose_part(f"{part} relations")
                self._relations[part] = {}
        return self._relations[part]

    def target(self, part: str, identifier: str) -> str:
        """Return the name of the part, in the package, that *part* points to by a relation; empty if there is none."""
        relation = self.relations(part).get(identifier)
        return "" if relation is None or relation.external else relation.target

    def link(self, part: str, identifier: str) -> str:
        """Return the address outside of the document that *part* points to; empty if there is none."""
        relation = self.relations(part).get(identifier)
        return address(relation.target) if relation is not None and relation.external else ""
