"""Addresses of host names, from the system's resolver, with the bound that `getaddrinfo` itself does not have.

Does not judge what it finds and keeps nothing: every connection asks anew.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from ipaddress import ip_address

from blocks.errors import HostUnresolved
from blocks.webhooks.send.networks import IPAddress

# A name server that takes longer is down, or has the answer ready when the next attempt asks.
LOOKUP_TIMEOUT_SECONDS = 5.0

# getaddrinfo cannot be interrupted: while a name server is down, its thread stays for up to half a minute. One for each
# name, so that it takes this many silent names to keep others from being looked up.
MAX_THREADS = 64

Lookup = Callable[[str], Sequence[IPAddress]]


class SystemResolver:
    """`getaddrinfo` in threads of its own, which a busy pool does not delay and the process's end does not wait for."""

    def __init__(self, *, timeout_seconds: float = LOOKUP_TIMEOUT_SECONDS, lookup: Lookup | None = None) -> None:
        self._timeout_seconds = timeout_seconds
        self._lookup = lookup or look_up
        self._under_way: dict[str, Future[Sequence[IPAddress]]] = {}
        self._lock = threading.Lock()

    async def __call__(self, host: str) -> Sequence[IPAddress]:
        """The addresses of *host*, in the order in which they should be tried (RFC 6724). Raises `HostUnresolved`."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await asyncio.wrap_future(self._asked(host))
        except TimeoutError as exc:
            raise HostUnresolved(f"DNS gave no answer for {host} within {self._timeout_seconds:g} s") from exc

    def _asked(self, host: str) -> Future[Sequence[IPAddress]]:
        with self._lock:
            if (asked := self._under_way.get(host)) is not None:
                return asked
            if len(self._under_way) >= MAX_THREADS:
                raise HostUnresolved(f"cannot look up {host}: DNS owes the answers to {MAX_THREADS} other look-ups")
            answer: Future[Sequence[IPAddress]] = Future()
            # From now on nobody who stops waiting can cancel it for the others.
            answer.set_running_or_notify_cancel()
            self._under_way[host] = answer
        # A daemon: an executor's threads are waited for when the process ends.
        threading.Thread(target=self._answer, args=(host, answer), name=f"look up {host}", daemon=True).start()
        return answer

    def _answer(self, host: str, answer: Future[Sequence[IPAddress]]) -> None:
        try:
            found = self._lookup(host)
        except Exception as exc:  # noqa: BLE001 - told to whoever waits
            self._forget(host)
            answer.set_exception(exc)
        else:
            self._forget(host)
            answer.set_result(found)

    def _forget(self, host: str) -> None:
        with self._lock:
            del self._under_way[host]


def look_up(host: str) -> Sequence[IPAddress]:
    """Ask the system, for as long as it takes. Raises `HostUnresolved`."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "the name is malformed"
        raise HostUnresolved(f"cannot look up {host}: {reason}") from exc
    return list(dict.fromkeys(ip_address(address[4][0]) for address in found))


system_resolver = SystemResolver()
"""The resolver of this process."""
