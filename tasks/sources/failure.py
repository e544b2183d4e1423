"""Classify what went wrong while a source was read: whether it may pass by itself, and the words for it.

A driver's error is looked at by errno, by HTTP status and by the names of a few classes, along its chain of causes: the
drivers are optional, so their classes cannot be imported here. Messages have no text of the server's.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator

from blocks.errors import SourceNotFound, StorageUnavailable, WaybillError

# The path or its permissions are the cause. Every other errno is of the disk, the network or a short supply.
_LASTING_ERRNOS = {
    errno.ENOENT,
    errno.EACCES,
    errno.EPERM,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENXIO,
    errno.ENODEV,
    errno.EINVAL,
    errno.EILSEQ,
}
# Too early, too slow, too often: the same request may be answered later. So may every 5xx.
_PASSING_STATUSES = {408, 425, 429}
_MISSING_STATUSES = {404, 410}
_MEANINGS = {
    400: "the server does not accept the request",
    401: "the server wants credentials, or does not accept those given",
    402: "the server wants a payment",
    403: "the server does not permit reading it",
    407: "the proxy wants credentials, or does not accept those given",
    414: "the URL is too long for the server",
    451: "the server must not send it, for legal reasons",
}
# Of paramiko and ftplib. What else they raise is of the connection.
_REFUSED_CLASSES = {
    "AuthenticationException": "the server does not accept the credentials",
    "BadAuthenticationType": "the server does not accept this kind of credentials",
    "PasswordRequiredException": "the private key needs a passphrase",
    "BadHostKeyException": "the host key of the server is not the known one",
    "error_perm": "the server refuses it",
}
# A chain of causes is short; a circle of them must not hang.
_MOST_CAUSES = 10


def passing(shown: str, why: str, *, retry_after_seconds: float = 0.0) -> StorageUnavailable:
    """Return the error for a failure that may pass; a retry waits for at least *retry_after_seconds*."""
    return StorageUnavailable(f"cannot read {shown}: {why}", retry_after_seconds=retry_after_seconds)


def lasting(shown: str, why: str) -> SourceNotFound:
    """Return the error for a failure that stays."""
    return SourceNotFound(f"cannot read {shown}: {why}")


def missing(shown: str) -> SourceNotFound:
    """Return the error for a source that is not there."""
    return SourceNotFound(f"there is nothing at {shown}")


def of_status(status: int, shown: str, *, retry_after_seconds: float = 0.0) -> WaybillError:
    """Return the error for an HTTP answer that is no success."""
    if status >= 500 or status in _PASSING_STATUSES:
        return passing(shown, f"the server answered {status}", retry_after_seconds=retry_after_seconds)
    if status in _MISSING_STATUSES:
        return SourceNotFound(f"there is nothing at {shown}: the server answered {status}")
    return lasting(shown, f"{_MEANINGS.get(status, 'the server refuses it')} ({status})")


def of_local(exc: OSError, shown: str) -> WaybillError:
    """Return the error for a local file or folder that the operating system does not open or read."""
    why = exc.strerror or type(exc).__name__
    if exc.errno in _LASTING_ERRNOS:
        return SourceNotFound(f"cannot open {shown}: {why}")
    return StorageUnavailable(f"cannot read {shown}: {why}")


def of_driver(exc: Exception, shown: str) -> WaybillError:
    """Return the error for an exception of a driver; one of ours is returned as it is."""
    for cause in _causes(exc):
        if isinstance(cause, WaybillError):
            return cause
        status = _status(cause)
        if status is not None:
            return of_status(status, shown)
    for cause in _causes(exc):
        if found := _known(cause, shown):
            return found
    return passing(shown, type(exc).__name__)


def _known(cause: BaseException, shown: str) -> WaybillError | None:
    """Return the error for a cause that says by itself what is wrong."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        return lasting(shown, "the certificate of the server is not valid here")
    for kind in type(cause).__mro__:
        if kind.__name__ in _REFUSED_CLASSES:
            return lasting(shown, _REFUSED_CLASSES[kind.__name__])
    if isinstance(cause, ssl.SSLError):  # its numbers are not the operating system's
        return passing(shown, "the TLS connection failed")
    if isinstance(cause, socket.gaierror):
        return passing(shown, "DNS has no address for the host now")
    if isinstance(cause, FileNotFoundError):
        return missing(shown)
    if isinstance(cause, OSError) and cause.errno in _LASTING_ERRNOS:
        return lasting(shown, os.strerror(cause.errno))
    if isinstance(cause, (PermissionError, IsADirectoryError, NotADirectoryError)):  # without a number
        return lasting(shown, "it may not be read, or it is a folder")
    if isinstance(cause, (ValueError, TypeError, ImportError, NotImplementedError)):
        return lasting(shown, f"its driver does not read it ({type(cause).__name__})")
    if isinstance(cause, (OSError, EOFError)):
        return passing(shown, _connection(cause))
    return None


def _connection(cause: BaseException) -> str:
    """Return what happened to a connection, in words."""
    if isinstance(cause, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(cause, TimeoutError):
        return "the server did not answer in time"
    if isinstance(cause, (ConnectionError, EOFError)):
        return "the connection broke"
    return getattr(cause, "strerror", None) or type(cause).__name__


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield *exc* and what caused it, the nearest first."""
    found: BaseException | None = exc
    for _ in range(_MOST_CAUSES):
        if found is None:
            return
        yield found
        found = found.__cause__ or found.__context__


def _status(cause: BaseException) -> int | None:
    """Return the HTTP status that an exception of some driver has, under one of the usual names."""
    for name in ("status", "status_code", "code"):
        value = getattr(cause, name, None)
        if isinstance(value, int) and 400 <= value <= 599:
            return value
    return None
