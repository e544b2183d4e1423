"""What the forkserver of worker processes imports before it forks the first one. Nothing else may import this module.

A worker needs the stages, and nothing of the program that started the run. All the same `multiprocessing` would import
that program's main module in each worker. For a run on a deployment that is Prefect's engine, which takes a second of
the processor and 60 MB for each worker.
"""

from __future__ import annotations

from importlib import import_module
from multiprocessing import spawn

# Once, here, for all workers; with the rules that the declaration of their stage leaves out.
import_module("tasks.worker")
import_module("tasks.extraction.rules")


def _leave_main_module(_: str) -> None:
    """Take the place of what imports the main module; nothing that a worker is sent is defined there."""


# There is no public way. They are looked up when a worker starts; one that a later Python calls differently would only
# be slow again, which a test notices.
for name in ("_fixup_main_from_name", "_fixup_main_from_path"):
    setattr(spawn, name, _leave_main_module)
