"""A link between two network namespaces as a program, so that its packets can be lost and delayed.

The kernel's own means for that (netem) is a module that many kernels lack; a TUN device is nearly everywhere. Reads
orders from standard input, one a line: ``loss SHARE``, ``delay SECONDS``, ``down`` and ``up``.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import random
import selectors
import struct
import sys
import time
from collections import deque
from dataclasses import dataclass, field

# Jumbo frames: a program moves fewer, larger packets faster.
MTU = 9000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
# As much as waits in a router before it drops.
_MOST_WAITING = 2000


@dataclass
class Weather:
    """What happens to packets now."""

    loss: float = 0.0
    delay: float = 0.0
    is_down: bool = False


@dataclass
class Side:
    """One end: its device, and the packets that are on their way to it with the times at which they are due."""

    device: int
    waiting: deque[tuple[float, bytes]] = field(default_factory=deque[tuple[float, bytes]])


def enter(namespace: str) -> None:
    """Move the calling thread to *namespace*: the sockets that it makes from now on are there."""
    where = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(where, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {namespace}")
    finally:
        os.close(where)


def open_tun(namespace: str, name: str) -> int:
    """Return the descriptor of a TUN device *name* in *namespace*, where this process then is."""
    enter(namespace)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


def main() -> None:
    """Carry packets between ``NAMESPACE DEVICE NAMESPACE DEVICE`` until standard input is closed."""
    chance = random.Random(int(os.environ.get("WIRE_SEED", "1")))
    first, second = (Side(open_tun(sys.argv[place], sys.argv[place + 1])) for place in (1, 3))
    weather = Weather()
    print("ready", flush=True)
    os.set_blocking(0, False)
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(first.device, selectors.EVENT_READ, second)
        selector.register(second.device, selectors.EVENT_READ, first)
        while True:
            due = min((side.waiting[0][0] for side in (first, second) if side.waiting), default=None)
            for key, _ in selector.select(None if due is None else max(0.0, due - time.monotonic())):
                if key.data is None:
                    if not follow_orders(weather):
                        return
                else:
                    take(key.fd, key.data, weather, chance)
            for side in (first, second):
                hand_out(side)


def follow_orders(weather: Weather) -> bool:
    """Read what standard input says; return whether it is still open."""
    text = os.read(0, 4096).decode()
    for line in text.splitlines():
        order, *value = line.split()
        if order in {"up", "down"}:
            weather.is_down = order == "down"
        else:
            setattr(weather, order, float(value[0]))
    return bool(text)


def take(device: int, other: Side, weather: Weather, chance: random.Random) -> None:
    """Read the packets that a device has sent, and queue those that are not lost for the other end."""
    while True:
        try:
            packet = os.read(device, MTU + 100)
        except BlockingIOError:
            return
        if weather.is_down or chance.random() < weather.loss or len(other.waiting) >= _MOST_WAITING:
            continue
        other.waiting.append((time.monotonic() + weather.delay, packet))


def hand_out(side: Side) -> None:
    """Write the packets that are due."""
    now = time.monotonic()
    while side.waiting and side.waiting[0][0] <= now:
        _, packet = side.waiting.popleft()
        try:
            os.write(side.device, packet)
        except OSError:  # a device that is down, or has no room: lost, as on any network
            continue


if __name__ == "__main__":
    main()
