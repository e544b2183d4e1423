"""The keys under which Prefect's UI lists what a run shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import UUID

import pytest

from blocks.runs.run_artifacts import export_key, link_key, progress_key, summary_key

# Prefect's ids begin with the time: these two runs began in the same second.
ONE, OTHER = UUID("06a4b2c1-7d52-7f0e-8a55-2f6f0f5f3c1a"), UUID("06a4b2c1-7f91-7c3b-9d10-0b6f1c3e7d52")


@pytest.mark.parametrize("key_of", [progress_key, summary_key, link_key, export_key])
def test_runs_of_the_same_second_have_different_keys(key_of: Callable[[UUID], str]) -> None:
    assert key_of(ONE) != key_of(OTHER)
    # What Prefect takes as a key.
    assert re.fullmatch("[a-z0-9-]+", key_of(ONE))


def test_the_artifacts_of_a_run_have_different_keys() -> None:
    assert len({key_of(ONE) for key_of in (progress_key, summary_key, link_key, export_key)}) == 4
