"""How fast `/health` answers while something else is measured: the gateway has time for others, or has not."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager

import httpx

MAX_HEALTH_SECONDS = 0.1
_PAUSE_SECONDS = 0.05


@contextmanager
def health_asked(url: str) -> Generator[list[float]]:
    """Ask *url* again and again during the block; the seconds that each answer took."""
    took: list[float] = []
    ending = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=60) as client:
            client.get(url)
            while not ending.wait(_PAUSE_SECONDS):
                began = time.perf_counter()
                client.get(url).raise_for_status()
                took.append(time.perf_counter() - began)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield took
    finally:
        ending.set()
        asking.join()
