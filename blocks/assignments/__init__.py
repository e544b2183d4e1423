"""Assignments: jobs of one stage that a run gives to a remote worker together.

`assignment` is one row with its jobs, `rows` reads and writes them, `tokens` signs who may claim one. Promises that one
worker has an assignment at a time, by the database's clock; that one that is lost goes to another worker, and what
was done stays done. Each change notifies the channel `CHANNEL`. Start reading at `assignment`.
"""

from blocks.assignments.assignment import (
    LEASE,
    MAX_ATTEMPTS,
    Assignment,
    AssignmentJob,
    NewAssignment,
    NewJob,
    check_assignment_id,
)
from blocks.assignments.queries import CHANNEL
from blocks.assignments.rows import (
    assignments_of_run,
    assignments_of_worker,
    claim,
    count_waiting,
    create_assignment,
    end_assignment,
    get_assignment,
    give_back,
    jobs_of_assignment,
    jobs_of_run,
    lose,
    renew,
    report_error,
    report_result,
    set_upload,
)
from blocks.assignments.tokens import ClaimTokens

__all__ = [
    "CHANNEL",
    "LEASE",
    "MAX_ATTEMPTS",
    "Assignment",
    "AssignmentJob",
    "ClaimTokens",
    "NewAssignment",
    "NewJob",
    "assignments_of_run",
    "assignments_of_worker",
    "check_assignment_id",
    "claim",
    "count_waiting",
    "create_assignment",
    "end_assignment",
    "get_assignment",
    "give_back",
    "jobs_of_assignment",
    "jobs_of_run",
    "lose",
    "renew",
    "report_error",
    "report_result",
    "set_upload",
]
