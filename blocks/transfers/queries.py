"""All SQL of transfers. The database's clock decides what has expired; pure."""

from __future__ import annotations

from collections.abc import Iterable

# One that has expired is shown so at once, before the next look ends it.
_SHOWN_STATE = """
    case when t.state in ('pending', 'in_progress') and t.expires_at <= clock_timestamp() then 'expired'
         else t.state end
"""

_COLUMNS = f"""
    t.transfer_id, t.direction, {_SHOWN_STATE} as state, t.worker, t.assignment_id, t.file_id, t.filename, t.media_type,
    t.recipient, t.sealed_for, t.header, t.replaced_bytes, t.size, t.sha256, t.content_size, t.content_sha256,
    t.done_bytes, t.sent_bytes, t.bytes_per_second, t.metadata, t.keep_for, t.error, t.requested_by, t.run_id,
    t.created_at, t.started_at, t.progress_at, t.expires_at,
    coalesce(t.ended_at, case when t.expires_at <= clock_timestamp() then t.expires_at end) as ended_at
"""

_OPEN = "state in ('pending', 'in_progress') and expires_at > clock_timestamp()"

CREATE = f"""
    with made as (
        insert into transfers (transfer_id, direction, worker, assignment_id, file_id, filename, media_type, recipient,
                               sealed_for, header, replaced_bytes, size, sha256, content_size, content_sha256, metadata,
                               keep_for, requested_by, run_id, expires_at)
        values (%(transfer_id)s, %(direction)s, %(worker)s, %(assignment_id)s, %(file_id)s, %(filename)s,
                %(media_type)s, %(recipient)s, %(sealed_for)s, %(header)s, %(replaced_bytes)s, %(size)s, %(sha256)s,
                %(content_size)s, %(content_sha256)s, %(metadata)s::jsonb, %(keep_for)s, %(requested_by)s, %(run_id)s,
                clock_timestamp() + %(lasts)s)
        returning *
    )
    select {_COLUMNS} from made t
"""

# Open ones, and the bytes that they have still to move where the size is known.
OPEN_COUNTS = f"""
    select direction, count(*) as transfers, coalesce(sum(greatest(size - done_bytes, 0)), 0)::float8 as bytes_left
      from transfers
     where {_OPEN}
     group by direction
"""

# A file that is being removed is not handed over.
HOLD_FILE = "select file_id from artifacts where file_id = %(file_id)s and state = 'available' for share"

GET = f"select {_COLUMNS} from transfers t where t.transfer_id = %(transfer_id)s"

# Locks the row until the transaction ends; waits for a change that is under way.
GET_FOR_UPDATE = f"{GET} for update of t"

# Bytes that were sent or stored. Repeated ones count in sent_bytes alone.
RECORD_PROGRESS = f"""
    update transfers
       set state = 'in_progress', started_at = coalesce(started_at, clock_timestamp()), progress_at = clock_timestamp(),
           done = done + %(ranges)s::int8multirange,
           done_bytes = (select coalesce(sum(upper(r) - lower(r)), 0)
                           from unnest(done + %(ranges)s::int8multirange) as r),
           sent_bytes = sent_bytes + %(sent_bytes)s,
           bytes_per_second = coalesce(%(bytes_per_second)s, bytes_per_second)
     where transfer_id = %(transfer_id)s and {_OPEN}
    returning done_bytes
"""

# An upload is declared by its sender, once.
DECLARE_UPLOAD = f"""
    update transfers
       set size = %(size)s, sha256 = coalesce(%(sha256)s, sha256), file_id = %(file_id)s,
           content_size = coalesce(%(content_size)s, content_size),
           content_sha256 = coalesce(%(content_sha256)s, content_sha256),
           filename = coalesce(%(filename)s, filename), media_type = coalesce(%(media_type)s, media_type),
           state = 'in_progress', started_at = coalesce(started_at, clock_timestamp()), progress_at = clock_timestamp()
     where transfer_id = %(transfer_id)s and direction = 'upload' and file_id is null and {_OPEN}
    returning transfer_id
"""

END = """
    update transfers
       set state = %(state)s, error = %(error)s, ended_at = clock_timestamp(),
           header = case when %(keep_header)s then header end,
           file_id = coalesce(%(file_id)s, file_id),
           -- What only its sender can open has the content that the sender has declared.
           content_size = case when sealed_for = 'unknown' then content_size
                               else coalesce(%(content_size)s, content_size) end,
           content_sha256 = case when sealed_for = 'unknown' then content_sha256
                                 else coalesce(%(content_sha256)s, content_sha256) end
     where transfer_id = %(transfer_id)s and state in ('pending', 'in_progress')
       and (%(state)s = 'expired') = (expires_at <= clock_timestamp())
    returning transfer_id
"""

# A download that was completed by its bytes alone keeps its header for a while: a client that has lost the last bytes
# gets them again, and may still report that they are wrong.
IN_GRACE = """
    select ended_at > clock_timestamp() - %(grace)s as in_grace from transfers
     where transfer_id = %(transfer_id)s and direction = 'download' and state = 'completed' and header is not null
"""

# Bytes that are sent once more within the grace.
RECORD_REPEATED = """
    update transfers set sent_bytes = sent_bytes + %(sent_bytes)s
     where transfer_id = %(transfer_id)s and direction = 'download' and state = 'completed' and header is not null
       and ended_at > clock_timestamp() - %(grace)s
    returning transfer_id
"""

CONFIRM = """
    update transfers set header = null where transfer_id = %(transfer_id)s and state = 'completed'
"""

OVERRULE = """
    update transfers set state = 'failed', error = %(error)s, ended_at = clock_timestamp(), header = null
     where transfer_id = %(transfer_id)s and direction = 'download' and state = 'completed' and header is not null
    returning transfer_id
"""

DROP_OLD_HEADERS = """
    update transfers set header = null where header is not null and ended_at < clock_timestamp() - %(grace)s
"""

DUE_TO_EXPIRE = f"""
    select {_COLUMNS} from transfers t
     where t.state in ('pending', 'in_progress') and t.expires_at <= clock_timestamp()
     order by t.expires_at limit %(limit)s
"""

OPEN_UPLOAD_FILES = f"select file_id from transfers where direction = 'upload' and file_id is not null and {_OPEN}"

OF_WORKER = f"""
    select {_COLUMNS} from transfers t where t.worker = %(worker)s and t.state in ('pending', 'in_progress')
"""

OF_ASSIGNMENT = f"select {_COLUMNS} from transfers t where t.assignment_id = %(assignment_id)s"

_FILTERS = {
    "state": f"({_SHOWN_STATE}) = %(state)s",
    "direction": "t.direction = %(direction)s",
    "worker": "t.worker = %(worker)s",
    "file_id": "t.file_id = %(file_id)s",
    "after_created_at": "(t.created_at, t.transfer_id) < (%(after_created_at)s, %(after_transfer_id)s)",
}


def list_statement(given: Iterable[str]) -> str:
    """Return the statement of a page, newest first, with a condition for each of *given* that has one."""
    conditions = [_FILTERS[name] for name in given if name in _FILTERS]
    where = f"where {' and '.join(conditions)}" if conditions else ""
    return f"select {_COLUMNS} from transfers t {where} order by t.created_at desc, t.transfer_id desc limit %(limit)s"
