"""A real Prefect server on embedded Postgres, in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The stack sets the environment of the process that enters it: not the tests' own.
_SERVER = """
import json, sys
from pathlib import Path
from blocks.settings import Settings
from waybill.stack import running_stack
with running_stack(Settings(home=Path(sys.argv[1]))) as addresses:
    print(json.dumps(addresses.prefect_api_url), flush=True)
    sys.stdin.read()
"""


@contextmanager
def running_prefect() -> Iterator[str]:
    """The address of its API. The server and all it has kept are gone afterwards."""
    # Not pytest's tmp_path: a Unix socket's path may have 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="waybill-prefect-"))
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.communicate()
    shutil.rmtree(home)
