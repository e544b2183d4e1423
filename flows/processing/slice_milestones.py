"""``task_progress`` of a run whose documents other runs process: at the same milestones, by the sum of its slices."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from blocks.catalog import Catalog
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox import add_events, sequence_of
from flows.processing.slice_results import SLICE
from tasks.document_events import MILESTONES, milestone
from tasks.step_counts import StepCounts


class SliceMilestones:
    """Reports each milestone of one attempt of the run once."""

    def __init__(self, catalog: Catalog, links: EventLinks, counts: StepCounts, *, run_id: UUID, attempt: int) -> None:
        self._catalog = catalog
        self._links = links
        self._counts = counts
        self._run_id = run_id
        self._attempt = attempt
        self._reported: set[int] = set()

    async def report(self) -> None:
        """Record the milestones that the counts have passed since the last call. Raises `CatalogUnavailable`."""
        done, steps = self._counts.steps_done, self._counts.steps_each * self._counts.documents
        passed = [one for one in MILESTONES if one not in self._reported and 100 * done >= one * steps]
        if not passed:
            return
        at = datetime.now(UTC)
        # Odd, as of all events but the states of the run.
        first = sequence_of(at) | 1
        events = [
            milestone(
                self._run_id, self._attempt, one, done=done, steps=steps, where=SLICE, at=at, sequence=first + 2 * place
            )
            for place, one in enumerate(passed)
        ]
        async with self._catalog.transaction() as connection:
            await add_events(connection, events, self._links.to_payload)
        self._reported.update(passed)
