"""A real Prefect server, started by this process or, where the environment must stay as it is, by one of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

# The stack sets the environment of the process that enters it: not the tests' own.
_SERVER = """
import json, sys
from tests.prefect_server import running_prefect
with running_prefect() as address:
    print(json.dumps(address), flush=True)
    sys.stdin.read()
"""


@contextmanager
def running_prefect(database_url: str | None = None) -> Generator[str]:
    """Start a server on *database_url*'s Postgres, by default on one of its own; the address of its API.

    Sets the environment of this process. The server and all its records are gone at the end.
    """
    from blocks.settings import Settings
    from waybill.stack import running_stack

    # Not pytest's tmp_path: a Unix socket's path may have 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="waybill-prefect-"))
    try:
        with running_stack(Settings(home=home, database_url=database_url)) as addresses:  # type: ignore[arg-type]
            assert addresses.prefect_api_url is not None
            yield addresses.prefect_api_url
    finally:
        shutil.rmtree(home)


@contextmanager
def prefect_process() -> Generator[str]:
    """Start a server of its own from another process; the address of its API."""
    with subprocess.Popen([sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.communicate()
