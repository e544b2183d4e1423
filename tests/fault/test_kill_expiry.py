"""An expiry that is killed at each of its steps, or at any moment: the next run converges, with each event once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fault.kill_expiry import STEPS, Store, kill_after, kill_at


@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_is_killed_at_a_step_is_finished_by_the_next(step: str, database_url: str, tmp_path: Path) -> None:
    store = Store(database_url, tmp_path / "storage", going=1100, staying=10)
    kill_at(store, step)
    assert store.open_plans() == 1, "it was killed before its end"
    store.finish()
    store.check()
    assert store.open_plans() == 0


def test_a_run_that_is_killed_again_and_again_is_finished_by_the_last(database_url: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    store = Store(database_url, tmp_path / "storage", going=1100, staying=10)
    for _ in range(3):
        kill_after(store, chance.uniform(0, 0.3))
    store.finish()
    store.check()
