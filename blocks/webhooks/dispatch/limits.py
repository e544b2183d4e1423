"""Limits and intervals of a dispatcher."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The defaults are those for production; tests shorten the intervals."""

    # The endpoints of a dispatcher that was killed wait for this long.
    lease_seconds: float = 15.0
    # The last part of the lease is not used: this machine's clock and the database's differ slightly in speed, and the
    # first byte is sent a moment after the clock was read.
    lease_margin_seconds: float = 1.0
    # Retries that become due and endpoints that another dispatcher left are found this late at most.
    poll_seconds: float = 1.0
    # After a database error; a restart of Postgres takes a few seconds.
    retry_seconds: float = 0.5
    # Between two queries for due deliveries, so that one query answers several notifications.
    feed_pause_seconds: float = 0.004
    # Between two tries to lease endpoints: this dispatcher also hears notifications that another one acts on.
    acquire_pause_seconds: float = 0.02
    # Between two writes of outcomes, so that one write covers several. A kill in this time causes double sends.
    write_pause_seconds: float = 0.008
    # Concurrent attempts at one endpoint.
    in_flight: int = 4
    # Deliveries read ahead of those, so that a free slot is filled without a query for each.
    read_ahead: int = 16
    # Leased endpoints. With four connections each, below the usual limit of 1,024 open files.
    max_endpoints: int = 128
    # An idle endpoint is released after this; the events of one run come seconds apart.
    idle_seconds: float = 10.0
    # An endpoint whose secret cannot be opened here is left to dispatchers with other keys for this long.
    cooldown_seconds: float = 30.0
    # At shutdown, for the last outcomes and the release of leases; a database outage must not delay the end.
    end_seconds: float = 3.0

    @property
    def renew_seconds(self) -> float:
        """The interval of renewals: two may fail before the lease is lost."""
        return self.lease_seconds / 3
