"""The most memory that a command takes, measured from a small process: what a process has had before it became another
program counts too, and the one that runs the tests is large."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence

from tests.stack_driver import PATIENCE_SECONDS

# Runs the command with its standard output cast away but for its hash.
_MEASURED = """
import hashlib, json, resource, subprocess, sys
running = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
sha256 = hashlib.file_digest(running.stdout, "sha256").hexdigest()
code = running.wait()
print(json.dumps([code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, sha256]))
"""


def peak_bytes(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """The peak of *command*, which must succeed, and the sha256 of what it wrote to standard output."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *command],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        timeout=PATIENCE_SECONDS,
    )
    code, peak, sha256 = json.loads(done.stdout)
    assert code == 0
    return peak, sha256
