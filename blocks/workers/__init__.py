"""Remote workers: which machines may take jobs, their public keys, and the one-time codes that enrol them.

A worker proves itself by opening what is sealed for its key, so the catalogue keeps no secret of it. Promises that a
code enrols one worker, and that a revoked worker keeps its name and its key, so that neither comes back. Start reading
at `worker`; `rows` reads and writes. Imported by name: `enrolment`, which uses codes up, and
`sessions`, which makes the tokens.
"""

from blocks.workers.rows import (
    count_workers,
    find_workers,
    get_worker,
    hold_worker,
    list_workers,
    mark_revoked,
    require_active,
    set_labels,
    touch_worker,
    worker_not_found,
)
from blocks.workers.worker import (
    MAX_LABELS,
    MAX_VERSION_CHARS,
    NAME_PATTERN,
    RESERVED_NAMES,
    Worker,
    check_labels,
    check_worker_name,
)

__all__ = [
    "MAX_LABELS",
    "MAX_VERSION_CHARS",
    "NAME_PATTERN",
    "RESERVED_NAMES",
    "Worker",
    "check_labels",
    "check_worker_name",
    "count_workers",
    "find_workers",
    "get_worker",
    "hold_worker",
    "list_workers",
    "mark_revoked",
    "require_active",
    "set_labels",
    "touch_worker",
    "worker_not_found",
]
