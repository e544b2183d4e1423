"""What an exception of a fsspec driver says about the next call: that it will fail again, or nothing.

The drivers are optional, so their classes cannot be imported here: an exception is looked at by errno, by HTTP status
and by the names of a few classes, along its chain of causes. Gives words of its own, because the drivers' may quote
credentials.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator

# The path or its permissions are the cause. Every other errno is of the disk, the network or a short supply.
LASTING_ERRNOS = frozenset(
    {
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.EISDIR,
        errno.ENOTDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENXIO,
        errno.ENODEV,
        errno.EINVAL,
        errno.EILSEQ,
    }
)
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


def causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield *exc* and what caused it, the nearest first."""
    found: BaseException | None = exc
    for _ in range(_MOST_CAUSES):
        if found is None:
            return
        yield found
        found = found.__cause__ or found.__context__


def http_status(exc: BaseException) -> int | None:
    """Return the status of the HTTP answer that failed, under one of the names that drivers give it."""
    for cause in causes(exc):
        for name in ("status", "status_code", "code"):
            value = getattr(cause, name, None)
            if isinstance(value, int) and 400 <= value <= 599:
                return value
    return None


def refusal(exc: BaseException) -> str | None:
    """Return why the same call will fail again; None when it may succeed later, or nothing is there."""
    for cause in causes(exc):
        for kind in type(cause).__mro__:
            if kind.__name__ in _REFUSED_CLASSES:
                return _REFUSED_CLASSES[kind.__name__]
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "the certificate of the server is not valid here"
        if isinstance(cause, (ssl.SSLError, socket.gaierror)):  # their numbers are not the operating system's
            return None
        if isinstance(cause, OSError) and cause.errno in LASTING_ERRNOS and not isinstance(cause, FileNotFoundError):
            return os.strerror(cause.errno)
        if isinstance(cause, (PermissionError, IsADirectoryError, NotADirectoryError)):  # without a number
            return "it may not be read or written, or it is a folder"
    return None


def passing_reason(exc: BaseException) -> str:
    """Return what happened to a connection, in words."""
    for cause in causes(exc):
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused"
        if isinstance(cause, TimeoutError):
            return "the server did not answer in time"
        if isinstance(cause, socket.gaierror):
            return "DNS has no address for the host now"
        if isinstance(cause, ssl.SSLError):
            return "the TLS connection failed"
        if isinstance(cause, (ConnectionError, EOFError)):
            return "the connection broke"
    return getattr(exc, "strerror", None) or type(exc).__name__
