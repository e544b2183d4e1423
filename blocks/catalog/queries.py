"""The SQL by which files are stored, read, kept, deleted and listed; pure.

The database's clock, never an application's, decides which files have expired. `maintenance_queries` and
`statistics_queries` have the rest.
"""

from __future__ import annotations

from collections.abc import Iterable

from blocks.catalog.artifact import KINDS, Kind

# Hashes and stage keys are bytes in the table, and hexadecimal digits everywhere else.
COLUMNS = """
    file_id, kind, filename, source_file, encode(document_sha256, 'hex') as document_sha256, stage, stage_name,
    encode(stage_key, 'hex') as stage_key, run_id, media_type, size, encode(sha256, 'hex') as sha256, stored_size,
    encode(stored_sha256, 'hex') as stored_sha256, location, metadata, report, created_at, expires_at, encrypted_for,
    encode(header_sha256, 'hex') as header_sha256, manifest, verified_at, damaged_at, damage, pinned_at, pin_note,
    held_at, hold_note
"""

# A pinned file, and one under a legal hold, stays whatever its expires_at says.
KEPT = "(pinned_at is not null or held_at is not null)"

# Where a file has bytes: those that readers use, and during a move those that they do not. What is the place of another
# file is left out: SQL may write that, and the other file would lose its bytes.
FOREIGN_SPARE = "exists (select from artifacts other where other.location = artifacts.spare_location)"
OWN_LOCATIONS = f"""
    array_remove(
        array[location, case when spare_location is not null and not {FOREIGN_SPARE} then spare_location end], null
    ) as locations
"""

# Readers do not see an expired file, even while its bytes are still stored.
READABLE = f"state = 'available' and (expires_at > clock_timestamp() or {KEPT})"

# An output that is about to expire is not reused: it would disappear while the run needs it. Nor is a damaged one: it
# is made again.
_REUSABLE = f"""
    state = 'available' and damaged_at is null
    and (expires_at > clock_timestamp() + interval '1 hour' or {KEPT})
"""

# A B-tree key has 2.7 kB at most, and a path or a signed URL may be longer: the index holds the beginning.
_SAME_SOURCE = "left(source_file, 512) = left(%(source)s, 512) and source_file = %(source)s"

# Any number of rows in one statement, as one JSON array. Returns the time. A pending row has what others read of it:
# its path, its run, its document, and its name for people. The rest is written with the file, since the row is then
# written again as a whole. It is given nevertheless: what is no text for Postgres is refused before anything is stored.
RESERVE = """
    with reserved as (
        insert into artifacts (file_id, state, filename, document_sha256, run_id, location, expires_at)
        select file_id, 'pending', filename, decode(document_sha256, 'hex'), run_id, location,
               clock_timestamp() + make_interval(secs => keep_for_seconds)
          from jsonb_to_recordset(%(rows)s::jsonb) as row (
               file_id uuid, filename text, document_sha256 text, run_id uuid, location text,
               keep_for_seconds double precision)
    )
    select clock_timestamp() as now
"""

# The only way from pending to available, with the hashes of the written bytes; any number of files, as one JSON array.
# A run delivers every file that it makes. Common table expressions, because the outbox records events in the same
# statement (ADR 0015).
MAKE_AVAILABLE_CTES = """
    made as (
        update artifacts
           set state = 'available', kind = written.kind, source_file = written.source_file, stage = written.stage,
               stage_name = written.stage_name, stage_key = decode(written.stage_key, 'hex'), size = written.size,
               sha256 = decode(written.sha256, 'hex'), stored_size = written.stored_size,
               stored_sha256 = decode(written.stored_sha256, 'hex'), encrypted_for = written.encrypted_for,
               header_sha256 = decode(written.header_sha256, 'hex'), manifest = written.manifest,
               created_at = written.created_at, expires_at = written.expires_at,
               document_sha256 = decode(written.document_sha256, 'hex'), media_type = written.media_type,
               metadata = written.metadata, report = written.report
          from jsonb_to_recordset(%(files)s::jsonb) as written (
               file_id uuid, kind text, source_file text, document_sha256 text, stage smallint, stage_name text,
               stage_key text, media_type text, size bigint, sha256 text, stored_size bigint, stored_sha256 text,
               encrypted_for text, header_sha256 text, manifest text, created_at timestamptz, expires_at timestamptz,
               metadata jsonb, report jsonb)
         where artifacts.file_id = written.file_id and artifacts.state = 'pending'
        returning artifacts.*
    ), delivered as (
        insert into run_outputs (run_id, file_id, source_file, reused)
        select run_id, file_id, source_file, false from made where run_id is not null
    )
"""

MAKE_AVAILABLE = f"with {MAKE_AVAILABLE_CTES} select {COLUMNS} from made"

MAKE_ALL_AVAILABLE = f"with {MAKE_AVAILABLE_CTES} select file_id from made"

# Locks to the end of the transaction. Waits for a transaction that is changing the row, even if its client is gone.
LOCK_STATE = "select state from artifacts where file_id = %(file_id)s for update"

# A commit takes milliseconds; a transaction whose client has vanished from the network may stay open for hours.
LOCK_TIMEOUT = "set local lock_timeout = '10s'"

FORGET_PENDING = "delete from artifacts where file_id = any(%(file_ids)s) and state = 'pending'"

RECORD_USES = """
    insert into run_outputs (run_id, file_id, source_file, reused)
    select %(run_id)s, file_id, source_file, %(reused)s
      from unnest(%(file_ids)s::uuid[], %(source_files)s::text[]) as used (file_id, source_file)
    on conflict do nothing
"""

GET = f"select {COLUMNS} from artifacts where file_id = %(file_id)s and {READABLE}"

FIND_READABLE = f"select {COLUMNS} from artifacts where file_id = any(%(file_ids)s) and {READABLE}"

# Expired files too: their bytes stay until they are deleted.
GET_STORED = f"select {COLUMNS} from artifacts where file_id = %(file_id)s and state = 'available'"

# The kind of a file that cannot be read, if it existed at some time.
WAS_THERE = "select kind, state from artifacts where file_id = %(file_id)s and state <> 'pending'"

FIND_REUSABLE = f"""
    select distinct on (artifacts.stage_key) {COLUMNS}
      from artifacts
     where stage_key = any(array(select decode(key, 'hex') from unnest(%(stage_keys)s::text[]) key)) and {_REUSABLE}
           and (%(of_run)s::uuid is null or run_id = %(of_run)s)
     order by artifacts.stage_key, created_at desc
"""

# For each pair the newest, found by the index on sources.
FIND_UPLOADS = f"""
    select found.*
      from unnest(%(sources)s::text[], %(sha256s)s::text[]) as wanted (source, sha256)
     cross join lateral (
           select {COLUMNS} from artifacts
            where kind = 'upload' and left(source_file, 512) = left(wanted.source, 512)
              and source_file = wanted.source and artifacts.sha256 = decode(wanted.sha256, 'hex') and {_REUSABLE}
            order by created_at desc
            limit 1) found
"""

TOMBSTONE = f"""
    update artifacts set state = 'deleting'
     where file_id = %(file_id)s and (state = 'deleting' or (state = 'available' and not {KEPT}))
    returning {OWN_LOCATIONS}, manifest
"""

PIN = f"""
    update artifacts set pinned_at = coalesce(pinned_at, clock_timestamp()), pin_note = %(note)s
     where file_id = %(file_id)s and {READABLE}
    returning {COLUMNS}
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
    returning {COLUMNS}
"""

# Also an expired file that is still stored: the evidence that a hold is for may have expired yesterday.
HOLD = f"""
    update artifacts set held_at = coalesce(held_at, clock_timestamp()), hold_note = %(note)s
     where file_id = %(file_id)s and state = 'available'
    returning {COLUMNS}
"""

RELEASE = f"""
    update artifacts set held_at = null, hold_note = null, {_WITH_GRACE}
     where file_id = %(file_id)s and state = 'available' and held_at is not null
    returning {COLUMNS}
"""

FINISH_DELETION = """
    update artifacts set state = 'deleted', deleted_at = clock_timestamp(), spare_location = null
     where file_id = %(file_id)s and state = 'deleting'
"""

# Documents of removed files without a stored file leave the search index. The last of several transactions that remove
# files of a document sees what the others have removed: this runs after the tombstones are committed.
REMOVE_FROM_INDEX = """
    delete from indexed_documents d
     where d.sha256 in (
           select encode(g.document_sha256, 'hex') from artifacts g
            where g.file_id = any(%(file_ids)s) and g.state in ('deleting', 'deleted')
              and not exists (select from artifacts a
                               where a.document_sha256 = g.document_sha256 and a.state = 'available')
              and not exists (select from artifacts a
                               where a.document_sha256 = g.document_sha256 and a.state = 'pending'))
"""

UNFINISHED_OF_RUN = f"""
    select file_id, state, {OWN_LOCATIONS}, manifest from artifacts
     where run_id = %(run_id)s and state in ('pending', 'deleting')
"""

IN_ANY_STATE = f"""
    select file_id, state, filename, created_at, expires_at, deleted_at, removed_because, {READABLE} as readable,
           expires_at <= clock_timestamp() as expired
      from artifacts where file_id = %(file_id)s
"""

# Those that run out earlier, and no other.
EXTEND_ALL = f"""
    update artifacts set expires_at = clock_timestamp() + make_interval(secs => %(seconds)s),
           extended_at = clock_timestamp()
     where file_id = any(%(file_ids)s) and {READABLE}
       and expires_at < clock_timestamp() + make_interval(secs => %(seconds)s)
"""

# Never to an earlier time unless asked for, and never into the past.
EXTEND = f"""
    update artifacts set expires_at = wanted_until, extended_at = clock_timestamp()
      from (select coalesce(%(until)s::timestamptz, clock_timestamp() + make_interval(secs => %(seconds)s))
                   as wanted_until) as wanted
     where file_id = %(file_id)s and state = 'available' and (%(even_expired)s or {READABLE})
       and wanted_until > clock_timestamp() and (expires_at < wanted_until or %(shorten)s)
    returning {COLUMNS}
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

NOW = "select clock_timestamp() as now"

# Lists ----------------------------------------------------------------------------------------------------------------

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
    "document_sha256": "document_sha256 = %(document_sha256)s::bytea",
    "after_file_id": "(created_at, file_id) < (%(after_created_at)s, %(after_file_id)s)",
}
# Not as a parameter: the index by kind has no outputs of stages, and the planner must see that it has this kind.
_OF_KIND = {kind: f"kind = '{kind}'" for kind in KINDS}


def list_statement(filters: Iterable[str], *, kind: Kind | None = None) -> str:
    """Return the listing for the given *filters* and *kind*, newest first, paged by key set (never by offset)."""
    conditions = [READABLE, *(_LIST_FILTERS[name] for name in filters if name in _LIST_FILTERS)]
    if kind is not None:
        conditions.append(_OF_KIND.get(kind, "false"))
    return f"""
        select {COLUMNS} from artifacts
         where {" and ".join(f"({condition})" for condition in conditions)}
         order by created_at desc, file_id desc
         limit %(limit)s
    """
