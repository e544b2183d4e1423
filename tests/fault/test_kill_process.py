"""A killed run continues from what is stored, and ends as if nothing had happened."""

from __future__ import annotations

import random

import pytest

from tests.fault.kill_and_resume import compare


@pytest.mark.timeout(300)
def test_kill_9_at_random_moments_then_the_same_command_again_equals_an_undisturbed_run() -> None:
    """The short form; ``make chaos`` runs 50 documents and ten kills."""
    compare(documents=12, kills=3, seed=random.SystemRandom().randrange(2**32))
