"""What is told about a file beyond its columns: metadata and reports, as jsonb takes them.

They come from documents and from stages, so anything may be in them. Owns their limits; refuses what is not JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from blocks.errors import CatalogRefused
from blocks.json_cleaning import cleaned, storable_leaf

# Facts are some kilobytes, and a page of a list carries those of up to a thousand files.
MAX_JSON_BYTES = 1024 * 1024


def json_text(facts: Mapping[str, Any], what: str) -> str:
    """*facts* as JSON text that Postgres takes. Raises `CatalogRefused` when they are not JSON or longer than
    `MAX_JSON_BYTES`."""
    try:
        text = json.dumps(cleaned(facts, leaf=storable_leaf), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise CatalogRefused(f"the {what} of a file must be plain JSON; {type(exc).__name__} while writing it") from exc
    size = len(text.encode())
    if size > MAX_JSON_BYTES:
        raise CatalogRefused(f"the {what} of a file may have {MAX_JSON_BYTES} bytes of JSON, not {size}")
    return text
