"""``waybill trim`` killed at its points and at any moment: nothing of unfinished runs goes, and the last converges."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.kill_trim import POINTS, Past
from tests.shared_servers import PREFECT_ALONE, alone_with_prefect

pytestmark = PREFECT_ALONE


@pytest.fixture
def past(database_url: str, run_folder: Path, tmp_path: Path) -> Iterator[Past]:
    with alone_with_prefect(run_folder) as prefect:
        made = Past(database_url, prefect, tmp_path)
        made.fill(runs=6, alive=2)
        yield made


@pytest.mark.parametrize("number", range(3))
def test_a_trim_that_is_killed_twice_is_finished_by_the_last(number: int, past: Past) -> None:
    for point in POINTS[number::3]:
        past.kill_at(point)
    past.finish()
    past.check()


def test_a_trim_that_is_killed_at_any_moment_is_finished_by_the_next(past: Past) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    past.kill_after(random.Random(seed).uniform(0, 1.0))
    past.finish()
    past.check()
