"""Record the missing events of one run, by its states in Prefect. Idempotent: an event has its state's id."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType

from blocks.catalog import Connection, run_counts
from blocks.errors import Permanent
from blocks.runs.prefect_lists import read_states
from blocks.runs.progress import read_progress
from blocks.runs.run_events import WITH_RESULT, RunDetails, has_event, run_event, webhook_url_of
from blocks.runs.upload_tasks import is_shared
from blocks.settings import Settings
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox import Event, add_events, history
from blocks.webhooks.registration import set_run_webhook
from blocks.webhooks.secrets import SecretBox
from flows.events.upload_events import events_of_uploads

_LOG = logging.getLogger("waybill.webhooks")

# The progress of runs that ended here has to be read; the other states imply it.
_STOPPED = frozenset({StateType.FAILED, StateType.CANCELLED, StateType.CRASHED})


@dataclass(frozen=True, kw_only=True)
class RunHistory:
    """A run and all of its states, oldest first. The run was read first: a state set in between is found next time.

    *unreadable_states*: why only the run's present state could be read, if so.
    """

    run: FlowRun
    states: Sequence[State[Any]]
    progress: float
    unreadable_states: str | None = None


async def read_history(client: PrefectClient, run: FlowRun) -> RunHistory:
    """Read the states and the progress of *run*, which was read a moment ago. Raises the errors of Prefect's client."""
    problems: list[str] = []
    states = await read_states(client, run, on_unreadable=problems.append)
    stopped = any(state.type in _STOPPED for state in states)
    progress = await read_progress(client, run.id) if stopped else 0.0
    why = f"its earlier states cannot be read: {problems[0]}" if problems else None
    return RunHistory(run=run, states=states, progress=progress, unreadable_states=why)


class RunEventRecorder:
    """Records a run's events. Reads keys only when they are needed: most hooks need neither secrets nor links."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._box = SecretBox.of(settings)
        self._links: EventLinks | None = None

    async def record(self, connection: Connection, found: RunHistory, *, since: datetime) -> int:
        """Record the missing events of the run's states from *since* on. Return how many were new.

        In the caller's transaction, so that a run counts as read only together with its events.
        """
        run = found.run
        if run.idempotency_key is not None and is_shared(run.idempotency_key):
            events = await events_of_uploads(connection, run.idempotency_key, found.states, since)
        else:
            if any(has_event(state) and state.timestamp >= since for state in found.states):
                await self._note_webhook_url(connection, run)
            events = await _events(connection, found, since)
        added = await add_events(connection, events, self._payload_link)
        if run.state_id is not None:
            await history.note_read(connection, run.id, run.state_id)
        return added

    async def _note_webhook_url(self, connection: Connection, run: FlowRun) -> None:
        url = webhook_url_of(run)
        if url is None:
            return
        try:
            # A savepoint: the events are recorded also when this fails.
            async with connection.transaction():
                await set_run_webhook(connection, self._box, run_id=run.id, url=url)
        except Permanent as error:
            _LOG.error("run %s: no events are sent to its webhook_url: %s", run.id, error.message)

    def _payload_link(self, event_id: str) -> str | None:
        self._links = self._links or EventLinks.of(self._settings)
        return self._links.to_payload(event_id)


async def _events(connection: Connection, found: RunHistory, since: datetime) -> list[Event]:
    reported = [state for state in found.states if has_event(state)]
    counts = await run_counts(connection, found.run.id) if any(s.type in WITH_RESULT for s in reported) else None
    attempt = 0
    events: list[Event] = []
    for state in reported:
        attempt += state.type is StateType.RUNNING
        details = RunDetails(
            attempt=attempt,
            progress=_progress(state, found.progress),
            counts=counts if state.type in WITH_RESULT else None,
        )
        if state.timestamp >= since:
            events.append(run_event(found.run, state, details))
    return events


def _progress(state: State[Any], progress: float) -> float:
    if state.type is StateType.COMPLETED:
        return 1.0
    return progress if state.type in _STOPPED else 0.0
