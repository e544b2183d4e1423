"""The process of ``waybill forget`` that kills itself at a point; see `tests.fault.killed_command`."""

from __future__ import annotations

import os
import sys

from tests.fault import killed_command

MODULE = "tests.fault.kill_forgetting"
POINTS = ("record", "file", "bytes", "pages", "prefect", "home", "rewritten")
"""After the transaction that begins it; after one file, and all; within and after Prefect's records; and so on."""
DOCUMENT = "FORGOTTEN_DOCUMENT"
"""The variable with what is forgotten."""


def _die_at(point: str) -> None:
    from blocks.custody import Custody
    from blocks.forgetting.forget import Forgetter
    from blocks.forgetting.prefect_database import PrefectDatabase
    from blocks.forgetting.prefect_history import PrefectHistory

    owner, name, calls = {
        "record": (Forgetter, "_begin", 1),
        "file": (Custody, "remove", 1),
        "bytes": (Forgetter, "_delete_bytes", 1),
        "pages": (PrefectDatabase, "_pages", 1),
        "prefect": (PrefectHistory, "free", 1),
        "home": (Forgetter, "_free_home", 1),
        "rewritten": (Forgetter, "_rewrite", 1),
    }[point]
    killed_command.die_after(owner, name, calls)


if __name__ == "__main__":
    if point := sys.argv[2]:
        _die_at(point)
    killed_command.run_child("forget", os.environ[DOCUMENT], "--json")
