"""The buffers of connections: bounded towards near hosts, as large as the kernel allows towards others."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from blocks.hand_over.connection import Connection
from blocks.runtime.near_hosts import NEAR_BUFFER_BYTES, bound_buffers
from tests.stack_driver import eventually
from tests.two_hosts import can_have_hosts, two_hosts_on_a_wire
from waybill.gateway.server.server import GatewayServer
from waybill.process.gateway_socket import address_of, listen


def receive_buffer(sock: socket.socket) -> int:
    """As the kernel has it, which doubles what it is given."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


async def test_the_gateway_bounds_the_buffer_of_a_near_client() -> None:
    ending = asyncio.Event()
    with listen("127.0.0.1", 0) as listener:
        server = GatewayServer(lambda *_: None, ending.is_set)  # pyright: ignore[reportArgumentType] - never called
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        with socket.create_connection(listener.getsockname()):
            await asyncio.to_thread(eventually, lambda: server.server_state.connections, "it is accepted")
            (connection,) = server.server_state.connections
            assert receive_buffer(connection.transport.get_extra_info("socket")) == NEAR_BUFFER_BYTES  # type: ignore[union-attr]
        ending.set()
        await serving


def test_a_client_bounds_both_of_its_buffers_towards_a_near_gateway() -> None:
    with listen("127.0.0.1", 0) as listener:
        connection = Connection(address_of(listener))
        connection.begin("GET", {})
        sock = connection._http.sock  # type: ignore[union-attr] # pyright: ignore[reportPrivateUsage]
        sizes = [sock.getsockopt(socket.SOL_SOCKET, one) // 2 for one in (socket.SO_RCVBUF, socket.SO_SNDBUF)]
        connection.close()
    assert sizes == [NEAR_BUFFER_BYTES] * 2


@pytest.mark.skipif(not can_have_hosts(), reason="network namespaces take root, ip and /dev/net/tun")
def test_a_far_client_keeps_what_the_kernel_gives() -> None:
    with (
        two_hosts_on_a_wire() as (server, other, wire),
        ThreadPoolExecutor(1, initializer=server.enter) as there,
        ThreadPoolExecutor(1, initializer=other.enter) as here,
    ):
        wire.order("delay 0.005")
        with there.submit(listen, server.address, 0).result() as listener:
            connecting = here.submit(socket.create_connection, listener.getsockname())
            accepted, _ = listener.accept()
            with accepted, connecting.result():
                before = receive_buffer(accepted)
                bound_buffers(accepted, socket.SO_RCVBUF)
                assert receive_buffer(accepted) == before != NEAR_BUFFER_BYTES
