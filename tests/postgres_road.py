"""A network between a program and Postgres that a test can cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Road:
    """A way to Postgres that can be closed, which cuts what is on it."""

    def __init__(self, database_url: str) -> None:
        self._given = conninfo_to_dict(database_url)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return make_conninfo(**{**self._given, "host": "127.0.0.1", "port": self.port, "sslmode": "disable"})

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        socket = f"{self._given['host']}/.s.PGSQL.{self._given.get('port') or 5432}"
        to, back = await asyncio.open_unix_connection(socket)
        self._open |= {writer, back}
        await asyncio.gather(_pipe(reader, back), _pipe(to, writer))
        self._open -= {writer, back}


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(2**16):
            writer.write(piece)
            await writer.drain()
    with suppress(OSError, RuntimeError):
        writer.close()


@asynccontextmanager
async def road_to(database_url: str) -> AsyncGenerator[Road]:
    road = Road(database_url)
    await road.open()
    try:
        yield road
    finally:
        await road.close()
