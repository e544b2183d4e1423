"""The catalogue: one row per file in custody, in Postgres.

Promises that every write takes the caller's connection, so that several commit together, and that the database's clock
decides what has expired. Refuses to touch stored bytes: that is `blocks.custody`, which keeps rows and bytes in step.

Start reading at `artifact` (the row), then `queries` (all SQL) and `catalog` (the typed calls). `maintenance` (marks,
moves, restoring) is imported by name, because only custody's maintenance operations and their commands use it, and so
is `migrate`, which upgrades a database to this version's schema.
"""

from blocks.catalog.artifact import KINDS, Artifact, Draft, Kind, Reservation, StageMark, Stored
from blocks.catalog.catalog import MAX_PAGE, Catalog, Page
from blocks.catalog.output_locks import OutputLocks
from blocks.catalog.statistics import RunCounts, custody_statistics, run_counts, unfinished_files
from blocks.postgres import Connection
from blocks.postgres.pool import Timeouts

__all__ = [
    "KINDS",
    "MAX_PAGE",
    "Artifact",
    "Catalog",
    "Connection",
    "Draft",
    "Kind",
    "OutputLocks",
    "Page",
    "Reservation",
    "RunCounts",
    "StageMark",
    "Stored",
    "Timeouts",
    "custody_statistics",
    "run_counts",
    "unfinished_files",
]
