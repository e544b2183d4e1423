"""Read Prefect's lists past records that cannot be read.

Prefect's server serialises a list as one: a record that it cannot serialise (JSON nested some hundred levels deep, a
label that is not a number) makes every list with it fail, with status 500, and a record that its client does not
understand fails there. Any client of Prefect's API may write one, and so may a server of another version. Here such a
record is found, left out and logged, and the others are read. An outage is not taken for unreadable records: it is
raised, as by Prefect's client.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort

from blocks.runtime.outage_log import Problems

T = TypeVar("T")

# Prefect's server returns at most this many items in one response.
PAGE_ITEMS = 200
# After a response with status 500 Prefect's server closes the connection, and a request that is sent on it in that
# moment is lost: it is repeated after a growing pause.
_PAUSE_SECONDS = 0.02
_TRIES = 4
# An offset behind the end of every list: the answer shows that server and database work, and has no record in it.
_BEHIND_THE_END = 10**9
# Unreadable runs are left out by their ids; a longer list of ids would make every query slow.
_MOST_UNREADABLE_RUNS = 1000
# How often a run that was left out is tried again: it may have been deleted, or its server updated.
_TRY_AGAIN_SECONDS = 60.0

_LOG = logging.getLogger("waybill.runs")


def unreadable_reason(error: Exception) -> str | None:
    """Return why a record could not be read, where *error* is about what it holds; None for an outage."""
    if isinstance(error, httpx.HTTPStatusError):
        is_about_content = error.response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
        return "Prefect's server fails to write it (status 500)" if is_about_content else None
    if isinstance(error, (ValueError, RecursionError, OverflowError)):
        return f"Prefect's client does not understand it ({type(error).__name__})"
    return None


async def _steady(read: Callable[..., Awaitable[Sequence[T]]], *, limit: int, offset: int) -> Sequence[T]:
    """Return what *read* returns, repeated where the connection was closed under it."""
    for attempt in range(1, _TRIES + 1):
        try:
            return await read(limit=limit, offset=offset)
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            if attempt == _TRIES:
                raise
        await asyncio.sleep(attempt * _PAUSE_SECONDS)
    raise AssertionError("unreachable: the last try returns or raises")


@dataclass(frozen=True)
class _Page(Generic[T]):
    """The readable *items* of a page, the *positions* that it has, and why each of the others cannot be read."""

    items: list[T]
    positions: int
    reasons: list[str] = field(default_factory=list[str])


async def prefect_pages(
    read: Callable[..., Awaitable[Sequence[T]]],
    *,
    what: str = "records",
    on_unreadable: Callable[[str], None] | None = None,
) -> AsyncGenerator[Sequence[T]]:
    """Yield all pages of *read*, a method of Prefect's client with its filters (`functools.partial`).

    Pages are counted by offset: an item that enters or leaves the list meanwhile may be repeated or skipped. A record
    that cannot be read is left out; *on_unreadable* is called with the reason, else it is logged as one of *what*.
    """
    offset = 0
    while True:
        page = await _read_page(read, offset, PAGE_ITEMS)
        for reason in page.reasons:
            (on_unreadable or partial(_log_unreadable, what))(reason)
        if page.items:
            yield page.items
        if page.positions < PAGE_ITEMS:
            return
        offset += page.positions


async def _read_page(read: Callable[..., Awaitable[Sequence[T]]], offset: int, limit: int) -> _Page[T]:
    """Read *limit* items; where that fails because of one of them, read the halves."""
    try:
        items = await _steady(read, limit=limit, offset=offset)
        return _Page(list(items), len(items))
    except Exception as error:
        reason = unreadable_reason(error)
        if reason is None:
            raise
    if limit == 1:
        await _steady(read, limit=1, offset=_BEHIND_THE_END)  # raises in an outage
        return _Page([], 1, [reason])
    half = limit // 2
    first = await _read_page(read, offset, half)
    if first.positions < half:
        return first
    second = await _read_page(read, offset + half, limit - half)
    return _Page(first.items + second.items, first.positions + second.positions, first.reasons + second.reasons)


_logged = Problems()


def _log_unreadable(what: str, reason: str) -> None:
    if _logged.is_new(what, reason):
        _LOG.error("skipped one of the %s of Prefect: %s", what, reason)


def slices(items: Sequence[T]) -> Iterator[list[T]]:
    """Yield *items* in slices of one page, for filters that name ids: they keep the server's queries short."""
    for start in range(0, len(items), PAGE_ITEMS):
        yield list(items[start : start + PAGE_ITEMS])


class UnreadableRuns:
    """The runs that cannot be read, found while lists of runs are read, and left out of further lists by their ids.

    Logs nothing: the caller reports `reasons`.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reasons: dict[UUID, str] = {}
        self._tried_at = clock()

    @property
    def reasons(self) -> Mapping[UUID, str]:
        """Why each of the runs cannot be read."""
        return self._reasons

    async def read(
        self,
        client: PrefectClient,
        *,
        flow_run_filter: FlowRunFilter,
        flow_filter: FlowFilter | None = None,
        sort: FlowRunSort = FlowRunSort.ID_DESC,
        limit: int = PAGE_ITEMS,
        offset: int = 0,
    ) -> list[FlowRun]:
        """Return one page of runs, like `PrefectClient.read_flow_runs`, of those that can be read.

        Raises the errors of Prefect's client for an outage.
        """
        while True:
            left_out = frozenset(self._reasons)
            these = _without(flow_run_filter, self._reasons)
            read = partial(client.read_flow_runs, flow_filter=flow_filter, flow_run_filter=these, sort=sort)
            try:
                return list(await _steady(read, limit=limit, offset=offset))
            except Exception as error:
                if unreadable_reason(error) is None or len(left_out) >= _MOST_UNREADABLE_RUNS:
                    raise
                await self._find(client, await _ids(client, flow_filter, these, sort, limit=limit, offset=offset))
                # Another caller may have found them meanwhile.
                if left_out == self._reasons.keys():
                    raise

    async def try_again(self, client: PrefectClient) -> list[UUID]:
        """Once a minute, try the known runs again; return those that can be read or are gone, and forget them."""
        if not self._reasons or self._clock() - self._tried_at < _TRY_AGAIN_SECONDS:
            return []
        self._tried_at = self._clock()
        before, again = self._reasons, UnreadableRuns()
        for some_ids in slices(list(before)):
            await again._find(client, some_ids)
        self._reasons = again._reasons
        return [run_id for run_id in before if run_id not in self._reasons]

    async def _find(self, client: PrefectClient, ids: list[UUID]) -> None:
        """Add those of *ids* that cannot be read, by reading halves."""
        if not ids:
            return
        read = partial(client.read_flow_runs, flow_run_filter=_these(ids), sort=FlowRunSort.ID_DESC)
        try:
            await _steady(read, limit=PAGE_ITEMS, offset=0)
            return
        except Exception as error:
            reason = unreadable_reason(error)
            if reason is None:
                raise
        if len(ids) == 1:
            await _steady(read, limit=1, offset=_BEHIND_THE_END)  # raises in an outage
            self._reasons[ids[0]] = reason
            return
        await self._find(client, ids[: len(ids) // 2])
        await self._find(client, ids[len(ids) // 2 :])


async def read_states(
    client: PrefectClient, run: FlowRun, *, on_unreadable: Callable[[str], None] | None = None
) -> list[State[Any]]:
    """Return the states of *run*, oldest first; where they cannot be read, its present state alone."""
    try:
        states = await client.read_flow_run_states(run.id)
    except Exception as error:
        reason = unreadable_reason(error)
        if reason is None:
            raise
        # The list has no pages, and the server does not say which of the states it is.
        (on_unreadable or partial(_log_unreadable, f"states of run {run.id}"))(reason)
        states = [run.state] if run.state is not None else []
    return sorted(states, key=lambda state: state.timestamp)


async def runs_of_deployments(
    client: PrefectClient,
    deployment_ids: Sequence[UUID],
    *,
    state: Mapping[str, Any],
    unreadable: UnreadableRuns | None = None,
) -> list[FlowRun]:
    """Return all readable runs of the deployments whose state fits *state*, in the form of `FlowRunFilterState`."""
    these = FlowRunFilter.model_validate({"deployment_id": {"any_": list(deployment_ids)}, "state": state})
    read = partial((unreadable or UnreadableRuns()).read, client, flow_run_filter=these)
    return [run async for page in prefect_pages(read) for run in page]


async def newest_run_ids(client: PrefectClient, flows: Sequence[str], *, limit: int) -> list[UUID]:
    """Return the ids of the *limit* runs of these flows that began, or are due, last; also of those that are due."""
    ours = FlowFilter(name=FlowFilterName(any_=list(flows)))
    found: list[UUID] = []
    while len(found) < limit:
        page = await _ids(
            client,
            ours,
            FlowRunFilter(),
            FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=min(PAGE_ITEMS, limit - len(found)),
            offset=len(found),
        )
        found += page
        if len(page) < PAGE_ITEMS:
            break
    return found


async def _ids(
    client: PrefectClient,
    flow_filter: FlowFilter | None,
    flow_run_filter: FlowRunFilter,
    sort: FlowRunSort,
    *,
    limit: int,
    offset: int,
) -> list[UUID]:
    """Return the ids of a page of runs, from the one list of Prefect's server that has nothing else in it."""
    body = {
        "flows": flow_filter.model_dump(mode="json", exclude_unset=True) if flow_filter else None,
        "flow_runs": flow_run_filter.model_dump(mode="json", exclude_unset=True),
        "sort": sort.value,
    }

    async def read(**page: int) -> list[UUID]:
        response = await client.request("POST", "/ui/flow_runs/history", json=body | page)
        response.raise_for_status()
        return [UUID(cast("str", run["id"])) for run in response.json()]

    return list(await _steady(read, limit=limit, offset=offset))


def _without(flow_run_filter: FlowRunFilter, ids: Mapping[UUID, str]) -> FlowRunFilter:
    if not ids:
        return flow_run_filter
    wanted = flow_run_filter.id.any_ if flow_run_filter.id else None
    named = {"any_": wanted} if wanted is not None else {}
    return flow_run_filter.model_copy(update={"id": FlowRunFilterId(**named, not_any_=list(ids))})


def _these(ids: Sequence[UUID]) -> FlowRunFilter:
    return FlowRunFilter(id=FlowRunFilterId(any_=list(ids)))
