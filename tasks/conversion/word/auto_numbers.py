"""Fields that number paragraphs and clauses by themselves (LISTNUM, AUTONUM; ECMA-376 part 1, 17.16.5); pure.

Word stores no result of them. Numbers of AUTONUMLGL that follow the levels of headings are counted on one level.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from tasks.conversion.office.list_labels import label_of

# Built-in lists: for each level the kind of number, and what stands around it.
_LISTS: dict[str, tuple[tuple[str, str], ...]] = {
    "NUMBERDEFAULT": (
        *(("decimal", "{})"), ("lowerLetter", "{})"), ("lowerRoman", "{})")),
        *(("decimal", "({})"), ("lowerLetter", "({})"), ("lowerRoman", "({})")),
        *(("decimal", "{}."), ("lowerLetter", "{}."), ("lowerRoman", "{}.")),
    ),
    "OUTLINEDEFAULT": (
        *(("upperRoman", "{}."), ("upperLetter", "{}."), ("decimal", "{}."), ("lowerLetter", "{})")),
        *(("decimal", "({})"), ("lowerLetter", "({})"), ("lowerRoman", "({})")),
        *(("lowerLetter", "({})"), ("lowerRoman", "({})")),
    ),
}
_LEGAL = "LEGALDEFAULT"
_MAX_LEVELS = 9


class AutoNumbers:
    """The numbers of one story so far."""

    def __init__(self) -> None:
        self._auto: Counter[str] = Counter()
        self._lists: defaultdict[str, list[int]] = defaultdict(lambda: [0] * _MAX_LEVELS)

    def number(self, words: list[str]) -> str:
        """Return what the field with the instruction *words* shows; empty if it is another kind of field."""
        kind = words[0].upper() if words else ""
        if kind == "LISTNUM":
            return self._list_number(words[1:])
        if kind in ("AUTONUM", "AUTONUMLGL", "AUTONUMOUT"):
            self._auto[kind] += 1
            written = label_of(self._auto[kind], "upperRoman" if kind == "AUTONUMOUT" else "decimal")
            ending = _switch(words, "\\s") or "."
            return written if "\\e" in words else f"{written}{ending[0]}"
        return ""

    def _list_number(self, words: list[str]) -> str:
        name = words[0].upper() if words and not words[0].startswith("\\") else "NUMBERDEFAULT"
        counts = self._lists[name]
        level = min(max(_whole(_switch(words, "\\l"), 1), 1), _MAX_LEVELS) - 1
        start = _switch(words, "\\s")
        counts[level] = _whole(start, 1) if start else counts[level] + 1
        counts[level + 1 :] = [0] * (_MAX_LEVELS - level - 1)
        if name == _LEGAL:
            return "".join(f"{max(count, 1)}." for count in counts[: level + 1])
        kind, around = _LISTS.get(name, _LISTS["NUMBERDEFAULT"])[level]
        return around.format(label_of(counts[level], kind))


def _switch(words: list[str], name: str) -> str:
    """Return the argument of the switch *name*; empty without one."""
    return next((words[index + 1] for index, word in enumerate(words[:-1]) if word.lower() == name), "")


def _whole(text: str, default: int) -> int:
    return int(text) if text.isdecimal() and len(text) < 10 else default
