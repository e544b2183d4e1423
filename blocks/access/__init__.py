"""Who may use the HTTP API, and what they did with it."""

from blocks.access.api_key import ADMIN, READ, SCOPES, WRITE, ApiKey, Presented, read_presented
from blocks.access.audit import ACTIONS, Actor, AuditEntry, audited, record
from blocks.access.registry import Made, create_key, find_key, find_keys, has_admin_key, list_keys, note_use, revoke_key

__all__ = [
    "ACTIONS",
    "ADMIN",
    "READ",
    "SCOPES",
    "WRITE",
    "Actor",
    "ApiKey",
    "AuditEntry",
    "Made",
    "Presented",
    "audited",
    "create_key",
    "find_key",
    "find_keys",
    "has_admin_key",
    "list_keys",
    "note_use",
    "read_presented",
    "record",
    "revoke_key",
]
