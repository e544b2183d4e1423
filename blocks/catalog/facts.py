"""What is told about a file beyond its columns: metadata and reports, as jsonb takes them.

They come from documents and from stages, so anything may be in them. Owns their limits; refuses what is not JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from blocks.errors import CatalogRefused

# Facts are some kilobytes, and a page of a list carries those of up to a thousand files.
MAX_FACTS_BYTES = 1024 * 1024


def as_json(facts: Mapping[str, Any], what: str) -> str:
    """*facts* as JSON text that Postgres takes. Raises `CatalogRefused` when they are not JSON or longer than
    `MAX_FACTS_BYTES`."""
    try:
        text = json.dumps(_storable(facts), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise CatalogRefused(f"the {what} of a file must be plain JSON; {type(exc).__name__} while writing it") from exc
    size = len(text.encode())
    if size > MAX_FACTS_BYTES:
        raise CatalogRefused(f"the {what} of a file may have {MAX_FACTS_BYTES} bytes of JSON, not {size}")
    return text


def _storable(value: Any) -> Any:
    """*value* without what Postgres refuses in jsonb and documents put into titles: U+0000, lone surrogates, NaN."""
    if isinstance(value, str):
        return value.replace("\x00", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {_storable(str(key)): _storable(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_storable(item) for item in cast("Sequence[Any]", value)]
    return value
