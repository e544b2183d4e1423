"""Scripts that are written without blanks and that the embedding model has no words of; pure.

Thai, Lao, Tibetan, Burmese and Khmer. Chinese and Japanese are written without blanks too, but the model's tokenizer
takes each of their characters for a word.
"""

from __future__ import annotations

import re

_UNSPACED = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\ua9e0-\ua9ff\uaa60-\uaa7f]")
# Of a document's letters; quotations and names in another script are fewer.
_LARGE_SHARE = 1 / 3


def unspaced_characters(text: str) -> int:
    """Return how many characters of *text* are of these scripts."""
    return 0 if text.isascii() else len(_UNSPACED.findall(text))


def is_unspaced(text: str) -> bool:
    """Return whether these scripts are more than a third of the letters and digits of *text*."""
    found = unspaced_characters(text)
    return bool(found) and found > _LARGE_SHARE * (found + sum(map(str.isalnum, _UNSPACED.sub("", text))))
