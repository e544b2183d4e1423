"""Retention: decide which files go, store that as a plan, and execute it.

`policy` is the definition, pure: files, policy and time in, keep or remove with the reason out. `plans` makes a plan
of a whole catalogue and stores it; `execution` removes what a plan names, less what was pinned, held, extended or is
being read since. Nothing is removed that no plan names, and no plan removes a file that a pin or a legal hold keeps.

Importing this package imports pydantic: commands that only read import it when they need it.
"""

from blocks.retention.execution import BATCHES_AT_ONCE, Outcome, Removed, execute_plan, finish_deletions
from blocks.retention.plans import (
    Exceptional,
    Group,
    Plan,
    PlannedFile,
    abandon_plan,
    exceptions,
    files_of,
    get_plan,
    make_plan,
    newest_plans,
    planned_files,
    start_plan,
    statistics_without,
    staying,
    tombstones_of,
    unfinished_plans,
)
from blocks.retention.policy import REASONS, REMOVING, Candidate, Decision, Period, RetentionPolicy, decide

__all__ = [
    "BATCHES_AT_ONCE",
    "REASONS",
    "REMOVING",
    "Candidate",
    "Decision",
    "Exceptional",
    "Group",
    "Outcome",
    "Period",
    "Plan",
    "PlannedFile",
    "Removed",
    "RetentionPolicy",
    "abandon_plan",
    "decide",
    "exceptions",
    "execute_plan",
    "files_of",
    "finish_deletions",
    "get_plan",
    "make_plan",
    "newest_plans",
    "planned_files",
    "start_plan",
    "statistics_without",
    "staying",
    "tombstones_of",
    "unfinished_plans",
]
