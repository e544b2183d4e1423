"""Who may use the HTTP API, and what they did with it."""

from blocks.access.api_key import ADMIN, READ, SCOPES, WRITE, ApiKey, PresentedKey, parse_key
from blocks.access.audit import ACTIONS, Actor, AuditEntry, audit_entries, record
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
    "READ",
    "SCOPES",
    "WRITE",
    "Actor",
    "ApiKey",
    "AuditEntry",
    "CreatedKey",
    "PresentedKey",
    "audit_entries",
    "create_key",
    "find_key",
    "find_keys",
    "has_admin_key",
    "list_keys",
    "parse_key",
    "record",
    "record_key_use",
    "revoke_key",
]
