"""Watches of places that get new files: what was seen there, and which run has taken what.

Owns the tables `watches` and `watched_files`. A version of a file is taken by one run. The row says so before the run
is started, with the idempotency key of the run: a process that is killed in between neither loses nor doubles it.
Lists no place and starts no run: that is `tasks.watching`. Start with `watched_files`.
"""

from blocks.watching.watched_files import (
    MAX_TRIES,
    Batch,
    Found,
    WatchedFile,
    hold_watch,
    read_batches,
    read_files,
    read_outcomes,
    record_outcomes,
    record_seen,
    record_started,
    source_digest,
    take,
)
from blocks.watching.watches import (
    WatchState,
    add_watch,
    read_watches,
    record_look,
    record_problem,
    remove_watch,
    watch_id_of,
    while_watched,
)

__all__ = [
    "MAX_TRIES",
    "Batch",
    "Found",
    "WatchState",
    "WatchedFile",
    "add_watch",
    "hold_watch",
    "read_batches",
    "read_files",
    "read_outcomes",
    "read_watches",
    "record_look",
    "record_outcomes",
    "record_problem",
    "record_seen",
    "record_started",
    "remove_watch",
    "source_digest",
    "take",
    "watch_id_of",
    "while_watched",
]
