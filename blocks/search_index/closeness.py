"""Whether anything that was found is close to the question, or a search only returned what is least far away; pure.

A cosine alone does not say: texts of one language resemble each other, so an off-topic question in Italian is as
similar to its nearest passage as a good one in English. What counts is how far a passage stands out from the nearest
ones, most of which are wrong, by similarity and shared rare words. Measured in `benchmarks/retrieval`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

# On the open half of the benchmark, this refuses half of the off-topic questions, and one in twenty of those whose
# answer is among the first five.
CLOSE_MARGIN = 0.19
# Among fewer neighbours the right ones weigh too much in their mean; then what is usual for English is assumed.
MIN_SURROUNDINGS, USUAL_SIMILARITY = 20, 0.16


class Evidence(Protocol):
    """What is known of a found passage.

    `score` is its similarity and what shared words add to it. `surroundings` is the mean similarity of the nearest
    passages and `compared` their number. `similarity` is None without vectors, where only words can decide.
    """

    @property
    def score(self) -> float: ...
    @property
    def similarity(self) -> float | None: ...
    @property
    def surroundings(self) -> float | None: ...
    @property
    def compared(self) -> int: ...
    @property
    def has_all_words(self) -> bool: ...
    @property
    def found_by(self) -> list[str]: ...


def threshold_of(hits: Sequence[Evidence]) -> float:
    """Return the similarity from which a passage that shares no word with this question is close to it."""
    for hit in hits:
        if hit.surroundings is not None and hit.compared >= MIN_SURROUNDINGS:
            return min(1.0, hit.surroundings + CLOSE_MARGIN)
    return USUAL_SIMILARITY + CLOSE_MARGIN


def nothing_is_close(hits: Sequence[Evidence]) -> bool:
    """Return whether none of *hits* is close; also when there are none."""
    threshold = threshold_of(hits)
    return not any(_is_close(hit, threshold) for hit in hits)


def _is_close(hit: Evidence, threshold: float) -> bool:
    """Whether a passage stands out, has all words of the question, or the document's name matches."""
    if hit.similarity is None or hit.score >= threshold:
        return True
    return hit.has_all_words or "name" in hit.found_by
