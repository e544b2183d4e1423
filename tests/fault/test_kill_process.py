"""A killed run continues from what is stored, and ends as if nothing had happened."""

from __future__ import annotations

import random
from pathlib import Path

from tests.fault.kill_and_resume import compare
from tests.shared_servers import shared_prefect
from tests.stack_driver import prefect_variables


def test_kill_9_at_random_moments_then_the_same_command_again_equals_an_undisturbed_run(
    run_folder: Path, tmp_path: Path
) -> None:
    """The short form, on a Prefect server that runs; ``make chaos`` runs the long one, with servers of its own."""
    prefect = prefect_variables(shared_prefect(run_folder)) | {"PREFECT_HOME": str(tmp_path / "prefect")}
    compare(documents=8, kills=2, seed=random.SystemRandom().randrange(2**32), environment=prefect)
