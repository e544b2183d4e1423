"""Classify what went wrong while a source was read: whether it may pass by itself, and the words for it.

What an exception of a driver says is read by `blocks.storage.driver_failure`. Messages have no text of the server's.
"""

from __future__ import annotations

from blocks.errors import SourceNotFound, StorageUnavailable, WaybillError
from blocks.storage import driver_failure

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
    if exc.errno in driver_failure.LASTING_ERRNOS:
        return SourceNotFound(f"cannot open {shown}: {why}")
    return StorageUnavailable(f"cannot read {shown}: {why}")


def of_driver(exc: Exception, shown: str) -> WaybillError:
    """Return the error for an exception of a driver; one of ours is returned as it is."""
    found = list(driver_failure.causes(exc))
    if ours := next((cause for cause in found if isinstance(cause, WaybillError)), None):
        return ours
    if (status := driver_failure.http_status(exc)) is not None:
        return of_status(status, shown)
    if why := driver_failure.refusal(exc):
        return lasting(shown, why)
    if any(isinstance(cause, FileNotFoundError) for cause in found):
        return missing(shown)
    if isinstance(exc, (ValueError, TypeError, ImportError, NotImplementedError)):
        return lasting(shown, f"its driver does not read it ({type(exc).__name__})")
    return passing(shown, driver_failure.passing_reason(exc))
