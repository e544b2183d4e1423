"""The language of a text as an ISO 639-1 code, by character statistics; pure.

Owns the sample that is read and the confidence that is required. Returns nothing rather than a guess: a wrong language
spoils sentence splitting and search later, a missing one does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

# Statistics are stable well before, and the time stays under 2 ms.
_SAMPLE_CHARACTERS = 8_000
# Three short words; with less the detector is right by chance only.
_MIN_LETTERS = 20
# The detector's probabilities are calibrated; measured: right answers on sentences have 0.9 and more, lists of names
# and code stay under 0.4.
_MIN_CONFIDENCE = 0.6

# Parts that are not language: code blocks, addresses, tags, HTML comments.
_NOISE = re.compile(r"^```.*?^```|`[^`\n]*`|https?://\S+|<[^>\n]{1,200}>|\]\([^)\n]{1,500}\)", re.DOTALL | re.MULTILINE)
_NOT_LETTERS = re.compile(r"[\W\d_]+")


def detect_language(text: str) -> str | None:
    """Return the language of *text*'s beginning; None when there is too little text or no clear answer."""
    sample = " ".join(_NOT_LETTERS.sub(" ", _NOISE.sub(" ", text[: 4 * _SAMPLE_CHARACTERS])).split())
    sample = sample[:_SAMPLE_CHARACTERS]
    if len(sample) - sample.count(" ") < _MIN_LETTERS:
        return None
    language, confidence = _classifier()(sample)
    return language if len(language) == 2 and confidence >= _MIN_CONFIDENCE else None


@lru_cache(maxsize=1)
def _classifier() -> Callable[[str], tuple[str, float]]:
    """Return the classifier, loaded once per process: it takes 0.3 s and some 100 MiB."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # pyright: ignore[reportMissingTypeStubs]

    load = cast(Callable[..., Any], LanguageIdentifier.from_model_file)  # pyright: ignore[reportUnknownMemberType]
    return cast(Callable[[str], tuple[str, float]], load(MODEL_FILE, norm_probs=True).classify)
