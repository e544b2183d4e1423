"""Values from documents and receivers as plain JSON; pure. What is odd about a leaf is its caller's to say."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast


def cleaned(value: Any, *, leaf: Callable[[Any], Any]) -> Any:
    """*value* with every key and everything that is neither mapping, list nor tuple given through *leaf*.

    NaN and infinities, which JSON does not have, become null before that, and so do whole numbers that its readers take
    for infinities or refuse.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return None
    if isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value).items()
        return {leaf(str(key)): cleaned(item, leaf=leaf) for key, item in entries}
    if isinstance(value, (list, tuple)):
        return [cleaned(item, leaf=leaf) for item in cast("Sequence[Any]", value)]
    return leaf(value)


def without_surrogates(text: str) -> str:
    """*text* with a replacement character for each lone surrogate, which no encoding can carry."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
