"""Finding a place of a page in the Markdown that was made of it; pure.

Owns the comparison: both sides are reduced to their letters and digits, in compatibility form, so that blanks, line
ends, hyphens and markup do not count. A place that is not found, or not the only one of its kind, is left alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict

# Signs of context on each side: enough to be the only such place in most documents; fewer where a block ends.
_CONTEXTS = (24, 12, 6)
# Less context than this is everywhere.
_LEAST_CONTEXT = 8
# Some pages.
_LOOK_BACK = 20_000


class Condensed:
    """A Markdown text reduced to its letters and digits, with the position of each."""

    def __init__(self, markdown: str) -> None:
        self.markdown = markdown
        self.text, self._positions = _condensed(markdown)
        self._taken: defaultdict[str, int] = defaultdict(int)
        self._last = 0

    def between(self, before: str, after: str, middle: str = "") -> tuple[int, int] | None:
        """Return the piece of the Markdown between the last sign of *before* and the first of *after*.

        The piece holds *middle*. Equal places are given out one after another. None where the place is not found.
        """
        left, inner, right = condense(before), condense(middle), condense(after)
        for size in _CONTEXTS:
            head, tail = left[-size:], right[:size]
            if not head or len(head) + len(inner) + len(tail) < _LEAST_CONTEXT:
                return None
            at = self._find(head + inner + tail, unique=size != _CONTEXTS[0])
            if at is not None:
                first = at + len(head) + len(inner)
                end = self._positions[first] if first < len(self._positions) else len(self.markdown)
                return self._positions[at + len(head) - 1] + 1, end
        return None

    def _find(self, wanted: str, *, unique: bool) -> int | None:
        taken = self._taken[wanted]
        at = -1
        if (
            not unique and self._last > taken
        ):  # places come in order, mostly: a long text is not searched from its start
            at = self.text.find(wanted, max(taken, self._last - _LOOK_BACK), self._last + _LOOK_BACK)
        if at < 0:
            at = self.text.find(wanted, taken)
        if at < 0 or (unique and self.text.find(wanted, at + 1) >= 0):
            return None
        self._taken[wanted] = at + 1
        self._last = at
        return at

    def start_of_line(self, number: int) -> int:
        """Return where the line begins that has the sign *number*; the end of the text past the last sign."""
        if number >= len(self._positions):
            return len(self.markdown)
        return self.markdown.rfind("\n", 0, self._positions[number]) + 1

    def end_of(self, text: str) -> int | None:
        """Return the position after the end of *text* if that end stands in one place only."""
        wanted = condense(text)[-_CONTEXTS[0] :]
        at = self.text.find(wanted) if wanted else -1
        if at < 0 or self.text.find(wanted, at + 1) >= 0:
            return None
        return self._positions[at + len(wanted) - 1] + 1

    def last(self, text: str) -> int | None:
        """Return the position after the end of *text*, by as much of it as is in one place; None without one."""
        wanted = condense(text)
        for size in _CONTEXTS:
            at = self.text.rfind(wanted[-size:]) if wanted else -1
            if at >= 0:
                return self._positions[at + len(wanted[-size:]) - 1] + 1
        return None

    def whole(self, text: str) -> tuple[int, int] | None:
        """Return the piece of the Markdown that is *text*, not the end of a word. None where there is not one."""
        wanted = condense(text)
        found: list[tuple[int, int]] = []
        at = self.text.find(wanted) if wanted else -1
        while at >= 0 and len(found) < 2:
            start, last = self._positions[at], self._positions[at + len(wanted) - 1]
            if not self.markdown[max(0, start - 1) : start].isalnum():
                found.append((start, last + 1))
            at = self.text.find(wanted, at + 1)
        return found[0] if len(found) == 1 else None


class Edits:
    """Replacements of pieces of one text; of two that overlap the first one stays."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._pieces: dict[int, tuple[int, str]] = {}

    def replace(self, start: int, end: int, text: str) -> None:
        """Replace the piece from *start* to *end*."""
        self._pieces.setdefault(start, (end, text))

    def insert(self, at: int, text: str) -> None:
        """Put *text* in, after what was put in at the same place before."""
        end, before = self._pieces.get(at, (at, ""))
        self._pieces[at] = (end, before + text)

    def result(self) -> str:
        """Return the text with every replacement made."""
        parts: list[str] = []
        at = 0
        for start in sorted(self._pieces):
            end, text = self._pieces[start]
            if start < at:
                continue
            parts += (self._text[at:start], text)
            at = end
        return "".join([*parts, self._text[at:]])


def condense(text: str) -> str:
    """Return the letters and digits of *text* in compatibility form: "ﬁve m²" is "fivem2"."""
    return _condensed(text)[0]


_ASCII_SIGN = re.compile(r"[0-9A-Za-z]+")


def _condensed(text: str) -> tuple[str, list[int]]:
    if text.isascii():
        found = list(_ASCII_SIGN.finditer(text))
        positions = [at for match in found for at in range(match.start(), match.end())]
        return "".join(match[0] for match in found), positions
    signs: list[str] = []
    places: list[int] = []
    for at, character in enumerate(text):
        if character.isalnum():
            plain = character if character.isascii() else unicodedata.normalize("NFKC", character)
            signs.append(plain)
            places += [at] * len(plain)
    return "".join(signs), places
