"""The virtual environment that OpenStack Swift runs in, made on first use and kept.

Swift pins an old setuptools and brings eventlet, which patches the standard library: it must not share an environment
with Waybill. What is installed is pinned with hashes in `requirements.lock` beside this file.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.made_once import made_once

_LOCK = Path(__file__).with_name("requirements.lock")
# A slow connection and a busy machine; it takes four seconds here.
_INSTALL_TIMEOUT_SECONDS = 170


def swift_environment() -> Path:
    """The environment's folder, ready for use. Safe to call from several processes at once: one of them makes it."""
    return made_once("s3-server", _LOCK.read_bytes() + sys.version.encode(), _install)


def _install(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=_INSTALL_TIMEOUT_SECONDS)
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "--no-deps", "--require-hashes", "-r", str(_LOCK)],
        capture_output=True,
        text=True,
        timeout=_INSTALL_TIMEOUT_SECONDS,
    )
    if done.returncode:
        raise RuntimeError(f"the S3 server for tests could not be installed with pip:\n{done.stderr[-2000:]}")
