"""A real Prefect server, started by this process."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from blocks.settings import Settings
from blocks.settings.parsing import Secret
from waybill.stack import running_stack


@contextmanager
def running_prefect(database_url: str) -> Generator[str]:
    """Start a server whose database is on the same Postgres as *database_url*; the address of its API.

    Sets the environment of this process. The server's home is gone at the end.
    """
    # Not pytest's tmp_path: a Unix socket's path may have 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="waybill-prefect-"))
    try:
        with running_stack(Settings(home=home, database_url=Secret(database_url))) as addresses:
            assert addresses.prefect_api_url is not None
            yield addresses.prefect_api_url
    finally:
        shutil.rmtree(home)
