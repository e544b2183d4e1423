"""When one file goes and by which rule, by a policy and as far as it is known now.

`foresee` is pure: it judges the file now, and then at each time at which the answer changes. A file's neighbours in the
catalogue decide with it: the newest of its source and stage, and what was made from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from blocks.catalog import Connection
from blocks.catalog.outlook import Outlook
from blocks.postgres import Row, fetch_all, fetch_optional
from blocks.retention import judging
from blocks.retention.plans import judge
from blocks.retention.policy import REMOVING, Candidate, RetentionPolicy, decide

# Its own end, the end of its source's period, and its minimum age: after three changes nothing more changes.
_MOST_CHANGES = 4

# The file; with `keep_inputs` all of its document; and the newest of each of their sources and stages.
_NEIGHBOURS = """
    with concerned as (
        select file_id, source_file, kind, stage from artifacts where file_id = %(file_id)s and state = 'available'
        union
        select file_id, source_file, kind, stage from artifacts
         where %(keep_inputs)s and state = 'available'
           and document_sha256 = (select document_sha256 from artifacts where file_id = %(file_id)s)
    ), chosen as (
        select file_id from concerned
        union
        select newest.file_id
          from (select distinct source_file, kind, stage from concerned) as c
         cross join lateral (
               select a.file_id from artifacts a
                where a.state = 'available' and left(a.source_file, 512) = left(c.source_file, 512)
                  and a.source_file = c.source_file and a.kind = c.kind and a.stage is not distinct from c.stage
                order by a.created_at desc, a.file_id desc limit %(keep_newest)s) as newest
    )
    select a.file_id, a.kind, a.source_file, a.stage, encode(a.document_sha256, 'hex') as document_sha256,
           a.created_at, a.expires_at, a.stored_size,
           a.pinned_at is not null as pinned, a.held_at is not null as held,
           exists (select from artifact_readers r
                    where r.file_id = a.file_id and r.read_until > clock_timestamp()) as reading,
           clock_timestamp() as now
      from artifacts a join chosen using (file_id)
"""


def foresee(candidates: Iterable[Candidate], policy: RetentionPolicy, file_id: UUID, now: datetime) -> Outlook:
    """Return when *file_id*, one of the *candidates*, goes if nothing is stored, pinned or changed until then."""
    files, at, kept_now = list(candidates), now, None
    for _ in range(_MOST_CHANGES):
        decision = next(one for one in decide(files, policy, at) if one.file_id == file_id)
        if decision.remove:
            return Outlook(goes_at=at, goes_because=decision.rule, kept_because=kept_now)
        kept_now = kept_now or decision.rule
        if decision.goes_at is None or decision.goes_at <= at:
            return Outlook(kept_because=decision.rule)
        at = decision.goes_at
        files = [replace(one, reading=False) for one in files]  # they will have been read by then
    return Outlook(kept_because=kept_now)


async def outlook_of(connection: Connection, policy: RetentionPolicy, file_id: UUID) -> Outlook | None:
    """Return when an available file goes, without the size budget of the policy; None when there is no such file."""
    values: Row = {"file_id": file_id, "keep_newest": policy.keep_newest, "keep_inputs": policy.keep_inputs}
    rows = await fetch_all(connection, _NEIGHBOURS, values)
    if not any(row["file_id"] == file_id for row in rows):
        return None
    now = rows[0]["now"]
    candidates = [Candidate(**{name: value for name, value in row.items() if name != "now"}) for row in rows]
    return foresee(candidates, policy.model_copy(update={"max_stored_bytes": None}), file_id, now)


async def removed_now(connection: Connection, policy: RetentionPolicy, file_id: UUID) -> Outlook | None:
    """Return the outlook of a file that the next run removes, judged with all others; None when it stays.

    Call it in a transaction. Looks at the whole catalogue: some seconds for a million files.
    """
    values, _ = await judge(connection, policy)
    row = await fetch_optional(connection, judging.FOUND_RULE, {**values, "file_id": file_id})
    if row is None or row["rule"] not in REMOVING:
        return None
    return Outlook(goes_at=values["now"], goes_because=row["rule"])
