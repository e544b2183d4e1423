"""Remote workers: which machines may take jobs, their public keys, and the one-time codes that enrol them.

A worker proves itself by opening what is sealed for its key, so the catalogue keeps no secret of it. Promises that a
code enrols one worker, and that a revoked worker keeps its name and its key, so that neither comes back. Start reading
at `worker`; `rows` reads and writes, `sessions` makes the tokens.
"""

from blocks.workers.codes import DEFAULT_LIFETIME, MAX_LIFETIME, EnrolmentCode, check_code_lifetime
from blocks.workers.rows import (
    create_code,
    enroll,
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
from blocks.workers.sessions import SCOPE, SESSION_LIFETIME, audience_of_worker, check_session, seal_session
from blocks.workers.worker import (
    MAX_LABELS,
    MAX_VERSION_CHARS,
    NAME_PATTERN,
    POOL,
    RESERVED_NAMES,
    Worker,
    check_labels,
    check_worker_name,
    check_worker_recipient,
)

__all__ = [
    "DEFAULT_LIFETIME",
    "MAX_LABELS",
    "MAX_LIFETIME",
    "MAX_VERSION_CHARS",
    "NAME_PATTERN",
    "POOL",
    "RESERVED_NAMES",
    "SCOPE",
    "SESSION_LIFETIME",
    "EnrolmentCode",
    "Worker",
    "audience_of_worker",
    "check_code_lifetime",
    "check_labels",
    "check_session",
    "check_worker_name",
    "check_worker_recipient",
    "create_code",
    "enroll",
    "find_workers",
    "get_worker",
    "hold_worker",
    "list_workers",
    "mark_revoked",
    "require_active",
    "seal_session",
    "set_labels",
    "touch_worker",
    "worker_not_found",
]
