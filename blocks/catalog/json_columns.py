"""Metadata and reports of files as bounded jsonb text: documents and stages may put anything into them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

from blocks.errors import CatalogRefused
from blocks.json_cleaning import cleaned, storable_leaf

# Metadata has some kilobytes, and a page of a listing carries that of up to a thousand files.
MAX_JSON_BYTES = 1024 * 1024
# What is no JSON is refused, and not written as text.
_STRICT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS


def json_text(value: Mapping[str, Any], what: str) -> str:
    """Return *value* as JSON text that Postgres accepts; *what* names it in errors.

    Raises `CatalogRefused` when it is not JSON or longer than `MAX_JSON_BYTES`.
    """
    if (quick := _written_as_it_is(value)) is not None:
        return quick
    try:
        text = json.dumps(cleaned(value, leaf=storable_leaf), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise CatalogRefused(f"the {what} of a file must be plain JSON; {type(exc).__name__} while writing it") from exc
    size = len(text.encode())
    if size > MAX_JSON_BYTES:
        raise CatalogRefused(f"the {what} of a file may have {MAX_JSON_BYTES} bytes of JSON, not {size}")
    return text


def _written_as_it_is(value: Mapping[str, Any]) -> str | None:
    """Return plain JSON as text, without walking through it; None where it has to be cleaned or refused.

    orjson writes null for NaN and infinities, and refuses lone surrogates, keys that are no text, and large integers.
    """
    try:
        text = orjson.dumps(value, option=_STRICT)
    except TypeError:
        return None
    return text.decode() if len(text) <= MAX_JSON_BYTES and b"\\u0000" not in text else None
