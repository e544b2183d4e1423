"""Text and JSON from documents and receivers, made storable: plain JSON, without what Postgres refuses; pure."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast, overload
from uuid import UUID


def cleaned(value: Any, *, leaf: Callable[[Any], Any]) -> Any:
    """Return *value* with *leaf* applied to every key and to everything that is neither mapping, list nor tuple.

    NaN and infinities become null first, and so do integers that readers of JSON refuse or read as infinity.
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
    """Return *text* with U+FFFD for each lone surrogate, which no encoding can carry."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@overload
def storable_text(text: str, *, nul: str = "") -> str: ...
@overload
def storable_text(text: str | None, *, nul: str = "") -> str | None: ...
def storable_text(text: str | None, *, nul: str = "") -> str | None:
    """Return *text* as Postgres stores it: *nul* for each U+0000, U+FFFD for each lone surrogate.

    With U+FFFD as *nul* the length stays, so offsets into the text stay valid.
    """
    return None if text is None else without_surrogates(text.replace("\x00", nul))


def storable_leaf(value: Any) -> Any:
    """Return *value*, a leaf of JSON, with its text storable in jsonb. For `cleaned`."""
    return storable_text(value) if isinstance(value, str) else value


def json_value(value: Any) -> Any:
    """Return *value*, of a database's row, as JSON shows it: ids and times as text, others unchanged."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
