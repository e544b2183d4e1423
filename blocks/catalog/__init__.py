"""The catalogue: one row per file in custody, in Postgres."""

from blocks.catalog.artifact import KINDS, Artifact, Draft, Kind, Reservation, StageMark, Stored
from blocks.catalog.catalog import Catalog, Connection, Page, Unfinished
from blocks.catalog.key_locks import KeyLocks
from blocks.catalog.pool import Patience

__all__ = [
    "KINDS",
    "Artifact",
    "Catalog",
    "Connection",
    "Draft",
    "KeyLocks",
    "Kind",
    "Page",
    "Patience",
    "Reservation",
    "StageMark",
    "Stored",
    "Unfinished",
]
