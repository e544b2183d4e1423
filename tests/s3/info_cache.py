"""The cache in which Swift's proxy keeps what it knows of accounts and buckets, in the memory of the proxy itself.

Without one the proxy asks two other servers before it does anything with an object: more than half of the work.
Swift would use memcached, with the same keys, the same times and JSON; the proxy alone has written to it then, too.
Loaded by Swift's own Python, beside nothing of this project.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from time import time as now
from typing import Any

_Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class InfoCache:
    """What Swift's proxy and its filters call of `swift.common.memcached.MemcacheRing`."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, str]] = {}

    def get(self, key: str, **_: Any) -> Any:
        """What was set and is not too old; None otherwise."""
        until, value = self._kept.get(key, (0.0, "null"))
        return json.loads(value) if now() < until else None

    def set(self, key: str, value: Any, *, time: float = 0, **_: Any) -> None:
        """Keep *value* for so many seconds; 0 is for ever."""
        self._kept[key] = (now() + time if time else float("inf"), json.dumps(value))

    def delete(self, key: str, **_: Any) -> None:
        self._kept.pop(key, None)


def filter_factory(_configuration: dict[str, str], **_: str) -> Callable[[_Application], _Application]:
    """What PasteDeploy calls for a filter with `paste.filter_factory`."""
    cache = InfoCache()

    def cached(application: _Application) -> _Application:
        def call(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            environ["swift.cache"] = cache
            return application(environ, start_response)

        return call

    return cached
