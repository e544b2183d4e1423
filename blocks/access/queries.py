"""All SQL of API keys, ended sessions, the audit log and idempotent requests; pure."""

from __future__ import annotations

from collections.abc import Iterable

_USABLE = "(revoked_at is null and (expires_at is null or expires_at > clock_timestamp()))"

_KEY = f"""
    key_id, name, secret_sha256, scopes, requests_per_minute, created_at, expires_at, revoked_at, last_used_at,
    {_USABLE} as usable
"""

CREATE_KEY = f"""
    insert into api_keys (key_id, name, secret_sha256, scopes, requests_per_minute, expires_at)
    values (%(key_id)s, %(name)s, %(secret_sha256)s, %(scopes)s, %(requests_per_minute)s,
            clock_timestamp() + make_interval(secs => %(keep_for_seconds)s))
    returning {_KEY}
"""

FIND_KEYS = f"select {_KEY} from api_keys where key_id = any(%(key_ids)s)"

LIST_KEYS = f"select {_KEY} from api_keys order by created_at desc, key_id"

# The first revocation counts.
REVOKE_KEY = f"""
    update api_keys set revoked_at = coalesce(revoked_at, clock_timestamp())
     where key_id = %(key_id)s
    returning {_KEY}
"""

HAS_ADMIN_KEY = f"select exists (select from api_keys where 'admin' = any(scopes) and {_USABLE}) as found"

RECORD_KEY_USE = "update api_keys set last_used_at = clock_timestamp() where key_id = %(key_id)s"

RECORD = """
    insert into audit_log (action, actor, file_id, run_id, client, request_id, detail)
    select action, actor, file_id, run_id, client, request_id, coalesce(detail, '{}')
      from jsonb_to_recordset(%(rows)s::jsonb) as row (
           action text, actor text, file_id uuid, run_id uuid, client text, request_id text, detail jsonb)
"""

# Ended sessions -------------------------------------------------------------------------------------------------------

END_SESSION = """
    insert into ended_sessions (session_sha256, expires_at) values (%(session)s, %(expires_at)s) on conflict do nothing
"""

IS_SESSION_ENDED = "select exists (select from ended_sessions where session_sha256 = %(session)s) as ended"

# A day later: the clock of a gateway, which decides when a session expires, may be behind.
FORGET_SESSIONS = "delete from ended_sessions where expires_at < clock_timestamp() - interval '1 day'"

# Idempotent requests --------------------------------------------------------------------------------------------------

# A hundred at a time, so that no request waits for it.
FORGET_REQUESTS = """
    delete from idempotent_requests
     where ctid = any(array(
           select ctid from idempotent_requests
            where created_at < clock_timestamp() - make_interval(secs => %(remembered_seconds)s)
            order by created_at limit 100 for update skip locked))
"""

# The first request inserts; a later one takes over from a process that released its claim or was killed.
CLAIM_REQUEST = """
    insert into idempotent_requests as known (key_id, idempotency_key, claim, claimed_until)
    values (%(key_id)s, %(idempotency_key)s, %(claim)s, clock_timestamp() + make_interval(secs => %(seconds)s))
    on conflict (key_id, idempotency_key) do update
       set claim = excluded.claim, claimed_until = excluded.claimed_until
     where known.answer is null and known.claimed_until < clock_timestamp()
    returning key_id, idempotency_key, claim, created_at, fingerprint, file_id
"""

ANSWERED_REQUEST = """
    select key_id, idempotency_key, fingerprint, answer, claimed_until > clock_timestamp() as is_under_way
      from idempotent_requests
     where key_id = %(key_id)s and idempotency_key = %(idempotency_key)s and answer is not null
"""

_CLAIMED = "key_id = %(key_id)s and idempotency_key = %(idempotency_key)s and claim = %(claim)s"

RENEW_REQUEST = f"""
    update idempotent_requests set claimed_until = clock_timestamp() + make_interval(secs => %(seconds)s)
     where {_CLAIMED}
"""

RECORD_STORED = f"""
    update idempotent_requests set fingerprint = %(fingerprint)s, file_id = %(file_id)s where {_CLAIMED}
"""

RECORD_ANSWER = f"""
    update idempotent_requests set fingerprint = %(fingerprint)s, answer = %(answer)s::jsonb where {_CLAIMED}
"""

RELEASE_REQUEST = f"update idempotent_requests set claimed_until = clock_timestamp() where {_CLAIMED}"

FORGET_UNDONE_REQUEST = f"delete from idempotent_requests where {_CLAIMED} and file_id is null and answer is null"


_AUDIT_FILTERS = {
    "action": "action = %(action)s",
    "actor": "actor = %(actor)s",
    "file_id": "file_id = %(file_id)s",
    "within_seconds": "recorded_at > clock_timestamp() - make_interval(secs => %(within_seconds)s)",
    "after": "entry_id < %(after)s",
}


def audit_statement(filters: Iterable[str]) -> str:
    """Return the log for the given *filters*, newest first, paged by key set."""
    return f"""
        select entry_id, recorded_at, action, actor, file_id, run_id, client, request_id, detail from audit_log
         where {" and ".join(["true", *(_AUDIT_FILTERS[name] for name in filters)])}
         order by entry_id desc
         limit %(limit)s
    """
