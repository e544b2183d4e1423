"""The SQL that finds what the catalogue has of a document, and takes it out; pure."""

from __future__ import annotations

# Files have hashes as bytes; all else, the given contents too, has hexadecimal digits.
_HASHES = "array(select decode(one, 'hex') from unnest(%(contents)s::text[]) as one)"
_OF_CONTENTS = f"any({_HASHES})"
_OF_OTHERS = f"all({_HASHES})"

# Rows of a document that was forgotten stay, without its names.
_IS_FORGOTTEN = """
    (state <> 'available' and source_file = 'forgotten document (' || left(encode(document_sha256, 'hex'), 8) || ')')
"""

# Also files that were deleted: their rows keep the name until the history is trimmed.
FIND_BY_NAME = """
    select distinct encode(document_sha256, 'hex') as sha256 from artifacts
     where state <> 'pending' and (source_file = %(name)s or source_name = %(name)s)
    union
    select sha256 from indexed_documents where source = %(name)s
    order by sha256
"""

FIND_BY_HASH = f"""
    select distinct encode(document_sha256, 'hex') as sha256 from artifacts
     where state <> 'pending' and encode(document_sha256, 'hex') like %(beginning)s and not {_IS_FORGOTTEN}
    union
    select sha256 from indexed_documents where sha256 like %(beginning)s
    union
    select sha256 from forgettings where sha256 like %(beginning)s and state = 'under_way'
    order by sha256 limit 20
"""

# Documents that were made from a file of the document: with its source, and the content of one of its outputs.
MADE_FROM = f"""
    select distinct encode(made.document_sha256, 'hex') as sha256
      from artifacts output join artifacts made on made.document_sha256 = output.sha256
     where output.document_sha256 = {_OF_CONTENTS} and output.kind = 'stage_output'
       and made.source_file = any(array(select source_file from artifacts where document_sha256 = {_OF_CONTENTS}))
       and made.document_sha256 <> {_OF_OTHERS}
"""

# Files that are being stored of a document with such a content. Whether it has the same source, their rows do not say.
BEING_MADE_FROM = f"""
    select count(*) as files
      from artifacts output join artifacts made on made.document_sha256 = output.sha256
     where output.document_sha256 = {_OF_CONTENTS} and output.kind = 'stage_output' and made.state = 'pending'
"""

FILES = f"""
    select file_id, state, kind, filename, source_file, stage, run_id, size, media_type, pinned_at, held_at, metadata,
           created_at
      from artifacts where document_sha256 = {_OF_CONTENTS}
     order by created_at, file_id
"""
LOCK_FILES = f"{FILES} for update"

SOURCES_OF_FILES = "select distinct source_file as source from run_outputs where file_id = any(%(file_ids)s)"

INDEXED = """
    select d.sha256, d.title, d.source,
           (select count(*) from indexed_chunks c where c.document_id = d.document_id) as passages,
           (select count(embedding) from indexed_chunks c where c.document_id = d.document_id) as vectors,
           (select count(*) from indexed_facts f where f.document_id = d.document_id) as facts,
           (select count(*) from indexed_entities e where e.document_id = d.document_id) as entities,
           (select count(*) from indexed_keywords k where k.document_id = d.document_id) as keywords
      from indexed_documents d where d.sha256 = any(%(contents)s)
"""
INDEXED_TEXTS = """
    select c.text from indexed_chunks c join indexed_documents d using (document_id)
     where d.sha256 = any(%(contents)s) order by c.document_id, c.ordinal
"""
REMOVE_INDEXED = "delete from indexed_documents where sha256 = any(%(contents)s)"

# Names that another document has, too.
SHARED = f"""
    select name from unnest(%(names)s::text[]) as name
     where exists (select from artifacts a where a.document_sha256 <> {_OF_OTHERS} and a.state <> 'pending'
                      and (a.source_file = name or a.source_name = name or a.filename = name))
"""

# Names of other documents with one of the names in them.
LONGER_NAMES = f"""
    select distinct name from artifacts, unnest(array[source_file, source_name, filename]) as name
     where document_sha256 <> {_OF_OTHERS} and state <> 'pending' and name ilike any(%(patterns)s)
     limit %(limit)s
"""

_EVENT_TEXT = "convert_from(coalesce(whole_body, body), 'UTF8')"
# A body has only valid UTF-8: the outbox writes it.
EVENTS = f"""
    select event_id, task_id, source_file, body, whole_body from webhook_events
     where {_EVENT_TEXT} ilike any(%(patterns)s) or source_file ilike any(%(names)s)
        or (task_id = any(%(run_ids)s) and {_EVENT_TEXT} ilike any(%(about)s))
"""
PUT_EVENT = """
    update webhook_events set body = %(body)s, whole_body = %(whole_body)s, source_file = %(source_file)s
     where event_id = %(event_id)s
"""
WITHDRAW = """
    update webhook_deliveries set state = 'dead', settled_at = clock_timestamp()
     where event_id = any(%(event_ids)s) and state = 'pending'
"""
# What a receiver has answered, to whichever event of such a run, may quote what it was sent.
EMPTY_ATTEMPTS = """
    update webhook_attempts a set answer = null
      from webhook_deliveries d join webhook_events e using (event_id)
     where d.delivery_id = a.delivery_id and a.answer is not null
       and (e.event_id = any(%(event_ids)s) or e.task_id = any(%(run_ids)s))
"""
RUNS_OF_EVENTS = f"""
    select distinct task_id as run_id from webhook_events
     where task_id is not null and event_type in ('stage_completed', 'stage_failed', 'stage_chain_completed')
       and {_EVENT_TEXT} ilike any(%(patterns)s)
"""

# run_id of the artifact is the run that made it; other runs may have been given it.
RUNS = f"""
    select run_id from artifacts where document_sha256 = {_OF_CONTENTS} and run_id is not null
    union select run_id from run_outputs where file_id = any(%(file_ids)s)
    union select a.run_id from assignments a join assignment_jobs j using (assignment_id)
           where j.document::text ilike any(%(patterns)s)
    union select a.remote_run_id from assignments a join assignment_jobs j using (assignment_id)
           where a.remote_run_id is not null and j.document::text ilike any(%(patterns)s)
"""

OPEN_ASSIGNMENTS = """
    select count(*) as jobs from assignments a join assignment_jobs j using (assignment_id)
     where a.state in ('waiting', 'claimed') and a.expires_at > clock_timestamp()
       and j.document::text ilike any(%(patterns)s)
"""
REMOVE_JOBS = """
    delete from assignment_jobs j using assignments a
     where a.assignment_id = j.assignment_id and j.document::text ilike any(%(patterns)s)
"""

# The rows stay: what asks for such a file is answered that it is gone.
ENTOMB = f"""
    update artifacts
       set state = case when state = 'available' then 'deleting' else state end, filename = %(instead)s,
           source_file = %(instead)s, metadata = '{{}}', report = '{{}}', damaged_at = null, damage = null,
           pinned_at = null, pin_note = null
     where document_sha256 = {_OF_CONTENTS} and state <> 'pending' and held_at is null
"""
REMOVE_OUTPUTS = """
    delete from run_outputs where file_id = any(%(file_ids)s)
"""
UNFINISHED = f"select file_id from artifacts where document_sha256 = {_OF_CONTENTS} and state = 'deleting'"

OPEN_TRANSFERS = """
    select transfer_id from transfers where file_id = any(%(file_ids)s) and state in ('pending', 'in_progress')
"""
# The header of a completed download opens its bytes again for a while.
EMPTY_TRANSFERS = """
    update transfers set filename = %(instead)s, metadata = '{}', header = null, replaced_bytes = 0
     where file_id = any(%(file_ids)s)
"""
# The same request again, with the same key, stores the file again.
REMOVE_REQUESTS = """
    delete from idempotent_requests
     where file_id = any(%(file_ids)s) or answer::text ilike any(%(patterns)s)
"""

# Files of exports that were written while the document was in the catalogue, and are still there.
EXPORTS = f"""
    select job_id from export_jobs
     where state = 'completed' and expires_at > clock_timestamp()
       and ended_at >= (select min(created_at) from artifacts where document_sha256 = {_OF_CONTENTS})
     order by job_id limit 1000
"""

OTHERS = f"""
    select o.run_id, o.source_file as source, count(*) as files, coalesce(sum(a.size), 0)::bigint as bytes
      from run_outputs o join artifacts a using (file_id)
     where o.run_id = any(%(run_ids)s) and a.state = 'available' and a.document_sha256 <> {_OF_OTHERS}
     group by o.run_id, o.source_file order by o.run_id, o.source_file
     limit 1000
"""

# Forgettings ----------------------------------------------------------------------------------------------------------

_FORGETTING = "forgetting_id, sha256, contents, file_ids, run_ids, names, traces, counts, began_at"

BEGIN = f"""
    insert into forgettings (forgetting_id, sha256, requested_by, contents, file_ids, run_ids, names, traces, counts)
    values (%(forgetting_id)s, %(sha256)s, %(requested_by)s, %(contents)s, %(file_ids)s, %(run_ids)s, %(names)s,
            %(traces)s, %(counts)s)
    returning {_FORGETTING}
"""
UNDER_WAY = f"select {_FORGETTING} from forgettings where sha256 = %(sha256)s and state = 'under_way'"
BY_NAME = """
    select sha256 from forgettings
     where state = 'under_way' and (names -> 'alone' ? %(name)s or names -> 'shared' ? %(name)s)
"""
LAST = """
    select ended_at from forgettings where sha256 like %(beginning)s and state = 'done' order by ended_at desc limit 1
"""
ADD_COUNTS = "update forgettings set counts = counts || %(counts)s::jsonb where forgetting_id = %(forgetting_id)s"
FINISH = """
    update forgettings
       set state = 'done', ended_at = clock_timestamp(), names = null, traces = null, certificate = %(certificate)s
     where forgetting_id = %(forgetting_id)s and state = 'under_way'
"""
# One process at a time; the lock of one that was killed is free.
LOCK = "select pg_try_advisory_lock(hashtextextended('waybill.forget.' || %(sha256)s, 0)) as mine"
NOW = "select clock_timestamp() as now"
