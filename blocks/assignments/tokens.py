"""Tokens that allow a worker with a label to claim one assignment.

A token is a signed link of its own scope (`blocks.links.tokens`). It is a parameter of a run of Prefect, so it alone
opens nothing: a claim needs the session of an enrolled worker with that label too.
"""

from __future__ import annotations

from blocks.assignments.assignment import Assignment
from blocks.links import LinkKeys
from blocks.links.tokens import MAX_LEEWAY, Grant, check, issue
from blocks.runtime.clock import Clock, utc_now

_SCOPE = "claim"


class ClaimTokens:
    """Makes and checks tokens with the link signing keys."""

    def __init__(self, keys: LinkKeys, *, clock: Clock = utc_now) -> None:
        self._keys = keys
        self._clock = clock

    def issue(self, assignment: Assignment) -> str:
        """Return a token for *assignment*, good until it expires. Raises `InvalidSettings` without keys."""
        token, _ = issue(
            key=self._keys.signing_key(),
            scope=_SCOPE,
            subject=assignment.assignment_id,
            audience=_audience(assignment.label),
            expires_at=assignment.expires_at,
            clock=self._clock,
        )
        return token

    def check(self, token: str, *, assignment_id: str, label: str) -> Grant:
        """Return the grant of *token*. Raises `LinkInvalid`, `LinkExpired`, `InvalidSettings`."""
        return check(
            token,
            keys=self._keys.verifying_keys(),
            scope=_SCOPE,
            subject=assignment_id,
            audience=_audience(label),
            leeway=MAX_LEEWAY,
            clock=self._clock,
        )


def _audience(label: str) -> str:
    return f"label:{label}"
