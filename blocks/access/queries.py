"""The SQL of API keys and the audit log; pure."""

from __future__ import annotations

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

FIND_KEY = f"select {_KEY} from api_keys where key_id = %(key_id)s"

LIST_KEYS = f"select {_KEY} from api_keys order by created_at desc, key_id"

# The first revocation counts.
REVOKE_KEY = f"""
    update api_keys set revoked_at = coalesce(revoked_at, clock_timestamp())
     where key_id = %(key_id)s
    returning {_KEY}
"""

HAS_ADMIN_KEY = f"select exists (select from api_keys where 'admin' = any(scopes) and {_USABLE}) as found"

NOTE_USE = "update api_keys set last_used_at = clock_timestamp() where key_id = %(key_id)s"

RECORD = """
    insert into audit_log (action, actor, file_id, run_id, client, request_id, detail)
    select action, actor, file_id, run_id, client, request_id, coalesce(detail, '{}')
      from jsonb_to_recordset(%(rows)s::jsonb) as row (
           action text, actor text, file_id uuid, run_id uuid, client text, request_id text, detail jsonb)
"""


def audited_statement(*, action: bool, actor: bool, file: bool, hours: bool, after: bool) -> str:
    """The log for the filters that are given, newest first, one page by key set."""
    conditions = ["true"]
    if action:
        conditions.append("action = %(action)s")
    if actor:
        conditions.append("actor = %(actor)s")
    if file:
        conditions.append("file_id = %(file_id)s")
    if hours:
        conditions.append("recorded_at > clock_timestamp() - make_interval(secs => %(seconds)s)")
    if after:
        conditions.append("entry_id < %(after)s")
    return f"""
        select entry_id, recorded_at, action, actor, file_id, run_id, client, request_id, detail from audit_log
         where {" and ".join(conditions)}
         order by entry_id desc
         limit %(limit)s
    """
