"""A user's own names, as whole words in any case, in one pass (Aho-Corasick); a longer name takes precedence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from tasks.extraction.evidence import Mention

if TYPE_CHECKING:
    from ahocorasick_rs import AhoCorasick


class Gazetteer:
    """Names by type, as in ``{"product": ["Waybill", "Prefect"]}``."""

    def __init__(self, names_by_type: Mapping[str, Sequence[str]]) -> None:
        self._names: list[tuple[str, str]] = []
        patterns: dict[str, None] = {}
        for kind, names in names_by_type.items():
            for name in names:
                folded = _fold(name.strip())
                if folded and folded not in patterns:
                    patterns[folded] = None
                    self._names.append((kind, name.strip()))
        self._automaton = _automaton(list(patterns)) if patterns else None

    def find(self, text: str) -> Iterator[Mention]:
        """Yield mentions, whose `value` is the name as the gazetteer spells it."""
        if self._automaton is None:
            return
        for index, start, end in self._automaton.find_matches_as_indexes(_fold(text)):
            kind, name = self._names[index]
            if _is_whole_word(text, start, end):
                yield Mention(start, end, kind, name)


def _automaton(patterns: list[str]) -> AhoCorasick:
    from ahocorasick_rs import AhoCorasick, MatchKind

    return AhoCorasick(patterns, matchkind=MatchKind.LeftmostLongest)


def _fold(text: str) -> str:
    """Return *text* in lower case with as many characters as before, so that places stay valid."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


def _is_whole_word(text: str, start: int, end: int) -> bool:
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    return not (_joins(before, text[start]) or _joins(after, text[end - 1]))


def _joins(outside: str, inside: str) -> bool:
    """Return whether the two belong to one word; Chinese, Japanese and Korean have no spaces between words."""
    return bool(outside) and outside.isalnum() and inside.isalnum() and not ("\u2e80" <= inside <= "\ud7ff")
