"""A sweep that is killed at each of its points, or at any moment: no kept file is lost, and the next ones converge."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fault.kill_sweep import FIRST_POINTS, SECOND_POINTS, Store, kill_first, kill_second


@pytest.mark.parametrize("point", FIRST_POINTS)
def test_a_first_sweep_that_is_killed_is_made_good_by_the_next(point: str, database_url: str, tmp_path: Path) -> None:
    store = Store(database_url, tmp_path, files=100, kept=5)
    kill_first(store, lambda: store.kill_at(point))


@pytest.mark.parametrize("point", SECOND_POINTS)
def test_a_sweep_that_is_killed_while_it_removes_is_finished_by_the_next(
    point: str, database_url: str, tmp_path: Path
) -> None:
    store = Store(database_url, tmp_path, files=1100, kept=5)
    kill_second(store, lambda: store.kill_at(point))


def test_sweeps_that_are_killed_again_and_again_are_finished_by_the_last(database_url: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    store = Store(database_url, tmp_path, files=1100, kept=5)
    for _ in range(2):
        store.kill_after(chance.uniform(0, 0.5))
    store.finish()
    store.time_passes()
    for _ in range(2):
        store.kill_after(chance.uniform(0, 0.5))
    store.finish()
    store.check()
