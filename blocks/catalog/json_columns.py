"""Metadata and reports of files as bounded jsonb text: documents and stages may put anything into them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from blocks.errors import CatalogRefused
from blocks.json_cleaning import cleaned, storable_leaf

# Metadata has some kilobytes, and a page of a listing carries that of up to a thousand files.
MAX_JSON_BYTES = 1024 * 1024


def json_text(value: Mapping[str, Any], what: str) -> str:
    """Return *value* as JSON text that Postgres accepts; *what* names it in errors.

    Raises `CatalogRefused` when it is not JSON or longer than `MAX_JSON_BYTES`.
    """
    try:
        text = json.dumps(cleaned(value, leaf=storable_leaf), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise CatalogRefused(f"the {what} of a file must be plain JSON; {type(exc).__name__} while writing it") from exc
    size = len(text.encode())
    if size > MAX_JSON_BYTES:
        raise CatalogRefused(f"the {what} of a file may have {MAX_JSON_BYTES} bytes of JSON, not {size}")
    return text
