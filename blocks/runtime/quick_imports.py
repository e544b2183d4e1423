"""Imports of large libraries without a search for garbage, of which imports leave almost none."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def quick_imports() -> Generator[None]:
    """Import in this block what stays for the life of the process: up to a fifth quicker for Prefect's server.

    The collector would look at every new object several times, and later at all of them again and again; what is there
    at the end of the block it never looks at. So nothing but imports belongs here.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
