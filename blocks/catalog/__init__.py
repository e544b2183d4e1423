"""The catalogue: one row per file in custody, in Postgres."""

from blocks.catalog.artifact import KINDS, Artifact, Draft, Kind, Reservation, StageMark, Stored
from blocks.catalog.catalog import Catalog, Connection, Page, Unfinished
from blocks.catalog.output_locks import OutputLocks
from blocks.postgres.pool import Timeouts

__all__ = [
    "KINDS",
    "Artifact",
    "Catalog",
    "Connection",
    "Draft",
    "Kind",
    "OutputLocks",
    "Page",
    "Reservation",
    "StageMark",
    "Stored",
    "Timeouts",
    "Unfinished",
]
