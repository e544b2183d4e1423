"""The gateway's socket, and how other commands of the home find it.

Owns binding the port before anything else is started, so that a taken one is reported first. In `waybill up` the socket
stays with the parent: requests that arrive while the gateway's process restarts wait instead of being refused.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Generator
from contextlib import contextmanager
from ipaddress import ip_address

from blocks.errors import InvalidSettings
from blocks.links import note_gateway
from blocks.runtime.write_errors import write_error
from blocks.settings import Settings

# Connections that wait while the process restarts, a second or two.
_BACKLOG = 512


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket on *host* and *port*, 0 for any free one. Raises `InvalidSettings` with the remedy."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as exc:
        raise InvalidSettings(f"{host!r} is not an address of this machine; give one with --host") from exc
    listener = socket.socket(family, kind, protocol)
    try:
        # A gateway that was stopped a moment ago leaves connections in TIME_WAIT; they do not hold the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as exc:
        listener.close()
        raise InvalidSettings(_refusal(host, port, exc)) from exc
    return listener


def bound_to(listener: socket.socket) -> str:
    """Return the URL that *listener* is bound to, which is every network of this machine for 0.0.0.0 and ::."""
    return _url(*_name(listener))


def exposure(settings: Settings, listener: socket.socket) -> str | None:
    """Return a warning if other machines reach *listener*: the gateway speaks plain HTTP. None on loopback."""
    host, _ = _name(listener)
    if ip_address(host.partition("%")[0]).is_loopback:
        return None
    links = "" if "public_url" in settings.given else " and set WAYBILL_PUBLIC_URL, with which links begin"
    return (
        f"other machines reach the gateway at {bound_to(listener)} without TLS: keys and files can be read on the way; "
        f"put a reverse proxy with TLS in front{links}"
    )


def address_of(listener: socket.socket) -> str:
    """Return the URL of *listener* for clients on this machine."""
    host, port = _name(listener)
    return _url({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104 - recognised, not bound


@contextmanager
def announced(settings: Settings, listener: socket.socket) -> Generator[str]:
    """Let links of this home begin with the address of *listener* inside the block, unless the user has named one."""
    url = address_of(listener)
    try:
        forget = note_gateway(settings.home, url)
    except OSError as exc:
        raise write_error(settings.home, exc) from exc
    try:
        yield url
    finally:
        forget()


def _name(listener: socket.socket) -> tuple[str, int]:
    name = listener.getsockname()
    return str(name[0]), int(name[1])


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _refusal(host: str, port: int, exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken by another program; give the gateway another one with --port"
    if exc.errno == errno.EACCES:
        return f"port {port} is reserved for the system; give the gateway one above 1023 with --port"
    if exc.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; give one with --host"
    return f"the gateway cannot listen on {host} port {port}: {exc.strerror}"
