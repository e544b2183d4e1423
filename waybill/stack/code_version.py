"""Which code a process runs: Waybill's version, a fingerprint of its files, and the version of Prefect.

A process keeps the code that it was started with, also after an upgrade. The command that starts one records this text
for it, and `waybill status` compares that with what is installed now.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("blocks", "tasks", "flows", "waybill")


def code_on_disk(root: Path = _ROOT) -> str:
    """Return what a process that starts now will run from *root*, such as ``0.1.0+3f2a91c0 with Prefect 3.9.1``.

    The fingerprint is of the contents, so a file that was only touched changes nothing. Takes some 20 ms.
    """
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(f"{path.relative_to(root)}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{version('waybill')}+{digest.hexdigest()[:8]} with Prefect {version('prefect')}"
