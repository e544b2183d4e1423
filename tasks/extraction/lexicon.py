"""Word lists that are files: common words and given names; and how a document itself writes its words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

# A word of running text: not a part of a path, an address or a name in code.
_RUNNING_WORD = re.compile(r"(?<![\w/.@\\$-])[^\W\d_]{2,40}(?![\w/@(=\\]|[-.:]\w)")
# A word with a capital that neither a sentence nor an item begins with.
_LARGE_WORD = re.compile(r"(?<=[a-zà-ÿ] )[A-ZÀ-Þ][^\W\d_]{1,40}(?![\w/@(=\\]|[-.:]\w)")
# What a manual writes for a value: "--width=NUM", "-C NUM", "--context[=NUM]".
_PLACEHOLDER = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*(?:\[?=|[ ]\[?|[ ]?<)([A-Z][A-Z0-9_]+)(?![\w-])")
# A word of everyday text is a name where it has its capital so often within sentences, and more often than not.
MIN_LARGE = 4
# Documents are read this far for their words: more text says the same again.
MAX_CHARACTERS = 1024 * 1024


class DocumentWords:
    """How often a document writes a word small in running text."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._small: Counter[str] = Counter()
        self._large: Counter[str] = Counter()
        self._placeholders: set[str] = set()
        read = 0
        for text in texts:
            if read > MAX_CHARACTERS:
                break
            read += len(text)
            self._small.update(word for word in _RUNNING_WORD.findall(text) if word.islower())
            self._large.update(word.lower() for word in _LARGE_WORD.findall(text))
            if "-" in text:
                self._placeholders.update(_PLACEHOLDER.findall(text))

    def small(self, word: str) -> int:
        """Return how often *word* is written in small letters."""
        return self._small[word.lower()]

    def is_placeholder(self, word: str) -> bool:
        """Return whether the document writes *word* where an option has its value."""
        return word in self._placeholders

    def is_ordinary(self, word: str) -> bool:
        """Return whether a capital says nothing about *word*: it is one of everyday text, here or in general."""
        folded = word.lower()
        small, large = self._small[folded], self._large[folded]
        return (small > 0 or is_common(folded)) and not (large >= MIN_LARGE and large > small)


NO_WORDS = DocumentWords()


def is_common(word: str) -> bool:
    """Return whether a capital or capitals say nothing about *word*: it is a word of everyday text."""
    return word.lower() in _listed("common_words.txt")


def is_given_name(word: str) -> bool:
    """Return whether *word*, or a part of it before a hyphen, is a given name."""
    return word in _listed("given_names.txt") or ("-" in word and word.partition("-")[0] in _listed("given_names.txt"))


@cache
def _listed(name: str) -> frozenset[str]:
    lines = files("tasks.extraction").joinpath(name).read_text("utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())
