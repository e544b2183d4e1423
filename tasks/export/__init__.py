"""Exports: rows from a source to one file, in constant memory.

A source has an Arrow schema and yields record batches: a query (`queries`), a csv or parquet file (`files`), or rows of
Python values (`source`). `write.write_export` writes them as csv, json, lines of JSON, xlsx or parquet. Promises that a
value is written as it is, in the documented other form, or refused with its column and row; and that a file appears
whole or not at all. Refuses to know jobs and where files are kept: that is `tasks.export_job`. `tables` has the SQL of
the tables that are exported by name. Start reading at `write`.

Arrow takes a quarter of a second to import, so what needs it is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from blocks.errors import ExportRefused
from tasks.export.formats import COMPRESSIONS, FORMATS, extension, media_type

if TYPE_CHECKING:
    from tasks.export.files import open_file
    from tasks.export.queries import open_query
    from tasks.export.source import Batch, RecordSource, Rows, open_rows
    from tasks.export.write import Written, write_export

_MODULES = {
    "open_file": "files",
    "open_query": "queries",
    "Batch": "source",
    "RecordSource": "source",
    "Rows": "source",
    "open_rows": "source",
    "Written": "write",
    "write_export": "write",
}

__all__ = [
    "COMPRESSIONS",
    "FORMATS",
    "Batch",
    "ExportRefused",
    "RecordSource",
    "Rows",
    "Written",
    "extension",
    "media_type",
    "open_file",
    "open_query",
    "open_rows",
    "write_export",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"tasks.export.{_MODULES[name]}"), name)
