"""The gateway's server process: uvicorn on a socket that is given, until it is asked to end.

Owns what uvicorn says and does not say: no access log, whose lines would hold tokens, no `Server` header, and one line
for an answer that had to be broken off. Requests under way at the end get a few seconds.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import cast

import uvicorn

from blocks.custody import Custody
from blocks.errors import WaybillError
from blocks.settings import Settings, prefect_api_url
from waybill.gateway.app import create_app
from waybill.gateway.resources import open_resources
from waybill.gateway.server.protocol import GatewayProtocol, TransportLimits, told_once
from waybill.gateway.server.request_log import write_json_lines

# Reading threads. A download holds one only while a piece is made for it, so these serve many times as many clients;
# Python's default on two cores, six, would be used up by a storage that hangs. Uploads have threads of their own.
_THREADS = 32
# Small files and the rest of large ones on a fast line; what takes longer is broken off, and resumed by the client.
_STOP_SECONDS = 5
# Its socket and the file that is read or written for it.
_DESCRIPTORS_PER_CONNECTION = 2
# Connections to Postgres and Prefect, what Python and libraries keep open, folders that are walked.
_OTHER_DESCRIPTORS = 200


def run_gateway(
    settings: Settings,
    opening: AbstractAsyncContextManager[Custody],
    listener: socket.socket,
    *,
    asked_to_end: Callable[[], bool],
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Answer on *listener*, from the custody that *opening* gives, until *asked_to_end* says so. Blocks.

    Raises `InvalidSettings` and `CatalogUnavailable` before *on_ready* is called.
    """
    write_json_lines()
    limits = _within_descriptors(TransportLimits())
    logging.getLogger("uvicorn.error").addFilter(broken_answers_in_one_line)
    logging.getLogger("uvicorn.error").addFilter(told_once)
    asyncio.run(_serve(settings, opening, listener, asked_to_end, on_ready, limits))


def _within_descriptors(limits: TransportLimits) -> TransportLimits:
    """As many connections as the system gives descriptors for, after asking it for more: 1,024 is a common default.

    A server that runs out of them can neither answer nor refuse.
    """
    wanted = limits.connections * _DESCRIPTORS_PER_CONNECTION + _OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    room = max(1, (allowed - _OTHER_DESCRIPTORS) // _DESCRIPTORS_PER_CONNECTION)
    return replace(limits, connections=min(limits.connections, room))


def broken_answers_in_one_line(record: logging.LogRecord) -> bool:
    """A log filter: what custody raised half-way through an answer, or the end of the gateway, needs no traceback."""
    error = record.exc_info[1] if record.exc_info else None
    # Starlette wraps what it has a handler for but can no longer answer.
    cause = error.__cause__ if isinstance(error, RuntimeError) else error
    if isinstance(cause, (WaybillError, asyncio.CancelledError)):
        why = cause.message if isinstance(cause, WaybillError) else "the gateway was ended"
        record.msg, record.args, record.exc_info = "broke off an answer: %s: %s", (type(cause).__name__, why), None
    return True


async def _serve(
    settings: Settings,
    opening: AbstractAsyncContextManager[Custody],
    listener: socket.socket,
    asked_to_end: Callable[[], bool],
    on_ready: Callable[[], None],
    limits: TransportLimits,
) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="gateway"))
    async with (
        opening as custody,
        open_resources(settings, custody, prefect_api=prefect_api_url()) as resources,
    ):
        await GatewayServer(create_app(resources), asked_to_end, on_ready, limits=limits).serve(sockets=[listener])


class GatewayServer(uvicorn.Server):
    """uvicorn with its signals left to whoever runs it, and *limits* to what clients may drag out."""

    def __init__(
        self,
        app: object,
        asked_to_end: Callable[[], bool],
        on_ready: Callable[[], None] = lambda: None,
        *,
        limits: TransportLimits | None = None,
    ) -> None:
        limits = limits or TransportLimits()
        super().__init__(
            uvicorn.Config(
                app,  # pyright: ignore[reportArgumentType] - any ASGI application
                http=cast("type[GatewayProtocol]", partial(GatewayProtocol, limits=limits)),
                ws="none",
                lifespan="off",
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=limits.idle_seconds,
                timeout_graceful_shutdown=_STOP_SECONDS,
            )
        )
        self._asked_to_end = asked_to_end
        self._on_ready = on_ready

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals alone: the command that runs this knows what they mean."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, and say so."""
        await super().startup(sockets)
        self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: see to the connections, and whether to end."""
        now = time.monotonic()
        for connection in list(self.server_state.connections):
            cast("GatewayProtocol", connection).look(now)
        return self._asked_to_end() or await super().on_tick(counter)
