"""Comments of a document: their marks, and which answer which (ECMA-376 part 1, 17.13.4; MS-DOCX 2.5.5.2); pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.conversion.markdown_writer import Run
from tasks.conversion.word.names import W14, W15, Element, W

if TYPE_CHECKING:
    from tasks.conversion.word.document import Document


class Comments:
    """The comments of a document: which answer to which, and which were marked."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self.elements: dict[str, Element] = {}
        self.part = ""
        for self.part, root in document.parts("comments")[:1]:
            self.elements = {one.get(f"{W}id", ""): one for one in root.iterchildren(f"{W}comment")}
        parents = self._parents()
        self.answers: dict[str, list[str]] = {}
        self._parent: dict[str, str] = {}
        for identifier in self.elements:
            if (parent := parents.get(identifier)) is not None:
                self._parent[identifier] = parent
                self.answers.setdefault(parent, []).append(identifier)

    def mark(self, identifier: str) -> Run | None:
        """Return the mark of a comment; None for an answer, which stands below its comment, and for an unknown one."""
        if identifier not in self.elements:
            self._document.lost["comment"] += 1
            return None
        if identifier in self._parent:
            return None
        return self._document.notes.mark("comment", identifier)

    def _parents(self) -> dict[str, str]:
        """Return the id of the first comment of its thread for the id of each answer."""
        by_paragraph = {
            paragraph.get(f"{W14}paraId", ""): identifier
            for identifier, element in self.elements.items()
            for paragraph in element.iter(f"{W}p")
        }
        parents: dict[str, str] = {}
        for _, root in self._document.parts("commentsExtended") if self.elements else ():
            for entry in root.iterchildren(f"{W15}commentEx"):
                own = by_paragraph.get(entry.get(f"{W15}paraId", ""))
                parent = by_paragraph.get(entry.get(f"{W15}paraIdParent", ""))
                if own is not None and parent is not None and own != parent:
                    parents[own] = parents.get(parent, parent)
        return parents
