"""Counts in the metadata of an ingestion: what is stored of them, and what readers see."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.catalog.ingestion_counts import with_zeros, without_zeros
from blocks.search_index import Replacement
from blocks.search_index.lists import Changes
from tasks.ingest import INGEST

_NOTHING = Changes()
_FIRST = Replacement(
    documents=Changes(inserted=1), chunks=Changes(inserted=3), facts=_NOTHING, entities=Changes(inserted=1, removed=2),
    keywords=Changes(unchanged=4),
)  # fmt: skip


@pytest.mark.parametrize("counted", [_FIRST, Replacement(**dict.fromkeys(vars(_FIRST), _NOTHING))])
def test_zeros_are_not_stored_and_are_there_again_when_read(counted: Replacement) -> None:
    given = {"rows": counted.as_dict(), "warnings": 0}
    stored = without_zeros(INGEST.name, given)
    assert all(0 not in counts.values() for counts in stored["rows"].values())
    assert stored["rows"].keys() == given["rows"].keys() and stored["warnings"] == 0
    assert with_zeros(INGEST.name, stored) == given
    assert with_zeros(INGEST.name, given) == given, "a row of an earlier version"


def test_what_is_stored_is_what_was_counted() -> None:
    assert without_zeros(INGEST.name, {"rows": _FIRST.as_dict()}) == {
        "rows": {
            "documents": {"inserted": 1}, "chunks": {"inserted": 3}, "facts": {},
            "entities": {"inserted": 1, "removed": 2}, "keywords": {"unchanged": 4},
        }
    }  # fmt: skip


@pytest.mark.parametrize(
    ("stage_name", "metadata"),
    [
        ("another-stage", {"rows": {"chunks": {"removed": 0, "updated": 0, "inserted": 0, "unchanged": 0}}}),
        (None, {"rows": {"chunks": {"removed": 0, "updated": 0, "inserted": 0, "unchanged": 0}}}),
        ("ingestor", {}),
        ("ingestor", {"rows": 0}),
        ("ingestor", {"rows": [{"removed": 0}]}),
        ("ingestor", {"rows": {"chunks": 0, "facts": None, "entities": [0]}}),
    ],
)
def test_all_else_is_left_as_it_is(stage_name: str | None, metadata: dict[str, Any]) -> None:
    assert without_zeros(stage_name, metadata) == metadata
    assert with_zeros(stage_name, metadata) == metadata


def test_a_table_without_some_of_the_counts_is_stored_as_it_is() -> None:
    metadata = {
        "rows": {"chunks": {"removed": 0}, "facts": {"removed": 0.0, "updated": "0", "inserted": 0, "unchanged": 1}}
    }
    stored = without_zeros(INGEST.name, metadata)
    assert stored["rows"] == {"chunks": {"removed": 0}, "facts": {"removed": 0.0, "updated": "0", "unchanged": 1}}
