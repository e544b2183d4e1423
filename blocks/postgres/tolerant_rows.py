"""Read rows that psycopg cannot load: each value that Python has no form for gets one that it has.

A person with SQL, or another version, may have written `infinity`, a year before 1 or after 9999, or JSON with a number
that no reader takes. psycopg fails for the whole result. These rows are loaded again from the result that is there, and
only then: rows without such a value cost nothing.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, cast

import orjson
import psycopg
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader, Transformer
from psycopg.types.datetime import TimestamptzLoader

from blocks.postgres.far_time import FarTime

# What loading a value raises: psycopg's own for times, orjson's for JSON.
UNLOADABLE = (psycopg.DataError, ValueError, RecursionError, OverflowError)


class _AnyTime(TimestamptzLoader):
    def load(self, data: Buffer) -> datetime:
        try:
            return super().load(data)
        except psycopg.DataError:
            return FarTime.of(bytes(data).decode())


class _AnyJson(Loader):
    """JSON that orjson refuses is read by the standard library, which takes larger numbers; else it is its text."""

    def load(self, data: Buffer) -> Any:
        text = bytes(data)
        try:
            return orjson.loads(text)
        except ValueError:
            try:
                return json.loads(text)
            except (ValueError, RecursionError):
                return text.decode()


def tolerant_rows(cursor: psycopg.AsyncCursor[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all rows of the result that *cursor* has."""
    result = cursor.pgresult
    if result is None:
        raise AssertionError("unreachable: the statement has a result")
    cursor.adapters.register_loader("timestamptz", _AnyTime)
    for name in ("json", "jsonb"):
        cursor.adapters.register_loader(name, _AnyJson)
    transformer = Transformer(cast("AdaptContext", cursor))
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, cursor.row_factory(cursor))
