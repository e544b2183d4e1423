"""The SQL by which files are verified, moved, restored, and cleared up after writers that have died; pure."""

from __future__ import annotations

from blocks.catalog.queries import COLUMNS, FOREIGN_SPARE, OWN_LOCATIONS, READABLE

# Interrupted writes ---------------------------------------------------------------------------------------------------

# Of a pending row the time of creation is when its writer last showed that it lives.
# A row that is locked is being made available or given up; waiting for several of those could end in a deadlock.
RENEW_PENDING = """
    update artifacts set created_at = clock_timestamp()
     where file_id in (select file_id from artifacts where file_id = any(%(file_ids)s) and state = 'pending'
                          for no key update skip locked)
"""

# An upload from another machine may rest for as long as its transfer is open: its sender resumes it.
_RESTING = """
    exists (select from transfers t
             where t.file_id = artifacts.file_id and t.direction = 'upload'
               and t.state in ('pending', 'in_progress') and t.expires_at > clock_timestamp())
"""

_ABANDONED = f"""
    state = 'pending' and created_at < clock_timestamp() - make_interval(secs => %(silent_seconds)s)
    and not {_RESTING}
"""

LEFT_BETWEEN_STATES = f"""
    select file_id, state, {OWN_LOCATIONS}, manifest from artifacts
     where state in ('pending', 'deleting') and (state = 'deleting' or ({_ABANDONED}))
     order by file_id
"""

HOLD_ABANDONED = f"""
    select file_id from artifacts where file_id = %(file_id)s and {_ABANDONED} for update skip locked
"""

# Verification, keys, moves, restoring ---------------------------------------------------------------------------------

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
    select {COLUMNS} from artifacts
     where {READABLE} and (verified_at is null or verified_at < %(before)s)
       and (coalesce(verified_at, 'epoch'), file_id) > (%(after_verified_at)s, %(after_file_id)s)
     order by coalesce(verified_at, 'epoch'), file_id
     limit %(limit)s
"""

# Expired files too: their bytes stay until they are deleted.
NOT_ENCRYPTED_FOR = f"""
    select {COLUMNS} from artifacts
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
       set location = spare_location, spare_location = location, size = %(size)s, sha256 = decode(%(sha256)s, 'hex'),
           stored_size = %(stored_size)s, stored_sha256 = decode(%(stored_sha256)s, 'hex'),
           encrypted_for = %(encrypted_for)s, header_sha256 = decode(%(header_sha256)s, 'hex'),
           manifest = %(manifest)s, verified_at = clock_timestamp(), damaged_at = null, damage = null
     where file_id = %(file_id)s and spare_location = %(spare_location)s and state = 'available'
    returning file_id
"""

END_MOVE = """
    update artifacts set spare_location = null where file_id = %(file_id)s and spare_location = %(spare_location)s
"""

INTERRUPTED_MOVES = f"""
    select file_id, spare_location from artifacts where spare_location is not null and not {FOREIGN_SPARE}
     order by file_id
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
               size = %(size)s, sha256 = decode(%(sha256)s, 'hex'), stored_size = %(stored_size)s,
               stored_sha256 = decode(%(stored_sha256)s, 'hex'), encrypted_for = %(encrypted_for)s,
               header_sha256 = decode(%(header_sha256)s, 'hex'), manifest = %(manifest)s, verified_at = null,
               damaged_at = null, damage = null
         where file_id = %(file_id)s and location = %(location)s and {_REVIVABLE}
        returning file_id
    ), restored as (
        insert into artifacts (file_id, state, kind, filename, source_file, document_sha256, stage, stage_name,
                               stage_key, run_id, media_type, size, sha256, stored_size, stored_sha256, location,
                               metadata, report, created_at, expires_at, encrypted_for, header_sha256,
                               manifest)
        values (%(file_id)s, 'available', %(kind)s, %(filename)s, %(source_file)s,
                decode(%(document_sha256)s, 'hex'), %(stage)s, %(stage_name)s, decode(%(stage_key)s, 'hex'),
                %(run_id)s, %(media_type)s, %(size)s, decode(%(sha256)s, 'hex'), %(stored_size)s,
                decode(%(stored_sha256)s, 'hex'), %(location)s, %(metadata)s, %(report)s, %(created_at)s,
                %(expires_at)s, %(encrypted_for)s, decode(%(header_sha256)s, 'hex'), %(manifest)s)
        on conflict do nothing
        returning file_id, run_id, source_file
    ), delivered as (
        insert into run_outputs (run_id, file_id, source_file, reused)
        select run_id, file_id, source_file, false from restored where run_id is not null
    )
    select file_id from restored union all select file_id from revived
"""

KNOWN_FILES = f"select file_id, location from artifacts where file_id = any(%(file_ids)s) and not ({_REVIVABLE})"
