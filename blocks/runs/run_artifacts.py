"""The keys of the Prefect artifacts of one run: each run has its own, so that each is found by itself; pure.

A key has lowercase letters, digits and dashes. All artifacts of a run, whatever their keys, are found by its id.
"""

from __future__ import annotations

from uuid import UUID

# The key of every run's progress in earlier versions, whose runs are in the history.
EARLIER_PROGRESS_KEY = "process-progress"


def progress_key(run_id: UUID) -> str:
    """Return the key of a run's progress."""
    return f"progress-{short_id(run_id)}"


def summary_key(run_id: UUID) -> str:
    """Return the key of the page about a run and its documents."""
    return f"summary-{short_id(run_id)}"


def link_key(run_id: UUID) -> str:
    """Return the key of the link to a run's page at the gateway."""
    return f"page-{short_id(run_id)}"


def export_key(run_id: UUID) -> str:
    """Return the key of the page about an export."""
    return f"export-{short_id(run_id)}"


def short_id(run_id: UUID) -> str:
    """Return the first eight digits of a run's id, which is random: enough to distinguish the runs of a history."""
    return str(run_id)[:8]
