"""Whether anything that was found is close to the question, or a search only returned what is least far away; pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

# The cosine of a question and a passage from which the passage is about the question's subject. Provisional.
CLOSE_SIMILARITY = 0.35


class Evidence(Protocol):
    """What is known of a found passage. `similarity` is None without vectors, where only words can decide."""

    @property
    def similarity(self) -> float | None: ...
    @property
    def has_all_words(self) -> bool: ...
    @property
    def found_by(self) -> list[str]: ...


def is_close(hit: Evidence) -> bool:
    """Return whether a passage is close in meaning, has all words of the question, or the document's name matches."""
    if hit.similarity is None or hit.similarity >= CLOSE_SIMILARITY:
        return True
    return hit.has_all_words or "name" in hit.found_by


def nothing_is_close(hits: Iterable[Evidence]) -> bool:
    """Return whether none of *hits* is close; also when there are none."""
    return not any(map(is_close, hits))
