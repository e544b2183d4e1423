"""A run of the retention, from the plan to the report; the command, the HTTP API and the flow share it.

`run_retention` finishes what earlier runs left, makes a plan (or takes a given one), executes it and reports. Each file
that goes is announced by an event in the transaction that makes it unreadable. The rules are those of
`blocks.retention`; nothing here decides about a file. Start at `run`, then `report` (the JSON that all three show).
"""

from tasks.expiry.events import ExpiryEvents
from tasks.expiry.report import FailedFile, FileWarning, Report, file_view, plan_view
from tasks.expiry.run import retention_policy, run_retention

__all__ = [
    "ExpiryEvents",
    "FailedFile",
    "FileWarning",
    "Report",
    "file_view",
    "plan_view",
    "retention_policy",
    "run_retention",
]
