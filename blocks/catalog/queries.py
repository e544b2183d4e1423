"""All SQL of the catalogue. The database's clock, never an application's, decides which files have expired; pure."""

from __future__ import annotations

from collections.abc import Iterable

_COLUMNS = """
    file_id, kind, filename, source_file, document_sha256, stage, stage_name, stage_key, run_id, media_type,
    size, sha256, stored_size, stored_sha256, location, metadata, report, created_at, expires_at,
    encrypted_for, header_sha256, verified_at, damaged_at, damage, pinned_at, pin_note, held_at, hold_note
"""

# A pinned file, and one under a legal hold, stays whatever its expires_at says.
KEPT = "(pinned_at is not null or held_at is not null)"

# Readers do not see an expired file, even while its bytes are still stored.
_READABLE = f"state = 'available' and (expires_at > clock_timestamp() or {KEPT})"
# For statements elsewhere that join other rows with files.
READABLE = _READABLE

# An output that is about to expire is not reused: it would disappear while the run needs it. Nor is a damaged one: it
# is made again.
_REUSABLE = f"""
    state = 'available' and damaged_at is null
    and (expires_at > clock_timestamp() + interval '1 hour' or {KEPT})
"""

# A B-tree key has 2.7 kB at most, and a path or a signed URL may be longer: the index holds the beginning.
_SAME_SOURCE = "left(source_file, 512) = left(%(source)s, 512) and source_file = %(source)s"

# Any number of rows in one statement, as one JSON array. Returns the time.
RESERVE = """
    with reserved as (
        insert into artifacts (file_id, state, kind, filename, source_file, document_sha256, stage, stage_name,
                               stage_key, run_id, media_type, location, metadata, report, expires_at)
        select file_id, 'pending', kind, filename, source_file, document_sha256, stage, stage_name, stage_key,
               run_id, media_type, location, metadata, report,
               clock_timestamp() + make_interval(secs => keep_for_seconds)
          from jsonb_to_recordset(%(rows)s::jsonb) as row (
               file_id uuid, kind text, filename text, source_file text, document_sha256 text, stage smallint,
               stage_name text, stage_key text, run_id uuid, media_type text, location text, metadata jsonb,
               report jsonb, keep_for_seconds double precision)
    )
    select clock_timestamp() as now
"""

# The only way from pending to available, with the hashes of the written bytes. A run delivers every file that it makes.
# Common table expressions, because the outbox records events in the same statement (ADR 0015).
MAKE_AVAILABLE_CTES = f"""
    made as (
        update artifacts
           set state = 'available', size = %(size)s, sha256 = %(sha256)s, stored_size = %(stored_size)s,
               stored_sha256 = %(stored_sha256)s, encrypted_for = %(encrypted_for)s,
               header_sha256 = %(header_sha256)s, created_at = %(created_at)s, expires_at = %(expires_at)s,
               document_sha256 = %(document_sha256)s, media_type = %(media_type)s,
               metadata = %(metadata)s::jsonb, report = %(report)s::jsonb
         where file_id = %(file_id)s and state = 'pending'
        returning {_COLUMNS}
    ), delivered as (
        insert into run_outputs (run_id, file_id, source_file, reused)
        select run_id, file_id, source_file, false from made where run_id is not null
    )
"""

MAKE_AVAILABLE = f"with {MAKE_AVAILABLE_CTES} select * from made"

# Locks to the end of the transaction. Waits for a transaction that is changing the row, even if its client is gone.
LOCK_STATE = "select state from artifacts where file_id = %(file_id)s for update"

# A commit takes milliseconds; a transaction whose client has vanished from the network may stay open for hours.
LOCK_TIMEOUT = "set local lock_timeout = '10s'"

FORGET_PENDING = "delete from artifacts where file_id = any(%(file_ids)s) and state = 'pending'"

RECORD_USE = """
    insert into run_outputs (run_id, file_id, source_file, reused)
    values (%(run_id)s, %(file_id)s, %(source_file)s, %(reused)s)
    on conflict (run_id, file_id, source_file) do nothing
"""

GET = f"select {_COLUMNS} from artifacts where file_id = %(file_id)s and {_READABLE}"

FIND_READABLE = f"select {_COLUMNS} from artifacts where file_id = any(%(file_ids)s) and {_READABLE}"

# Expired files too: their bytes stay until they are deleted.
GET_STORED = f"select {_COLUMNS} from artifacts where file_id = %(file_id)s and state = 'available'"

# Whether a file that cannot be read existed at some time.
WAS_THERE = "select state from artifacts where file_id = %(file_id)s and state <> 'pending'"

FIND_REUSABLE = f"""
    select distinct on (stage_key) {_COLUMNS}
      from artifacts
     where stage_key = any(%(stage_keys)s) and {_REUSABLE}
     order by stage_key, created_at desc
"""

FIND_UPLOAD = f"""
    select {_COLUMNS} from artifacts
     where kind = 'upload' and {_SAME_SOURCE} and sha256 = %(sha256)s and {_REUSABLE}
     order by created_at desc
     limit 1
"""

TOMBSTONE = f"""
    update artifacts set state = 'deleting'
     where file_id = %(file_id)s and (state = 'deleting' or (state = 'available' and not {KEPT}))
    returning array_remove(array[location, spare_location], null) as locations
"""

PIN = f"""
    update artifacts set pinned_at = coalesce(pinned_at, clock_timestamp()), pin_note = %(note)s
     where file_id = %(file_id)s and {_READABLE}
    returning {_COLUMNS}
"""

# A file that has expired stays for a while after it is unpinned or released, so that a mistake can be corrected.
_AFTER_GRACE = "clock_timestamp() + make_interval(secs => %(grace_seconds)s)"
_WITH_GRACE = f"""
    expires_at = greatest(expires_at, {_AFTER_GRACE}),
    extended_at = case when expires_at < {_AFTER_GRACE} then clock_timestamp() else extended_at end
"""

UNPIN = f"""
    update artifacts set pinned_at = null, pin_note = null, {_WITH_GRACE}
     where file_id = %(file_id)s and state = 'available' and pinned_at is not null
    returning {_COLUMNS}
"""

# Also an expired file that is still stored: the evidence that a hold is for may have expired yesterday.
HOLD = f"""
    update artifacts set held_at = coalesce(held_at, clock_timestamp()), hold_note = %(note)s
     where file_id = %(file_id)s and state = 'available'
    returning {_COLUMNS}
"""

RELEASE = f"""
    update artifacts set held_at = null, hold_note = null, {_WITH_GRACE}
     where file_id = %(file_id)s and state = 'available' and held_at is not null
    returning {_COLUMNS}
"""

FINISH_DELETION = """
    update artifacts set state = 'deleted', deleted_at = clock_timestamp(), spare_location = null
     where file_id = %(file_id)s and state = 'deleting'
"""

UNFINISHED_OF_RUN = """
    select file_id, state, array_remove(array[location, spare_location], null) as locations from artifacts
     where run_id = %(run_id)s and state in ('pending', 'deleting')
"""

# Of a pending row the time of creation is when its writer last showed that it lives.
RENEW_PENDING = """
    update artifacts set created_at = clock_timestamp() where file_id = any(%(file_ids)s) and state = 'pending'
"""

_ABANDONED = "state = 'pending' and created_at < clock_timestamp() - make_interval(secs => %(silent_seconds)s)"

LEFT_BETWEEN_STATES = f"""
    select file_id, state, array_remove(array[location, spare_location], null) as locations from artifacts
     where state in ('pending', 'deleting') and (state = 'deleting' or {_ABANDONED})
     order by file_id
"""

HOLD_ABANDONED = f"""
    select file_id from artifacts where file_id = %(file_id)s and {_ABANDONED} for update skip locked
"""

IN_ANY_STATE = f"""
    select file_id, state, filename, created_at, expires_at, deleted_at, removed_because, {_READABLE} as readable,
           expires_at <= clock_timestamp() as expired
      from artifacts where file_id = %(file_id)s
"""

# Never to an earlier time unless asked for, and never into the past.
EXTEND = f"""
    update artifacts set expires_at = wanted_until, extended_at = clock_timestamp()
      from (select coalesce(%(until)s::timestamptz, clock_timestamp() + make_interval(secs => %(seconds)s))
                   as wanted_until) as wanted
     where file_id = %(file_id)s and state = 'available' and (%(even_expired)s or {_READABLE})
       and wanted_until > clock_timestamp() and (expires_at < wanted_until or %(shorten)s)
    returning {_COLUMNS}
"""

# Readers --------------------------------------------------------------------------------------------------------------

# The row is locked until the lease is committed: a tombstone of another transaction is waited for, and no lease is
# given for a file that is being removed.
BEGIN_READING = """
    with file as (
        select file_id from artifacts where file_id = %(file_id)s and state = 'available' for share
    )
    insert into artifact_readers (file_id, reader_id, read_until)
    select file_id, %(reader_id)s, clock_timestamp() + make_interval(secs => %(lease_seconds)s) from file
    on conflict (file_id, reader_id) do update set read_until = excluded.read_until
    returning file_id
"""

# Also leases that could not be written when the reading began. Removes leases of readers that died long ago.
RENEW_READING = """
    with forgotten as (
        delete from artifact_readers
         where read_until < clock_timestamp() - interval '1 day' and reader_id <> all(%(reader_ids)s)
    )
    insert into artifact_readers (file_id, reader_id, read_until)
    select file_id, reader_id, clock_timestamp() + make_interval(secs => %(lease_seconds)s)
      from unnest(%(file_ids)s::uuid[], %(reader_ids)s::uuid[]) as reading (file_id, reader_id)
      join artifacts using (file_id)
     where state = 'available'
    on conflict (file_id, reader_id) do update set read_until = excluded.read_until
"""

END_READING = "delete from artifact_readers where file_id = %(file_id)s and reader_id = %(reader_id)s"

# Maintenance: verification, moves, restoring --------------------------------------------------------------------------

# A mark is valid for the bytes that were read: a file that has moved meanwhile keeps its marks.
MARK_VERIFIED = """
    update artifacts set verified_at = clock_timestamp(), damaged_at = null, damage = null
     where file_id = %(file_id)s and location = %(location)s and state = 'available'
"""

MARK_DAMAGED = """
    update artifacts set damaged_at = coalesce(damaged_at, clock_timestamp()), damage = %(damage)s
     where file_id = %(file_id)s and location = %(location)s and state = 'available'
"""

# Never verified files first, then the longest unverified. Paged by key set, since verifying changes the order.
TO_VERIFY = f"""
    select {_COLUMNS} from artifacts
     where {_READABLE} and (verified_at is null or verified_at < %(before)s)
       and (coalesce(verified_at, 'epoch'), file_id) > (%(after_verified_at)s, %(after_file_id)s)
     order by coalesce(verified_at, 'epoch'), file_id
     limit %(limit)s
"""

# Expired files too: their bytes stay until they are deleted.
NOT_ENCRYPTED_FOR = f"""
    select {_COLUMNS} from artifacts
     where state = 'available' and encrypted_for is distinct from %(recipient)s and file_id > %(after)s
     order by file_id
     limit %(limit)s
"""

BY_RECIPIENT = """
    select encrypted_for, count(*) as files, least(sum(stored_size), 9223372036854775807)::bigint as bytes,
           count(*) filter (where damaged_at is null) as undamaged
      from artifacts
     where state = 'available'
     group by encrypted_for
"""

# Files that need a key, a recipient (of a deleted file where none is stored), and whether there is no row at all.
ENCRYPTED_FILES = """
    select (select count(*) from artifacts where state = 'available' and encrypted_for is not null) as files,
           coalesce(
               (select encrypted_for from artifacts where state = 'available' and encrypted_for is not null limit 1),
               (select encrypted_for from artifacts where encrypted_for is not null limit 1)
           ) as recipient,
           not exists (select from artifacts) as is_empty
"""

FOREIGN_FILES = """
    select case
               when exists (select from artifacts where state = 'available' and encrypted_for = any(%(ours)s)) then 0
               else (select count(*) from artifacts where state = 'available' and encrypted_for is not null)
           end as files
"""

# A move records its new path first, so that a crash leaves no blob that no row knows.
BEGIN_MOVE = """
    update artifacts set spare_location = %(spare_location)s
     where file_id = %(file_id)s and location = %(location)s and state = 'available' and spare_location is null
    returning file_id
"""

# From here on readers use the new bytes; the old path is the spare one.
SWITCH_MOVE = """
    update artifacts
       set location = spare_location, spare_location = location, size = %(size)s, sha256 = %(sha256)s,
           stored_size = %(stored_size)s, stored_sha256 = %(stored_sha256)s, encrypted_for = %(encrypted_for)s,
           header_sha256 = %(header_sha256)s, verified_at = clock_timestamp(), damaged_at = null, damage = null
     where file_id = %(file_id)s and spare_location = %(spare_location)s and state = 'available'
    returning file_id
"""

END_MOVE = """
    update artifacts set spare_location = null where file_id = %(file_id)s and spare_location = %(spare_location)s
"""

INTERRUPTED_MOVES = """
    select file_id, spare_location from artifacts where spare_location is not null order by file_id
"""

HOLD_LOCATION = "select location from artifacts where file_id = %(file_id)s for update"

# A file that the retention has removed comes back where its bytes are there again; one that was deleted by request does
# not. An expiry that has passed moves, so that the next run does not remove it again.
_REVIVABLE = "state = 'deleted' and removed_because is not null"

# Any other existing row holds more than its manifest and is kept.
RESTORE = f"""
    with revived as (
        update artifacts
           set state = 'available', deleted_at = null, removed_because = null, extended_at = clock_timestamp(),
               expires_at = greatest(expires_at, clock_timestamp() + make_interval(secs => %(grace_seconds)s)),
               size = %(size)s, sha256 = %(sha256)s, stored_size = %(stored_size)s, stored_sha256 = %(stored_sha256)s,
               encrypted_for = %(encrypted_for)s, header_sha256 = %(header_sha256)s, verified_at = null,
               damaged_at = null, damage = null
         where file_id = %(file_id)s and location = %(location)s and {_REVIVABLE}
        returning file_id
    ), restored as (
        insert into artifacts (file_id, state, kind, filename, source_file, document_sha256, stage, stage_name,
                               stage_key, run_id, media_type, size, sha256, stored_size, stored_sha256, location,
                               metadata, report, created_at, expires_at, encrypted_for, header_sha256)
        values (%(file_id)s, 'available', %(kind)s, %(filename)s, %(source_file)s, %(document_sha256)s, %(stage)s,
                %(stage_name)s, %(stage_key)s, %(run_id)s, %(media_type)s, %(size)s, %(sha256)s, %(stored_size)s,
                %(stored_sha256)s, %(location)s, %(metadata)s, %(report)s, %(created_at)s, %(expires_at)s,
                %(encrypted_for)s, %(header_sha256)s)
        on conflict do nothing
        returning file_id, run_id, source_file
    ), delivered as (
        insert into run_outputs (run_id, file_id, source_file, reused)
        select run_id, file_id, source_file, false from restored where run_id is not null
    )
    select file_id from restored union all select file_id from revived
"""

KNOWN_FILES = f"select file_id, location from artifacts where file_id = any(%(file_ids)s) and not ({_REVIVABLE})"

NOW = "select clock_timestamp() as now"
STATISTICS = """
    select kind, stage, count(*) as count, least(sum(size), 9223372036854775807)::bigint as bytes,
           min(created_at) as oldest, max(created_at) as newest
      from artifacts
     where state = 'available'
     group by kind, stage
     order by kind, stage
"""

STATES = "select state, count(*) as count from artifacts group by state order by state"

BY_KIND = f"""
    select kind, count(*) as files, least(sum(stored_size), 9223372036854775807)::bigint as stored_bytes,
           count(*) filter (where pinned_at is not null) as pinned,
           count(*) filter (where held_at is not null) as held,
           count(*) filter (where damaged_at is not null) as damaged,
           count(*) filter (where not {KEPT} and expires_at > now()
                              and expires_at <= now() + interval '1 day') as expiring,
           count(*) filter (where not {KEPT} and expires_at <= now()) as expired
      from artifacts
     where state = 'available'
     group by kind
     order by kind
"""

# Answered by the index over unfinished rows.
UNFINISHED = "select state, count(*) as files from artifacts where state in ('pending', 'deleting') group by state"

# The same document under two names counts as two: its sender provided two.
RUN_COUNTS = """
    select count(distinct o.source_file) as documents,
           count(*) filter (where kind = 'stage_output') as files,
           count(*) filter (where kind = 'stage_output' and reused) as reused
      from run_outputs o join artifacts using (file_id)
     where o.run_id = %(run_id)s
"""

# A source is given as its path or URL, or its last part alone. Its files are those of the documents it has held,
# including outputs made for the same content under another name, but not uploads under other names.
_OF_SOURCE = f"""
    document_sha256 = any(array(
        select document_sha256 from artifacts where state = 'available' and {_SAME_SOURCE}
        union
        select document_sha256 from artifacts where state = 'available' and source_name = %(source)s))
    and (kind <> 'upload' or source_file = %(source)s or source_name = %(source)s)
"""

# As an array, so that the run's outputs are looked up first: a join is sometimes planned the other way round, and goes
# through all files, newest first.
_OF_RUN = "file_id = any(array(select file_id from run_outputs where run_id = %(run_id)s))"

_LIST_FILTERS = {
    "source": _OF_SOURCE,
    "stage": "stage = %(stage)s",
    "run_id": _OF_RUN,
    "kind": "kind = %(kind)s",
    "after_file_id": "(created_at, file_id) < (%(after_created_at)s, %(after_file_id)s)",
}


def list_statement(filters: Iterable[str]) -> str:
    """Return the listing for the given *filters*, newest first, paged by key set (never by offset)."""
    conditions = [_READABLE, *(_LIST_FILTERS[name] for name in filters if name in _LIST_FILTERS)]
    return f"""
        select {_COLUMNS} from artifacts
         where {" and ".join(f"({condition})" for condition in conditions)}
         order by created_at desc, file_id desc
         limit %(limit)s
    """
