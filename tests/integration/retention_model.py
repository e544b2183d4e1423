"""A model of the retention: random histories of files, marks, readers, clocks, plans, runs and crashes.

The model knows what each file holds, when it ends and what protects it. After every step it compares what can be read
with what must be readable: nothing that is kept is lost, and nothing that has expired is readable. A clock that moves
ahead is every time of the catalogue moved back. A crash ends a run between two of its steps, as a killed process does
(`tests/fault/kill_expiry.py` kills real ones).

    python -m tests.integration.retention_model [--histories 2000]
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch
from uuid import UUID, uuid4

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from blocks.access import Actor
from blocks.catalog import Catalog, Draft, StageMark, keeping
from blocks.catalog.catalog import UNPIN_GRACE
from blocks.custody import Custody
from blocks.custody.manifest import is_manifest_path
from blocks.errors import ArtifactNotFound
from blocks.keys import StorageKeys
from blocks.retention import Candidate, RetentionPolicy, decide, execution, get_plan, planned_files
from blocks.retention.policy import RENEW_FOR
from blocks.storage import open_backend
from blocks.webhooks.event_links import EventLinks
from tasks.expiry import Report, run_retention

T = TypeVar("T")
HOUR = timedelta(hours=1)
# Files end between whole hours, and clocks move by whole ones: no step depends on how long another one took.
HALF = timedelta(minutes=30)
_PLAIN = StorageKeys(recipient=None, identities=())
_BY = Actor(actor="cli:model")

POLICIES = (
    RetentionPolicy(),
    RetentionPolicy(older_than=5 * HOUR),
    RetentionPolicy(keep_newest=1),
    RetentionPolicy(keep_inputs=True),
    RetentionPolicy(kinds=["upload"], older_than=2 * HOUR, min_age=3 * HOUR),
    RetentionPolicy(sources={"*a.txt": 40 * HOUR}),
    RetentionPolicy(max_stored_bytes=60),
    RetentionPolicy(max_files=2),
)


class Crash(BaseException):
    """The process ends here."""


@dataclass
class Known:
    """What the model knows of one file."""

    content: bytes
    candidate: Candidate
    reader: UUID | None = None
    extended_at: datetime | None = None
    # A run that was ended in between may have removed it, or the next run will.
    doomed: bool = False

    def readable(self, now: datetime) -> bool:
        one = self.candidate
        return one.held or one.pinned or one.expires_at > now

    def change(self, **values: Any) -> None:
        self.candidate = replace(self.candidate, **values)

    def moved(self, by: timedelta) -> None:
        self.change(created_at=self.candidate.created_at - by, expires_at=self.candidate.expires_at - by)
        self.extended_at = self.extended_at and self.extended_at - by


class RetentionModel(RuleBasedStateMachine):
    """One history. `place` is set by whoever runs it."""

    runner: asyncio.Runner
    catalog: Catalog
    folder: Path
    sound = 0

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[UUID, Known] = {}
        self.plan: Report | None = None
        self.planned: set[UUID] = set()
        self.crashed = False
        self.storage = self.folder / uuid4().hex
        self.custody = Custody(catalog=self.catalog, backend=open_backend(str(self.storage)), keys=_PLAIN)

    # What happens ----------------------------------------------------------------------------------------------------

    @initialize()
    def empty(self) -> None:
        for table in ("artifacts", "retention_plans", "webhook_events"):
            self.sql(f"truncate {table} cascade")

    @rule(
        source=st.sampled_from(["/a.txt", "/b.txt"]),
        stage=st.none() | st.integers(1, 2),
        hours=st.integers(0, 12),
    )
    def put(self, source: str, stage: int | None, hours: int) -> None:
        content = f"{source} {len(self.files)}".encode()
        draft = Draft(
            kind="upload" if stage is None else "stage_output",
            filename="letter.txt",
            source_file=source,
            document_sha256="d" * 64,
            media_type="text/plain",
            keep_for=hours * HOUR + HALF,
            stage=None if stage is None else StageMark(number=stage, name=f"stage-{stage}", key="c" * 64),
        )
        artifact = self.run(self.custody.take(draft, content))
        self.files[artifact.file_id] = Known(
            content,
            Candidate(
                file_id=artifact.file_id,
                kind=artifact.kind,
                source_file=source,
                stage=stage,
                document_sha256="d" * 64,
                created_at=artifact.created_at,
                expires_at=artifact.expires_at,
                stored_size=artifact.stored_size,
            ),
        )

    @precondition(lambda self: self.files)
    @rule(data=st.data(), mark=st.sampled_from(["pin", "unpin", "hold", "release", "extend", "read", "end reading"]))
    def mark(self, data: st.DataObject, mark: str) -> None:
        # In the order in which they were stored: their random ids would make each repetition of a history another one.
        file_id = data.draw(st.sampled_from(list(self.files)), label="file")
        known, now = self.files[file_id], self.now()
        if known.doomed:
            return
        if mark == "pin" and known.readable(now):
            self.call(self.catalog.pin, file_id)
            known.change(pinned=True)
        elif mark == "unpin" and known.candidate.pinned:
            known.change(pinned=False, expires_at=self.call(self.catalog.unpin, file_id).expires_at)
            assert known.candidate.expires_at >= now + UNPIN_GRACE
            known.extended_at = self.now()
        elif mark == "hold":
            self.call(keeping.hold, file_id)
            known.change(held=True)
        elif mark == "release" and known.candidate.held:
            known.change(held=False, expires_at=self.call(keeping.release, file_id).expires_at)
            known.extended_at = self.now()
        elif mark == "extend" and known.readable(now):
            hours = data.draw(st.integers(0, 30), label="hours")
            extended = self.call(keeping.extend, file_id, hours * HOUR + HALF)
            if extended is not None:
                known.change(expires_at=extended.expires_at)
                known.extended_at = self.now()
        elif mark == "read" and known.reader is None:
            known.reader = uuid4()
            lease = "insert into artifact_readers values (%s, %s, clock_timestamp() + interval '10 years')"
            self.sql(lease, file_id, known.reader)
            known.change(reading=True)
        elif mark == "end reading" and known.reader is not None:
            self.sql("delete from artifact_readers where reader_id = %s", known.reader)
            known.reader = None
            known.change(reading=False)

    @rule(hours=st.integers(1, 110))
    def clock(self, hours: int) -> None:
        by = hours * HOUR
        self.sql(
            "update artifacts set created_at = created_at - %s, expires_at = expires_at - %s, "
            "extended_at = extended_at - %s",
            by, by, by,
        )  # fmt: skip
        self.sql("update retention_plans set cutoff = cutoff - %s, created_at = created_at - %s", by, by)
        for known in self.files.values():
            known.moved(by)
        if self.plan is not None:
            self.plan = replace(self.plan, plan=replace(self.plan.plan, cutoff=self.plan.plan.cutoff - by))

    @precondition(lambda self: not self.crashed)
    @rule(policy=st.sampled_from(POLICIES))
    def dry_run(self, policy: RetentionPolicy) -> None:
        self.plan = self.expire(policy, dry_run=True)
        self.planned = self.expect(self.plan, policy)

    @precondition(lambda self: self.plan is not None and not self.crashed)
    @rule()
    def execute_the_dry_run(self) -> None:
        assert self.plan is not None
        plan, self.plan = self.plan, None
        goes = self.goes(self.planned, plan)
        self.expire(plan.plan.policy, plan_id=plan.plan.plan_id)
        self.forget(goes)
        self.take_renewals()

    @precondition(lambda self: not self.crashed)
    @rule(policy=st.sampled_from(POLICIES))
    def expire_now(self, policy: RetentionPolicy) -> None:
        report = self.expire(policy)
        self.forget(self.goes(self.expect(report, policy), report))
        self.take_renewals()

    @precondition(lambda self: not self.crashed)
    @rule(policy=st.sampled_from(POLICIES), step=st.sampled_from(["start_plan", "_entomb", "_delete", "_finish_files"]))
    def crash(self, policy: RetentionPolicy, step: str) -> None:
        original = getattr(execution, step)

        def ends(*arguments: Any, **options: Any) -> Any:
            original(*arguments, **options)
            raise Crash

        async def ends_later(*arguments: Any, **options: Any) -> Any:
            await original(*arguments, **options)
            raise Crash

        crashing = ends_later if asyncio.iscoroutinefunction(original) else ends
        # A killed process does not abandon its plan, as one that is interrupted does.
        with patch.object(execution, step, crashing), suppress(Crash, BaseExceptionGroup):
            self.expire(policy)
        for file_id in self.open_files():
            known = self.files.get(file_id)
            if known is not None and not self.protected(known):
                known.doomed = True
        self.crashed = True
        # A renewal may have been one of its steps.
        self.take_renewals()

    @precondition(lambda self: self.crashed)
    @rule()
    def next_run(self) -> None:
        """A run that itself removes nothing finishes what the crash has left."""
        self.expire(RetentionPolicy(kinds=[]))
        states = dict(self.rows("select file_id, state from artifacts"))
        assert not {"pending", "deleting"} & set(states.values())
        for file_id, known in list(self.files.items()):
            if states[file_id] == "deleted":
                assert known.doomed, known
                del self.files[file_id]
            known.doomed = False
        self.crashed = False
        self.take_renewals()

    # What must be true ------------------------------------------------------------------------------------------------

    @invariant()
    def what_is_kept_is_readable_and_nothing_else(self) -> None:
        now = self.now()
        for file_id, known in self.files.items():
            found = self.content(file_id)
            if known.doomed:
                assert found in (None, known.content)
            else:
                assert found == (known.content if known.readable(now) else None), known

    def teardown(self) -> None:
        try:
            self.expire(RetentionPolicy())
            self.sync_with_catalogue()
            stored = {path for path in self.custody.backend.paths() if not is_manifest_path(path)}
            rows = self.rows("select location from artifacts where state = 'available'")
            assert stored == {location for (location,) in rows}, "no orphan, and nothing is lost"
            assert self.rows("select file_id from artifacts where state in ('pending', 'deleting')") == []
            gone = {file_id for (file_id,) in self.rows("select file_id from artifacts where state = 'deleted'")}
            announced = self.announced()
            assert len(announced) == len(set(announced)) and set(announced) == gone, "each file is announced once"
            type(self).sound += 1
            if self.sound % 100 == 0:
                print(f"{self.sound} histories are sound", flush=True)
        finally:
            shutil.rmtree(self.storage, ignore_errors=True)

    # How --------------------------------------------------------------------------------------------------------------

    def expect(self, report: Report, policy: RetentionPolicy) -> set[UUID]:
        """Compare the plan with what the policy decides; return what goes by it."""
        candidates = [known.candidate for known in self.files.values() if not known.doomed]
        decisions = decide(candidates, policy, report.plan.cutoff)
        going = {one.file_id for one in decisions if one.remove}
        planned = self.planned_of(report.plan.plan_id)
        if report.plan.over_cap:
            assert planned < going and len(going) - len(planned) == report.plan.over_cap
        else:
            assert planned == going
        return planned

    def goes(self, planned: set[UUID], report: Report) -> set[UUID]:
        """Return the planned files that go now: less what is protected, or was extended since."""
        cutoff = report.plan.cutoff
        by_expiry = {one for one, rule_name in self.rules_of(report.plan.plan_id).items() if rule_name == "expired"}
        return {
            file_id
            for file_id in planned & self.files.keys()
            if not self.protected(known := self.files[file_id])
            and not (known.extended_at is not None and known.extended_at > cutoff)
            and not (file_id in by_expiry and known.candidate.expires_at > cutoff)
        }

    @staticmethod
    def protected(known: Known) -> bool:
        return known.candidate.held or known.candidate.pinned or known.candidate.reading

    def forget(self, file_ids: set[UUID]) -> None:
        for file_id in file_ids:
            known = self.files.pop(file_id)
            assert self.content(file_id) is None, known

    def take_renewals(self) -> None:
        """Follow the expiry of files that a rule has renewed: never an earlier one, and no more than it promises."""
        for file_id, expires_at in self.rows("select file_id, expires_at from artifacts where state = 'available'"):
            known = self.files[file_id]
            assert expires_at >= known.candidate.expires_at
            assert expires_at == known.candidate.expires_at or expires_at <= self.now() + max(RENEW_FOR, 40 * HOUR)
            known.change(expires_at=expires_at)

    def sync_with_catalogue(self) -> None:
        states = dict(self.rows("select file_id, state from artifacts"))
        for file_id in list(self.files):
            if states[file_id] == "deleted":
                del self.files[file_id]

    def expire(self, policy: RetentionPolicy, **options: Any) -> Report:
        return self.run(run_retention(self.custody, policy, by=_BY, links=EventLinks(None), **options))

    def open_files(self) -> set[UUID]:
        """Files of plans that were begun and not ended, and tombstones."""
        rows = self.rows(
            "select unnest(file_ids) from retention_batches join retention_plans p using (plan_id) "
            "where p.state = 'executing' and action = 'remove' "
            "union select file_id from artifacts where state in ('deleting', 'deleted')"
        )
        return {file_id for (file_id,) in rows}

    def planned_of(self, plan_id: UUID) -> set[UUID]:
        return set(self.rules_of(plan_id))

    def rules_of(self, plan_id: UUID) -> dict[UUID, str]:
        async def read() -> dict[UUID, str]:
            async with self.catalog.connection() as connection:
                await get_plan(connection, plan_id)
            return {one.file_id: one.rule async for one in planned_files(self.catalog, plan_id)}

        return self.run(read())

    def content(self, file_id: UUID) -> bytes | None:
        async def read() -> bytes | None:
            try:
                return await self.custody.read(await self.custody.get(file_id))
            except ArtifactNotFound:
                return None

        return self.run(read())

    def announced(self) -> list[UUID]:
        rows = self.rows(
            "select (file ->> 'file_id')::uuid from webhook_events, jsonb_array_elements("
            "convert_from(coalesce(whole_body, body), 'UTF8')::jsonb -> 'data' -> 'files') as file "
            "where event_type = 'files_expired'"
        )
        return [file_id for (file_id,) in rows]

    def call(self, act: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
        async def work() -> T:
            async with self.catalog.connection() as connection:
                return await act(connection, *arguments)

        return self.run(work())

    def now(self) -> datetime:
        return self.rows("select clock_timestamp()")[0][0]

    def sql(self, statement: str, *values: object) -> None:
        async def work() -> None:
            async with self.catalog.connection() as connection:
                await connection.execute(statement.encode(), values or None)

        self.run(work())

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        async def work() -> list[tuple[Any, ...]]:
            async with self.catalog.connection() as connection:
                cursor = await connection.execute(statement.encode())
                return [tuple(row.values()) for row in await cursor.fetchall()]

        return self.run(work())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)


def run_histories(database_url: str, folder: Path, histories: int) -> None:
    """Run the model that many times. Raises at the first history that breaks an invariant, with its steps."""
    with asyncio.Runner() as runner:
        opened = Catalog.open(database_url)
        catalog = runner.run(opened.__aenter__())
        try:
            bound = {"runner": runner, "catalog": catalog, "folder": folder}
            machine = type("RetentionHistory", (RetentionModel,), bound)
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=histories,
                    stateful_step_count=15,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            runner.run(opened.__aexit__(None, None, None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--histories", type=int, default=2000)
    arguments = parser.parse_args()
    from blocks.settings import Settings
    from waybill.stack import running_stack

    with (
        tempfile.TemporaryDirectory(prefix="waybill-model-") as folder,
        running_stack(Settings(home=Path(folder) / "home"), prefect=False) as addresses,
    ):
        run_histories(addresses.database_url, Path(folder), arguments.histories)
    print(f"{arguments.histories} histories: nothing kept was lost, nothing expired was readable")


if __name__ == "__main__":
    main()
