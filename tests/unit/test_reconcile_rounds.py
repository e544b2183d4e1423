"""How often Prefect's history is compared with the events: every second while runs are in progress, else less often."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from flows.events import reconcile_loop
from flows.events.reconciler import Reconciled, Window


class _Found:
    """In place of the reconciler, the blocks and both servers."""

    def __init__(self) -> None:
        self.next = Reconciled()
        self.reconciler = self.blocks = self
        self.client = self.catalog = None

    async def reconcile_once(self, window: Window) -> Reconciled:
        return self.next

    async def sync(self) -> None:
        """The blocks of endpoints have not changed."""


async def test_rounds_are_rare_while_nothing_runs_and_frequent_again_with_the_next_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_000.0
    monkeypatch.setattr(reconcile_loop, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(reconcile_loop, "update_table", lambda client, catalog: _Found().sync())
    found, rounds = _Found(), reconcile_loop.Rounds()

    async def rest() -> float:
        return await rounds.next(cast("Any", found))

    # What has just begun, or ended, may have more to come.
    assert await rest() == 1.0
    now += 14
    assert await rest() == 1.0
    now += 1
    assert await rest() == 5.0
    found.next = Reconciled(in_progress=1, runs=1)
    assert await rest() == 1.0
    now += 3_600
    assert await rest() == 1.0
    found.next = Reconciled(runs=7)
    now += 15
    assert await rest() == 5.0
    found.next = Reconciled(runs=7, read=1)
    assert await rest() == 1.0
