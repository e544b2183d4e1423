"""How much and how often: the numbers that dispatching goes by; pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The defaults are what is meant for use; tests make waits shorter."""

    # A dispatcher that was killed holds up its endpoints for this long.
    lease_seconds: float = 15.0
    # Of the lease, not to be used: our clock and the database's do not run at exactly the same speed, and the first
    # byte leaves a moment after the clock was read.
    lease_margin_seconds: float = 1.0
    # What is due again, or was left by somebody else, is found this late at most.
    poll_seconds: float = 1.0
    # After a database error; a restart of Postgres takes a few seconds.
    retry_seconds: float = 0.5
    # Between two questions to the database: what becomes due meanwhile is answered together.
    feed_pause_seconds: float = 0.004
    # Between two attempts to get hold of endpoints that are not ours: another dispatcher's wakes are heard here too.
    acquire_pause_seconds: float = 0.02
    # Between two writes of outcomes, which gathers some; what a kill in this time makes us send twice.
    settle_pause_seconds: float = 0.008
    # Attempts under way at one endpoint.
    in_flight: int = 4
    # Rows read ahead of those: a slot that becomes free finds one, and a question to the database brings several.
    read_ahead: int = 16
    # Endpoints at a time. With four connections each, under the usual limit of 1,024 open files.
    lanes: int = 128
    # An endpoint with nothing to do is given back after this; a run's events come seconds apart.
    idle_seconds: float = 10.0
    # An endpoint that cannot be signed for here is left to others, with other keys.
    shun_seconds: float = 30.0
    # What the last outcomes and the giving back get when everything ends; a database that is away is not waited for.
    end_seconds: float = 3.0

    @property
    def renew_seconds(self) -> float:
        """Two renewals may fail before the lease is lost."""
        return self.lease_seconds / 3
