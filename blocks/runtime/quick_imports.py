"""Imports without a search for garbage, of which they leave almost none, and runs with few."""

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


@contextmanager
def collected_seldom() -> Generator[None]:
    """Look for garbage in this block after 10,000 new objects that stay, and not after 700 as Python does.

    For a run, which makes hundreds of objects for each document, and leaves very little that only a search finds.
    """
    before = gc.get_threshold()
    gc.set_threshold(10_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
