"""The tree of HTML that a LaTeX document becomes, built from text and elements in their order."""

from __future__ import annotations

from tasks.conversion.html.tree import Element, etree

# Elements that hold paragraphs; others hold text.
_HOLDS_BLOCKS = frozenset({"body", "li", "blockquote", "div", "aside", "dd", "section", "figure"})
_INLINE = frozenset({"em", "strong", "sup", "sub", "code", "span", "a", "u", "s", "small"})


class Output:
    """Builds a tree. Text outside of a paragraph begins one."""

    def __init__(self, root: Element) -> None:
        self._open: list[Element] = [root]

    @property
    def depth(self) -> int:
        return len(self._open)

    @property
    def top(self) -> Element:
        return self._open[-1]

    def text(self, text: str) -> None:
        """Add *text*; blanks between blocks are nothing."""
        if not text or (self.top.tag in _HOLDS_BLOCKS and not text.strip(" \t\n")):
            return
        self._begin_paragraph()
        # Not `len`, which counts every child.
        last = next(self.top.iterchildren(reversed=True), None)
        if last is not None:
            last.tail = (last.tail or "") + text
        else:
            self.top.text = (self.top.text or "") + text

    def open(self, tag: str, **attributes: str) -> Element:
        """Open an element; one of a line begins a paragraph, another one ends it."""
        if tag in _INLINE or tag in ("br", "formula", "img"):
            self._begin_paragraph()
        else:
            self.end_paragraph()
        element = etree.SubElement(self.top, tag, attributes)
        self._open.append(element)
        return element

    def close(self, element: Element) -> None:
        """Close *element* and everything that is open in it; nothing if it is not open."""
        if element in self._open[1:]:
            while self._open.pop() is not element:
                pass

    def close_to(self, depth: int) -> None:
        """Close what was opened since there were *depth* open elements."""
        del self._open[max(1, depth) :]

    def add(self, tag: str, text: str = "", **attributes: str) -> Element:
        """Add an element with *text* alone."""
        element = self.open(tag, **attributes)
        element.text = text or None
        self.close(element)
        return element

    def end_paragraph(self) -> None:
        """Close the paragraph, and with it what is open in its line."""
        for index, element in enumerate(self._open[1:], 1):
            if element.tag == "p":
                del self._open[index:]
                return

    def _begin_paragraph(self) -> None:
        if self.top.tag in _HOLDS_BLOCKS:
            self._open.append(etree.SubElement(self.top, "p"))
