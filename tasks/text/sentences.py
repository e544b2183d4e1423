"""Sentences of a text with their exact place in it; pure.

Owns the use of pysbd within its limits: it takes every line end for the end of a sentence, searches for each sentence
from the beginning of the text, loses sentences with characters that it uses as marks, and its patterns warn when they
are compiled. Its result is checked: where its sentences do not make up the whole text, or the text is too long for it,
a simple rule is used instead, so that nothing is lost and time stays in proportion to the text.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import import_module
from typing import Any

Span = tuple[int, int]

# pysbd takes quadratic time on hostile text: 200 ms for 4,000 characters of colons, 2 ms for as much prose. This is a
# long paragraph.
MAX_TEXT_CHARACTERS = 2000

# pysbd's language codes; for other languages its English rules are used, which know the signs of most scripts.
LANGUAGES = frozenset("en hi mr zh es am ar hy bg ur ru pl fa nl da fr my el it ja de kk sk".split())  # noqa: SIM905

_LINE_ENDS = str.maketrans("\r\n", "  ")
_GAP = re.compile(r"(?:(?<=[.!?…؟।۔])|(?<=[.!?…؟।۔][\"'”’»)\]]))\s+|(?<=[。！？])(?![。！？」』”’）\s])")


def language_code(tag: str | None) -> str:
    """Return the two-letter code of a language tag ("de-CH" -> "de"); English for what pysbd does not know."""
    code = re.split(r"[-_]", tag or "")[0].lower()
    return code if code in LANGUAGES else "en"


def sentence_spans(text: str, language: str = "en") -> list[Span]:
    """Return start and end of each sentence of *text* in order. Between them is nothing but white space.

    Meant for a paragraph at a time; a line end is white space like any other.
    """
    # Without a gap there is one sentence, as in most list items; this check is a hundred times faster than pysbd.
    if len(text) <= MAX_TEXT_CHARACTERS and _GAP.search(text.rstrip()):
        spans = _trimmed(text, _by_pysbd(text, language))
        if _is_complete(text, spans):
            return spans
    return _trimmed(text, _by_rule(text))


def _trimmed(text: str, spans: Iterable[Span]) -> list[Span]:
    """Return the spans without white space at their ends, and without overlaps."""
    kept: list[Span] = []
    end = 0
    for found_start, found_end in spans:
        content = text[max(found_start, end) : found_end]
        start = found_end - len(content.lstrip())
        end = max(end, found_end)
        if content.strip():
            kept.append((start, start + len(content.strip())))
    return kept


def _is_complete(text: str, spans: list[Span]) -> bool:
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), len(text)]
    return not any(text[end:start].strip() for end, start in zip(ends, starts, strict=True))


def _by_rule(text: str) -> Iterator[Span]:
    start = 0
    for gap in _GAP.finditer(text):
        yield start, gap.start()
        start = gap.end()
    yield start, len(text)


def _by_pysbd(text: str, language: str) -> Iterator[Span]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its patterns have escapes that newer Pythons warn about
        found = _segmenter(language).segment(text.translate(_LINE_ENDS))
    for sentence in found:
        yield sentence.start, sentence.end


@lru_cache(maxsize=4)
def _segmenter(language: str) -> Any:
    pysbd: Any = import_module("pysbd")
    return pysbd.Segmenter(language=language_code(language), clean=False, char_span=True)
