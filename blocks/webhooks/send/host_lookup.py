"""Look up host names with the system's resolver and the time limit that `getaddrinfo` lacks. Caches nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from ipaddress import ip_address

from blocks.errors import HostUnresolved
from blocks.webhooks.send.networks import IPAddress

# A name server that takes longer is down, or has the answer in its cache at the next attempt.
LOOKUP_TIMEOUT_SECONDS = 5.0

# getaddrinfo cannot be interrupted: while a name server is down, its thread stays for up to half a minute. There is one
# thread for each name, so only this many unanswered names can block other look-ups.
MAX_THREADS = 64

Lookup = Callable[[str], Sequence[IPAddress]]


class SystemResolver:
    """Calls `getaddrinfo` in threads of its own: a busy pool does not delay them, and the process ends without them."""

    def __init__(self, *, timeout_seconds: float = LOOKUP_TIMEOUT_SECONDS, lookup: Lookup | None = None) -> None:
        self._timeout_seconds = timeout_seconds
        self._lookup = lookup or look_up
        self._under_way: dict[str, Future[Sequence[IPAddress]]] = {}
        self._lock = threading.Lock()

    async def __call__(self, host: str) -> Sequence[IPAddress]:
        """Return the addresses of *host* in the order to try them (RFC 6724). Raises `HostUnresolved`."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await asyncio.wrap_future(self._answer_for(host))
        except TimeoutError as exc:
            raise HostUnresolved(f"DNS gave no answer for {host} within {self._timeout_seconds:g} s") from exc

    def _answer_for(self, host: str) -> Future[Sequence[IPAddress]]:
        with self._lock:
            if (asked := self._under_way.get(host)) is not None:
                return asked
            if len(self._under_way) >= MAX_THREADS:
                raise HostUnresolved(f"cannot look up {host}: {MAX_THREADS} other look-ups have no answer from DNS yet")
            answer: Future[Sequence[IPAddress]] = Future()
            # From now on a caller that stops waiting cannot cancel it for the others.
            answer.set_running_or_notify_cancel()
            self._under_way[host] = answer
        # A daemon thread: a process waits for an executor's threads when it ends.
        threading.Thread(target=self._answer, args=(host, answer), name=f"look up {host}", daemon=True).start()
        return answer

    def _answer(self, host: str, answer: Future[Sequence[IPAddress]]) -> None:
        try:
            found = self._lookup(host)
        except Exception as exc:  # noqa: BLE001 - raised in the callers that wait
            self._forget(host)
            answer.set_exception(exc)
        else:
            self._forget(host)
            answer.set_result(found)

    def _forget(self, host: str) -> None:
        with self._lock:
            del self._under_way[host]


def look_up(host: str) -> Sequence[IPAddress]:
    """Look *host* up, however long it takes. Raises `HostUnresolved`."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "the name is malformed"
        raise HostUnresolved(f"cannot look up {host}: {reason}") from exc
    return list(dict.fromkeys(ip_address(address[4][0]) for address in found))


system_resolver = SystemResolver()
"""The resolver of this process."""
