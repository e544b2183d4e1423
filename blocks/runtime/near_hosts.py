"""Smaller buffers for connections to near hosts.

The kernel lets the buffers of a connection grow to what it allows (4 MiB to send, 6 MiB or more to receive) whenever
the reader is the slower side, and what is in them when a process is killed is sent once more. A far host needs them to
keep the link full; a near one does not.
"""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress

NEAR_SECONDS = 0.001
"""The longest round trip to a near host."""
NEAR_BUFFER_BYTES = 256 * 1024
"""The kernel doubles it: half a gigabyte a second at the longest round trip, and more at shorter ones."""
# tcpi_rtt of struct tcp_info (linux/tcp.h), in microseconds: 8 bytes and 15 words precede it.
_RTT = struct.Struct("I")
_RTT_OFFSET = 8 + 15 * 4


def bound_buffers(sock: socket.socket, *options: int) -> None:
    """Bound the buffers that *options* name (SO_RCVBUF, SO_SNDBUF) of *sock*, just connected, if its peer is near.

    Does nothing elsewhere than on Linux.
    """
    with suppress(OSError):  # closed already
        seconds = _round_trip_seconds(sock)
        if seconds is not None and seconds <= NEAR_SECONDS:
            for option in options:
                sock.setsockopt(socket.SOL_SOCKET, option, NEAR_BUFFER_BYTES)


def _round_trip_seconds(sock: socket.socket) -> float | None:
    """Return what the handshake took, by the kernel's clock, so that a busy machine makes no host a far one."""
    if sys.platform != "linux" or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return None
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT_OFFSET + _RTT.size)
    return _RTT.unpack_from(info, _RTT_OFFSET)[0] / 1_000_000
