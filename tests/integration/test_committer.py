"""Files of a run become available in groups: one commit for many, each with its own outcome and its own events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from blocks.catalog import Artifact, Catalog, Connection, Reservation
from blocks.custody import committer as committer_module
from blocks.custody.committer import Committer
from blocks.errors import ArtifactNotFound, CatalogRefused, CatalogUnavailable, StorageUnavailable
from blocks.webhooks.outbox import Event, computed_event_id, make_available_with_events, recent_events
from tests.integration.custody_place import Place, draft
from tests.stack_driver import PATIENCE_SECONDS


@pytest.fixture(autouse=True)
def waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that pauses makes no group smaller."""
    monkeypatch.setattr(committer_module, "LONGEST_WAIT_SECONDS", 3600.0)
    monkeypatch.setattr(committer_module, "LONGEST_WAIT_AMONG_MANY_SECONDS", 3600.0)


@pytest.fixture
async def place(database_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    async with Catalog.open(database_url) as catalog:
        yield Place.at(catalog, tmp_path / "store")


class Commits:
    """A committer of *place*, and the groups that it has committed, by the names of their files.

    A commit waits for `may_go`, and fails as `fails` says.
    """

    def __init__(self, place: Place) -> None:
        self.groups: list[list[str]] = []
        self.place = place
        self.may_go = asyncio.Event()
        self.may_go.set()
        self.fails: dict[str, Exception] = {}
        self.answer_is_lost = False
        self.committer = Committer(place.custody, self.record)

    async def record(
        self, connection: Connection, files: Sequence[tuple[Artifact, Sequence[Event]]]
    ) -> Mapping[UUID, Artifact]:
        self.groups.append([artifact.filename for artifact, _ in files])
        await self.may_go.wait()
        for artifact, _ in files:
            if artifact.filename in self.fails:
                raise self.fails[artifact.filename]
        made = await make_available_with_events(self.place.catalog, connection, files, lambda _: None)
        if self.answer_is_lost:
            raise CatalogUnavailable("the connection broke while the commit was under way")
        return made

    async def store(self, reservation: Reservation, *events: Event) -> Artifact:
        return await self.place.custody.fill(
            reservation, b"content", make_available=lambda artifact: self.committer.keep(artifact, events)
        )

    async def reserve(self, *names: str) -> list[Reservation]:
        return await self.place.custody.reserve([replace(draft(), filename=name) for name in names])


@pytest.fixture
def commits(place: Place) -> Commits:
    return Commits(place)


def event(name: str) -> Event:
    return Event(
        event_id=computed_event_id(name),
        event_type="stage_completed",
        task_id=None,
        source_file=name,
        occurred_at=datetime(2026, 1, 2, tzinfo=UTC),
        data={},
    )


async def recorded(place: Place) -> list[str]:
    async with place.catalog.connection() as connection:
        return sorted(str(one.source_file) for one in await recent_events(connection, timedelta(hours=1)))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - what it looks at sets no event
            await asyncio.sleep(0.01)


async def test_a_file_alone_waits_for_no_other(commits: Commits) -> None:
    for number in range(3):
        (reservation,) = await commits.reserve(f"{number}")
        async with asyncio.timeout(PATIENCE_SECONDS):
            artifact = await commits.store(reservation, event(f"{number}"))
        assert await commits.place.custody.read(artifact) == b"content"
    assert commits.groups == [["0"], ["1"], ["2"]]
    assert await recorded(commits.place) == ["0", "1", "2"]


async def test_files_that_are_stored_at_once_are_one_commit(commits: Commits) -> None:
    names = [f"{number:02}" for number in range(40)]
    reservations = await commits.reserve(*names)
    stored = await asyncio.gather(*(commits.store(one, event(one.draft.filename)) for one in reservations))
    assert [artifact.filename for artifact in stored] == names
    assert [sorted(group) for group in commits.groups] == [names]
    assert await recorded(commits.place) == names
    assert await commits.place.states() == {"available": 40}
    async with commits.place.catalog.connection() as connection:
        found = await commits.place.catalog.find_readable(connection, [artifact.file_id for artifact in stored])
    assert found == {artifact.file_id: artifact for artifact in stored}


async def test_a_file_does_not_wait_long_for_one_that_takes_long(
    commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer_module, "LONGEST_WAIT_SECONDS", 0.01)
    quick, slow = await commits.reserve("quick", "slow")
    assert (await commits.store(quick)).filename == "quick"
    await commits.store(slow)
    assert commits.groups == [["quick"], ["slow"]]


async def test_files_wait_longer_while_many_others_are_being_stored(
    commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer_module, "LONGEST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(committer_module, "MANY_FILES", 2)
    reservations = await commits.reserve("0", "1", "2", "3", "4")
    storing = [asyncio.create_task(commits.store(one)) for one in reservations[:2]]
    await until(lambda: len(commits.committer._waiting) == 2)
    assert commits.groups == []
    # With the third one, two are left: no longer many.
    await asyncio.gather(*storing, commits.store(reservations[2]))
    assert [sorted(group) for group in commits.groups] == [["0", "1", "2"]]
    await asyncio.gather(*map(commits.store, reservations[3:]))


async def test_the_next_group_gathers_while_one_is_under_way(commits: Commits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "MOST_FILES", 3)
    commits.may_go.clear()
    names = ["0", "1", "2", "3", "4", "5", "6"]
    storing = [asyncio.create_task(commits.store(one)) for one in await commits.reserve(*names)]
    await until(lambda: len(commits.groups) == 1)
    await until(lambda: len(commits.committer._waiting) + len(commits.groups[0]) == len(names))
    commits.may_go.set()
    await asyncio.gather(*storing)
    assert sorted(name for group in commits.groups for name in group) == names
    assert [len(group) for group in commits.groups] == [3, 3, 1]


async def test_a_row_that_was_given_up_meanwhile_fails_alone_and_without_its_events(commits: Commits) -> None:
    commits.may_go.clear()
    good, gone = await commits.reserve("good", "gone")
    storing = [asyncio.create_task(commits.store(one, event(one.draft.filename))) for one in (good, gone)]
    await until(lambda: commits.groups)
    async with commits.place.catalog.transaction() as connection:
        await commits.place.catalog.forget_pending(connection, gone.file_id)
    commits.may_go.set()
    outcomes = await asyncio.gather(*storing, return_exceptions=True)
    assert isinstance(outcomes[0], Artifact)
    assert isinstance(outcomes[1], ArtifactNotFound)
    assert await recorded(commits.place) == ["good"]
    assert commits.place.blobs() == [outcomes[0].location]


async def test_a_file_that_the_catalogue_refuses_fails_alone(commits: Commits) -> None:
    commits.fails = {"2": CatalogRefused("not this one")}
    names = ["0", "1", "2", "3"]
    reservations = await commits.reserve(*names)
    outcomes = await asyncio.gather(
        *(commits.store(one, event(one.draft.filename)) for one in reservations), return_exceptions=True
    )
    assert [type(one) for one in outcomes] == [Artifact, Artifact, CatalogRefused, Artifact]
    assert await recorded(commits.place) == ["0", "1", "3"]
    assert await commits.place.states() == {"available": 3}
    assert len(commits.place.blobs()) == 3


async def test_metadata_that_is_no_json_fails_alone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "LONGEST_WAIT_SECONDS", 0.01)
    commits = Commits(place)
    good, bad = await commits.reserve("good", "bad")

    async def store(reservation: Reservation) -> Artifact:
        metadata = {"odd": object()} if reservation is bad else {"even": 2}
        return await place.custody.fill(
            reservation,
            b"content",
            draft=replace(reservation.draft, metadata=metadata),
            make_available=lambda artifact: commits.committer.keep(artifact, []),
        )

    outcomes = await asyncio.gather(store(good), store(bad), return_exceptions=True)
    assert isinstance(outcomes[0], Artifact)
    assert outcomes[0].metadata == {"even": 2}
    assert isinstance(outcomes[1], CatalogRefused | TypeError)
    assert await place.states() == {"available": 1}


@pytest.mark.parametrize("answer_is_lost", [True, False], ids=["answer lost", "not committed"])
async def test_a_catalogue_that_goes_away_fails_the_group_and_keeps_what_was_committed(
    commits: Commits, *, answer_is_lost: bool
) -> None:
    commits.answer_is_lost = answer_is_lost
    if not answer_is_lost:
        commits.fails = {"0": CatalogUnavailable("no answer")}
    reservations = await commits.reserve("0", "1", "2")
    outcomes = await asyncio.gather(*(commits.store(one) for one in reservations), return_exceptions=True)
    assert [type(one) for one in outcomes] == [CatalogUnavailable] * 3
    assert len(commits.groups) == 1
    assert await commits.place.states() == ({"available": 3} if answer_is_lost else {})
    assert len(commits.place.blobs()) == (3 if answer_is_lost else 0)


async def test_the_folders_of_a_group_are_synced_once_before_its_commit(
    commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = commits.place.backend
    synced: list[list[str]] = []

    def sync_folders(paths: Sequence[str]) -> None:
        assert commits.groups == []
        synced.append(sorted(paths))

    monkeypatch.setattr(backend, "sync_folders", sync_folders)
    stored = await asyncio.gather(*(commits.store(one) for one in await commits.reserve("0", "1", "2")))
    assert synced == [sorted(one.location for one in stored)]


async def test_folders_that_cannot_be_synced_fail_the_group_and_are_not_tried_again(
    commits: Commits, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []

    def sync_folders(paths: Sequence[str]) -> None:
        attempts.append(len(paths))
        raise StorageUnavailable("the disk is failing")

    monkeypatch.setattr(commits.place.backend, "sync_folders", sync_folders)
    outcomes = await asyncio.gather(
        *(commits.store(one, event(one.draft.filename)) for one in await commits.reserve("0", "1")),
        return_exceptions=True,
    )
    assert [type(one) for one in outcomes] == [StorageUnavailable] * 2
    assert (attempts, commits.groups) == ([2], [])
    assert await commits.place.states() == {}
    assert commits.place.blobs() == []
    assert await recorded(commits.place) == []


async def test_one_that_is_cancelled_before_the_commit_leaves_nothing_and_the_others_are_stored(
    commits: Commits,
) -> None:
    cancelled, kept, last = await commits.reserve("cancelled", "kept", "last")
    storing = [asyncio.create_task(commits.store(one, event(one.draft.filename))) for one in (cancelled, kept)]
    await until(lambda: len(commits.committer._waiting) == 2)
    storing[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await storing[0]
    await commits.store(last)
    assert (await storing[1]).filename == "kept"
    assert [sorted(group) for group in commits.groups] == [["kept", "last"]]
    assert await recorded(commits.place) == ["kept"]
    assert await commits.place.states() == {"available": 2}
    assert len(commits.place.blobs()) == 2


async def test_one_that_is_cancelled_during_the_commit_is_waited_for_and_stays(commits: Commits) -> None:
    commits.may_go.clear()
    storing = [asyncio.create_task(commits.store(one)) for one in await commits.reserve("cancelled", "other")]
    await until(lambda: commits.groups)
    for _ in range(3):
        storing[0].cancel()
        await asyncio.sleep(0)
    assert not storing[0].done()
    commits.may_go.set()
    with pytest.raises(asyncio.CancelledError):
        await storing[0]
    assert (await storing[1]).filename == "other"
    assert await commits.place.states() == {"available": 2}


async def test_a_loop_that_ends_during_a_commit_gives_every_file_an_end(commits: Commits) -> None:
    commits.may_go.clear()
    storing = [asyncio.create_task(commits.store(one)) for one in await commits.reserve("0", "1")]
    await until(lambda: commits.groups)
    under_way = commits.committer._under_way
    assert under_way is not None
    under_way.cancel()
    outcomes = await asyncio.gather(*storing, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in outcomes)
    assert await commits.place.states() == {}
    assert commits.place.blobs() == []


async def test_renewing_the_rows_of_a_group_waits_for_none_that_is_being_committed(commits: Commits) -> None:
    """Both change many rows: waiting for each other would end in a deadlock."""
    locked, other = await commits.reserve("locked", "other")
    async with commits.place.catalog.transaction() as connection:
        await commits.place.catalog.lock_state(connection, locked.file_id)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await commits.place.custody.open_writes.renew()
    await commits.place.custody.release([locked, other])


async def test_a_file_that_is_available_already_is_not_changed_again(commits: Commits) -> None:
    (reservation,) = await commits.reserve("once")
    artifact = await commits.store(reservation)
    with pytest.raises(ArtifactNotFound):
        await commits.committer.keep(artifact, [event("again")])
    assert await recorded(commits.place) == []
