"""Make the files of a run available in groups: each folder is synced once, and one commit serves all that are stored at
about the same time (ADR 0030).

Owns when a group is committed and what becomes of its files when that fails. Writes no file and undoes none: the
caller that stored a file gives it up after an error, as `Custody.fill` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from blocks.catalog import Artifact, Connection
from blocks.catalog.catalog import no_longer_pending
from blocks.custody.custody import Custody
from blocks.errors import CatalogUnavailable
from blocks.runtime.threads import in_thread, to_its_end

EventT = TypeVar("EventT")

# How long a file waits for others at most. A commit takes 1 to 10 ms, and a file of a run is read by its next stage
# only, which does not notice; and where files come every 10 ms a commit serves five.
LONGEST_WAIT_SECONDS = 0.05
# The same while more than `MANY_FILES` others are being stored: the processes that make them have work for longer than
# that, and each commit costs the run's process as much as ten files do.
LONGEST_WAIT_AMONG_MANY_SECONDS = 0.25
MANY_FILES = 32
# A row has about 1 kB of JSON and each event 2 kB: a statement of a megabyte or two.
MOST_FILES = 500

Record = Callable[[Connection, Sequence[tuple[Artifact, Sequence[EventT]]]], Awaitable[Mapping[UUID, Artifact]]]
"""Makes files available and records the events of each, in one statement; returns those that were still pending."""


@dataclass(eq=False)
class _Waiting(Generic[EventT]):
    """A file that is stored, and whose row is to become available."""

    artifact: Artifact
    events: Sequence[EventT]
    since: float
    done: asyncio.Future[Artifact]


class Committer(Generic[EventT]):
    """Commits the files of one event loop in groups. Costs nothing while there is none, and needs no closing.

    A group is committed as soon as no other file of *custody* is being stored, so that a file alone never waits,
    or when its first file has waited for `LONGEST_WAIT_SECONDS` (`LONGEST_WAIT_AMONG_MANY_SECONDS`). The next group
    gathers while one is under way.
    """

    def __init__(self, custody: Custody, record: Record[EventT]) -> None:
        self._custody = custody
        self._record = record
        self._waiting: list[_Waiting[EventT]] = []
        self._under_way: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def keep(self, artifact: Artifact, events: Sequence[EventT]) -> Artifact:
        """Make the file available and record *events*: both or neither. On return both are durable.

        The bytes are on disk, but the entry of its folder need not be (`Backend.publish`). Raises `ArtifactNotFound`
        when its row is no longer pending, `StorageUnavailable`, `CatalogUnavailable`, `CatalogRefused`. A caller
        that is cancelled before the commit begins leaves the row as it is; after that the commit is waited for.
        """
        loop = asyncio.get_running_loop()
        file = _Waiting(artifact=artifact, events=events, since=loop.time(), done=loop.create_future())
        self._waiting.append(file)
        self._consider()
        try:
            return await asyncio.shield(file.done)
        except asyncio.CancelledError:
            if file in self._waiting:
                self._waiting.remove(file)
            else:
                with suppress(Exception):  # the caller has gone; how the commit ended interests no one
                    await to_its_end(file.done)
            raise

    def _consider(self) -> None:
        """Commit what waits, if it is time to."""
        if self._under_way is not None or not self._waiting:
            return
        loop = asyncio.get_running_loop()
        others = len(self._custody.open_writes) - len(self._waiting)
        longest = LONGEST_WAIT_SECONDS if others <= MANY_FILES else LONGEST_WAIT_AMONG_MANY_SECONDS
        rest = self._waiting[0].since + longest - loop.time()
        if others <= 0 or rest <= 0 or len(self._waiting) >= MOST_FILES:
            group, self._waiting = self._waiting[:MOST_FILES], self._waiting[MOST_FILES:]
            self._under_way = asyncio.create_task(self._commit(group))
            self._under_way.add_done_callback(self._go_on)
        elif self._timer is None or self._timer.when() > loop.time() + rest:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_later(rest, self._time_is_up)

    def _time_is_up(self) -> None:
        self._timer = None
        self._consider()

    def _go_on(self, _: asyncio.Task[None]) -> None:
        self._under_way = None
        self._consider()

    async def _commit(self, group: Sequence[_Waiting[EventT]]) -> None:
        """Give each file of *group* its outcome."""
        try:
            # The row last: it must not be there when a power cut takes the name of the blob.
            await self._sync_folders(group)
            await self._settle(group)
        except BaseException:  # the event loop is being closed
            for file in group:
                file.done.cancel()
            raise

    async def _sync_folders(self, group: Sequence[_Waiting[EventT]]) -> None:
        paths = [file.artifact.location for file in group]
        try:
            await in_thread(lambda _: self._custody.backend.sync_folders(paths), self._custody.executor)
        except Exception as error:  # noqa: BLE001 - whatever it is, each file has to get an outcome
            # All of them fail. A second attempt would succeed and prove nothing: the system reports an error once.
            _fail(group, error)

    async def _settle(self, group: Sequence[_Waiting[EventT]]) -> None:
        group = [file for file in group if not file.done.done()]
        if not group:
            return
        try:
            made = await self._recorded(group)
        except Exception as error:  # noqa: BLE001 - whatever it is, each file has to get an outcome
            if len(group) == 1 or isinstance(error, CatalogUnavailable):
                _fail(group, error)
                return
            # One of them is refused, and it alone is to fail. A statement that was refused has written nothing.
            for place, file in enumerate(group, 1):
                await self._settle([file])
                if isinstance(error := file.done.exception(), CatalogUnavailable):
                    _fail(group[place:], error)
                    return
            return
        self._custody.open_writes.remove(made)
        for file in group:
            if file.artifact.file_id in made:
                file.done.set_result(made[file.artifact.file_id])
            else:
                _fail([file], no_longer_pending(file.artifact))

    async def _recorded(self, group: Sequence[_Waiting[EventT]]) -> Mapping[UUID, Artifact]:
        async with self._custody.catalog.connection() as connection:
            return await self._record(connection, [(file.artifact, file.events) for file in group])


def _fail(group: Sequence[_Waiting[EventT]], error: Exception) -> None:
    for file in group:
        file.done.set_exception(error)
