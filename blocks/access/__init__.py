"""Access to the HTTP API: API keys with scopes, ended sessions of the page, the audit log, and idempotency keys.

Promises that only a hash of a key's secret is stored, that an audit entry commits together with the change it records,
and that it never holds a key, a link or content. Start reading at `api_key` (format and scopes), then `registry` (keys
in Postgres) and `audit`. `idempotency` is a subject of its own with short names (`claim`, `renew`); import it by name.
"""

from blocks.access.api_key import ADMIN, READ, WRITE, ApiKey, PresentedKey, check_name, check_scopes, parse_key
from blocks.access.audit import ACTIONS, MAX_PAGE, Action, Actor, AuditEntry, audit_entries, check_action, record
from blocks.access.ended_sessions import end_session, is_session_ended
from blocks.access.registry import (
    CreatedKey,
    create_key,
    find_key,
    find_keys,
    has_admin_key,
    list_keys,
    record_key_use,
    revoke_key,
)

__all__ = [
    "ACTIONS",
    "ADMIN",
    "MAX_PAGE",
    "READ",
    "WRITE",
    "Action",
    "Actor",
    "ApiKey",
    "AuditEntry",
    "CreatedKey",
    "PresentedKey",
    "audit_entries",
    "check_action",
    "check_name",
    "check_scopes",
    "create_key",
    "end_session",
    "find_key",
    "find_keys",
    "has_admin_key",
    "is_session_ended",
    "list_keys",
    "parse_key",
    "record",
    "record_key_use",
    "revoke_key",
]
