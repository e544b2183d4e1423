"""Exports: rows from a source to one file, in constant memory.

A source has named columns and yields batches of rows (`sources`); a writer turns them into csv, json or lines of JSON,
as they are or compressed (`writers`). Promises that a file is written to its end or an error is raised. Refuses to know
jobs and where files are kept: that is `tasks.export_job`. `tables` has the SQL of the tables that are exported by name.
Start reading at `sources`.
"""

from tasks.export.formats import COMPRESSIONS, FORMATS, ExportRefused, extension, media_type
from tasks.export.sources import Batch, RecordSource, Rows, open_file, open_query
from tasks.export.writers import Written, write_export

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
    "write_export",
]
