"""The keys of the Prefect artifacts of one run: each run has its own, so that each is found by itself; pure.

A key has lowercase letters, digits and dashes. It ends with the whole id of the run: ids begin with the time, so that
runs of the same seconds have their first digits in common. All artifacts of a run are found by its id, whatever their
keys.
"""

from __future__ import annotations

from uuid import UUID

# The key of every run's progress in earlier versions, whose runs are in the history.
EARLIER_PROGRESS_KEY = "process-progress"


def progress_key(run_id: UUID) -> str:
    """Return the key of a run's progress."""
    return f"progress-{run_id}"


def summary_key(run_id: UUID) -> str:
    """Return the key of the page about a run and its documents."""
    return f"summary-{run_id}"


def link_key(run_id: UUID) -> str:
    """Return the key of the link to a run's page at the gateway."""
    return f"page-{run_id}"


def export_key(run_id: UUID) -> str:
    """Return the key of the page about an export."""
    return f"export-{run_id}"
