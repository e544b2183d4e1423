"""Metadata and reports as jsonb text: plain JSON is written as it is, anything else is cleaned or refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.catalog import json_columns
from blocks.catalog.json_columns import MAX_JSON_BYTES, json_text
from blocks.errors import CatalogRefused
from blocks.json_cleaning import cleaned, storable_leaf

_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None))
_VALUES = st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(st.dictionaries(st.text(), _VALUES))
def test_what_is_written_quickly_is_what_cleaning_writes(value: dict[str, Any]) -> None:
    assert json.loads(json_text(value, "report")) == json.loads(json.dumps(cleaned(value, leaf=storable_leaf)))


@dataclass
class _Point:
    x: int


@pytest.mark.parametrize("value", [_Point(1), datetime(2026, 1, 2, tzinfo=UTC), b"bytes", {1, 2}])
def test_what_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(CatalogRefused, match="the report of a file must be plain JSON"):
        json_text({"value": value}, "report")


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(CatalogRefused, match=f"may have {MAX_JSON_BYTES} bytes"):
        json_text({"text": "x" * MAX_JSON_BYTES}, "report")


def test_plain_json_is_not_walked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_columns, "cleaned", None)
    assert json_text({"pages": 3, "title": "Zürich", "rate": float("nan")}, "report") == (
        '{"pages":3,"title":"Zürich","rate":null}'
    )
