"""The gateway's server: uvicorn on a listening socket, until it is asked to shut down.

Owns uvicorn's configuration and logging: no access log, whose lines would contain tokens, no `Server` header, and one
line for a response that breaks off. At shutdown, requests in progress get some seconds to finish.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import resource
import socket
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import cast

import uvicorn

from blocks.custody import Custody
from blocks.custody.abandoned import remove_abandoned_forever
from blocks.errors import WaybillError
from blocks.runtime.background_tasks import running
from blocks.search_index.vector_index import keep_vector_index
from blocks.settings import Settings, prefect_api_url
from waybill.gateway.app import create_app
from waybill.gateway.errors import HttpError
from waybill.gateway.request_log import write_json_lines
from waybill.gateway.resources import open_resources
from waybill.gateway.server.client_limits import TransportLimits
from waybill.gateway.server.protocol import GatewayProtocol, is_not_duplicate

# Threads that read files. A download uses one only while a piece is read, so these serve many more clients. Python's
# default on two cores, six, would be exhausted by a storage that hangs. Uploads have threads of their own.
_THREADS = 32
# Enough for small files, and for the rest of large ones on a fast network. Longer ones break off; clients resume them.
_SHUTDOWN_SECONDS = 5
# Threads in which the kernel sends files. A client holds one only while it takes bytes, so a few keep two cores busy;
# the others wait for disks.
_SENDING_THREADS = 16
# Its socket, once more while a file is sent, and the file that is read or written for it.
_DESCRIPTORS_PER_CONNECTION = 3
# Two of the ten ticks of a second. More between two ticks is time in which this process stood still, or was busy: what
# clients sent meanwhile has not been read, so that time is not counted against them.
_LONGEST_TICK_SECONDS = 0.2
# How often memory that was freed goes back to the system, and in how many places the C library keeps it until then. By
# default it has one for each of many threads, which is most of what readers cost that have stopped to read.
_TRIM_SECONDS = 5.0
_MALLOC_ARENAS = 2
_M_ARENA_MAX = -8  # malloc.h
# Connections to Postgres and Prefect, files that Python and libraries keep open, folders being listed.
_OTHER_DESCRIPTORS = 200


def run_gateway(
    settings: Settings,
    opening: AbstractAsyncContextManager[Custody],
    listener: socket.socket,
    *,
    shutdown_requested: Callable[[], bool],
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve the custody of *opening* on *listener* until *shutdown_requested* returns True. Blocks.

    Calls *on_ready* once it answers. Raises `InvalidSettings` and `CatalogUnavailable` before.
    """
    _keep_memory_together()
    write_json_lines()
    limits = _within_descriptors(TransportLimits())
    logging.getLogger("uvicorn.error").addFilter(shorten_broken_response)
    logging.getLogger("uvicorn.error").addFilter(is_not_duplicate)

    async def serve() -> None:
        threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="gateway")
        asyncio.get_running_loop().set_default_executor(threads)
        async with opening as custody, open_resources(settings, custody, prefect_api=prefect_api_url()) as resources:
            server = GatewayServer(create_app(resources), shutdown_requested, on_ready, limits=limits)
            database_url = settings.required_database_url
            async with running(remove_abandoned_forever(custody), keep_vector_index(database_url)):
                await server.serve(sockets=[listener])

    asyncio.run(serve())


def _keep_memory_together() -> None:
    with suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _MALLOC_ARENAS)


def _give_back_memory() -> None:
    with suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def _within_descriptors(limits: TransportLimits) -> TransportLimits:
    """Raise the limit of file descriptors, or lower that of connections: 1,024 descriptors are a common default.

    A server without descriptors can neither accept a connection nor refuse it.
    """
    wanted = limits.connections * _DESCRIPTORS_PER_CONNECTION + _OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    room = max(1, (allowed - _OTHER_DESCRIPTORS) // _DESCRIPTORS_PER_CONNECTION)
    return replace(limits, connections=min(limits.connections, room))


def shorten_broken_response(record: logging.LogRecord) -> bool:
    """Log filter that drops the traceback of a known error, or of the shutdown, in the middle of a response."""
    error = record.exc_info[1] if record.exc_info else None
    # Starlette wraps an error that it has a handler for but can no longer answer.
    cause = error.__cause__ if isinstance(error, RuntimeError) else error
    if isinstance(cause, (WaybillError, HttpError, asyncio.CancelledError)):
        why = "the gateway is shutting down" if isinstance(cause, asyncio.CancelledError) else str(cause)
        record.msg, record.args, record.exc_info = "broke off a response: %s: %s", (type(cause).__name__, why), None
    return True


class GatewayServer(uvicorn.Server):
    """uvicorn with `GatewayProtocol` and *limits*, which leaves signals to its caller."""

    def __init__(
        self,
        app: object,
        shutdown_requested: Callable[[], bool],
        on_ready: Callable[[], None] = lambda: None,
        *,
        limits: TransportLimits | None = None,
    ) -> None:
        limits = limits or TransportLimits()
        self._ticked_at, self._served_seconds = time.monotonic(), 0.0
        self._trimmed_at = self._ticked_at
        self._trimming: asyncio.Task[None] | None = None
        self._sending = ThreadPoolExecutor(_SENDING_THREADS, thread_name_prefix="send-file")
        protocol = partial(GatewayProtocol, limits=limits, clock=self.served_seconds, threads=self._sending)
        super().__init__(
            uvicorn.Config(
                app,  # pyright: ignore[reportArgumentType] - any ASGI application
                http=cast("type[GatewayProtocol]", protocol),
                ws="none",
                lifespan="off",
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=limits.idle_seconds,
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            )
        )
        self._shutdown_requested = shutdown_requested
        self._on_ready = on_ready

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Install no signal handlers: the command that runs the server has its own."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, then call *on_ready*."""
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the connections, then end the threads that sent on them."""
        await super().shutdown(sockets)
        self._sending.shutdown(wait=False)

    def served_seconds(self) -> float:
        """Return the clock of all time limits of clients; it stands still while this process does."""
        return self._served_seconds

    async def on_tick(self, counter: int) -> bool:
        """Check every connection's time limits, and whether to shut down; called ten times a second."""
        now = time.monotonic()
        self._served_seconds += min(now - self._ticked_at, _LONGEST_TICK_SECONDS)
        self._ticked_at = now
        for connection in list(self.server_state.connections):
            cast("GatewayProtocol", connection).check_limits()
        if now - self._trimmed_at >= _TRIM_SECONDS and (self._trimming is None or self._trimming.done()):
            self._trimmed_at = now
            self._trimming = asyncio.create_task(asyncio.to_thread(_give_back_memory))
        return self._shutdown_requested() or await super().on_tick(counter)
