"""Random histories of the retention keep its two promises; the long form is `tests.integration.retention_model`."""

from __future__ import annotations

from pathlib import Path

from tests.integration.retention_model import run_histories


def test_nothing_kept_is_lost_and_nothing_expired_is_readable(database_url: str, tmp_path: Path) -> None:
    run_histories(database_url, tmp_path, histories=15)
