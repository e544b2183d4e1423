"""All SQL of workers and enrolment codes. The database's clock decides what has expired; pure."""

from __future__ import annotations

_COLUMNS = """
    w.name, w.recipient, w.labels, w.version, w.address, w.enrolled_at, w.enrolled_by, w.last_seen_at, w.revoked_at,
    (select count(*) from assignments a where a.worker = w.name and a.state = 'claimed') as running,
    coalesce(w.last_seen_at > clock_timestamp() - interval '15 s', false) as seen_lately
"""

# Codes that are over say who invited whom; the audit log keeps that.
FORGET_CODES = "delete from worker_codes where expires_at < clock_timestamp() - interval '30 days'"

CREATE_CODE = """
    insert into worker_codes (code_sha256, name, labels, created_by, expires_at)
    values (%(code_sha256)s, %(name)s, %(labels)s, %(created_by)s, clock_timestamp() + %(lasts)s)
    returning created_at, expires_at
"""

# Of two that enrol with one code, the second waits here for the first, and then finds it used.
USABLE_CODE = """
    select name, labels, created_by from worker_codes
     where code_sha256 = %(code_sha256)s and used_at is null and expires_at > clock_timestamp()
       for update
"""

USE_CODE = """
    update worker_codes set used_at = clock_timestamp(), used_by = %(name)s where code_sha256 = %(code_sha256)s
"""

ENROLL = f"""
    with made as (
        insert into workers (name, recipient, labels, version, address, enrolled_by, last_seen_at)
        values (%(name)s, %(recipient)s, %(labels)s, %(version)s, %(address)s, %(enrolled_by)s, clock_timestamp())
        on conflict do nothing
        returning *
    )
    select {_COLUMNS} from made w
"""

IS_TAKEN = "select exists (select from workers where name = %(name)s) as found"

# A worker reports every 15 s, and loses what it has after 60.
COUNT = """
    select case when revoked_at is not null then 'revoked'
                when last_seen_at > clock_timestamp() - interval '60 s' then 'present'
                else 'absent' end as state,
           count(*) as workers
      from workers
     group by 1
"""

GET = f"select {_COLUMNS} from workers w where w.name = %(name)s"

FIND = f"select {_COLUMNS} from workers w where w.name = any(%(names)s)"

# A revocation waits for the transaction that holds this, and is waited for.
GET_FOR_SHARE = f"{GET} for share of w"

GET_FOR_UPDATE = f"{GET} for no key update of w"

LIST = f"select {_COLUMNS} from workers w order by w.revoked_at is not null, w.name"

SET_LABELS = "update workers set labels = %(labels)s where name = %(name)s"

REVOKE = "update workers set revoked_at = clock_timestamp() where name = %(name)s and revoked_at is null"

# Many requests a second come from one worker; one write in 15 s says as much. A row that a transaction holds is left
# alone: no request waits for this.
TOUCH = """
    update workers
       set last_seen_at = clock_timestamp(), address = coalesce(%(address)s, address),
           version = coalesce(%(version)s, version)
     where name = (
           select name from workers
            where name = %(name)s and revoked_at is null
              and (last_seen_at is null or last_seen_at < clock_timestamp() - interval '15 s'
                   or version is distinct from coalesce(%(version)s, version))
              for no key update skip locked)
"""
