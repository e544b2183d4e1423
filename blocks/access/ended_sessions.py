"""Sessions of the page that were ended before their time, for all gateways of a catalogue.

A session is a signed token that no table knows; only its end is recorded, until it would have expired anyway. Every
call takes the caller's connection.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from blocks.access import queries
from blocks.postgres import Connection, execute, fetch_row


async def end_session(connection: Connection, session_id: str, expires_at: datetime) -> None:
    """Record that a session has ended. Idempotent. Forgets sessions that have expired."""
    await execute(connection, queries.FORGET_SESSIONS, {})
    await execute(connection, queries.END_SESSION, {"session": _digest(session_id), "expires_at": expires_at})


async def is_session_ended(connection: Connection, session_id: str) -> bool:
    """Return whether a session that has not expired was ended."""
    return bool((await fetch_row(connection, queries.IS_SESSION_ENDED, {"session": _digest(session_id)}))["ended"])


def _digest(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode()).digest()
