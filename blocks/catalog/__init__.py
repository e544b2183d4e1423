"""The catalogue: one row per file in custody, in Postgres.

Every write takes the caller's connection, so that several commit together, and the database's clock decides what has
expired. Never touches stored bytes: `blocks.custody` keeps rows and bytes in step. Start reading at `artifact` (the
row), then `queries` (all SQL) and `catalog` (the typed calls). Import `keeping` (holds, extensions,
leases of readers), `maintenance` (marks, moves, restoring) and `migrate` (the schema) by name.
"""

from blocks.catalog.artifact import (
    HOW_TO_REMAKE,
    KINDS,
    Artifact,
    Draft,
    Kind,
    ManifestPlace,
    Reservation,
    StageMark,
    Stored,
)
from blocks.catalog.catalog import MAX_PAGE, Catalog, Page
from blocks.catalog.output_locks import OutputLocks
from blocks.catalog.statistics import RunCounts, custody_statistics, run_counts, unfinished_files
from blocks.postgres import Connection
from blocks.postgres.pool import Timeouts

__all__ = [
    "HOW_TO_REMAKE",
    "KINDS",
    "MAX_PAGE",
    "Artifact",
    "Catalog",
    "Connection",
    "Draft",
    "Kind",
    "ManifestPlace",
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
