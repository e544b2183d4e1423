"""Whether the storage answers at all, before a command begins work that would wait for it again and again.

One look with a time limit, at a storage that is reached over a network. It says which storage, at which address, and by
which setting it was named. A folder needs none of this: it answers, or the error names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from socket import create_connection
from threading import Thread
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

from blocks.errors import StorageUnavailable, Transient, WaybillError
from blocks.redaction import without_password, without_query
from blocks.runtime.shutdown import request_shutdown
from blocks.settings import Settings

# To an address that refuses connections at once.
_CONNECT_SECONDS = 1.0
# Reached without a proxy.
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# The options of fsspec's drivers that hold an address.
_ADDRESSES = ("endpoint_url", "endpoint", "host", "account_url", "base_url")


def check_storage_answers(settings: Settings) -> None:
    """Raise `StorageUnavailable` when the storage of *settings* does not answer in time; changes nothing.

    After that this process can end, but its calls to storages are cut short. Also raises what the storage itself
    refuses, such as `InvalidSettings` for a missing bucket.
    """
    url = settings.resolved_storage_url
    if "://" not in url or urlsplit(url).scheme in {"file", "local"}:
        return
    if (address := _address(settings.storage_options)) is not None and _refuses(address):
        raise _silent(settings, "refuses connections")
    _import_driver(url)
    problems: list[Exception] = []
    # A daemon: a driver that waits for its server would keep the interpreter from ending.
    looking = Thread(target=_look, args=(settings, problems), name="storage probe", daemon=True)
    looking.start()
    looking.join(settings.answer_seconds)
    if looking.is_alive():
        request_shutdown()
        raise _silent(settings, f"gave no answer in {settings.answer_seconds:g} s")
    for problem in problems:
        if isinstance(problem, WaybillError) and not isinstance(problem, Transient):
            raise problem
        reason = problem.message if isinstance(problem, WaybillError) else type(problem).__name__
        raise _silent(settings, f"does not answer ({reason})") from problem


def _refuses(address: str) -> bool:
    """Return whether nothing listens at *address*, as far as that shows at once; False for what a proxy reaches."""
    try:
        parts = urlsplit(address)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        if parts.hostname is None or port is None or (getproxies() and parts.hostname not in _LOOPBACK):
            return False
        create_connection((parts.hostname, port), timeout=_CONNECT_SECONDS).close()
    except ConnectionRefusedError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _import_driver(url: str) -> None:
    """Import what serves *url*: on a busy machine that takes longer than the storage may."""
    import fsspec  # pyright: ignore[reportMissingTypeStubs]

    with suppress(ImportError, ValueError):
        fsspec.get_filesystem_class(urlsplit(url).scheme)  # pyright: ignore[reportUnknownMemberType]


def _look(settings: Settings, problems: list[Exception]) -> None:
    from blocks.storage import open_backend

    try:
        open_backend(settings.resolved_storage_url, settings.storage_options).probe()
    except Exception as error:  # noqa: BLE001 - raised by the caller, in its thread
        problems.append(error)


def _silent(settings: Settings, what: str) -> StorageUnavailable:
    shown = without_query(without_password(settings.resolved_storage_url))
    address = _address(settings.storage_options)
    return StorageUnavailable(
        f"the storage {shown}{f' at {address}' if address else ''} {what}; start it, or correct WAYBILL_STORAGE_URL"
        f"{' and WAYBILL_STORAGE_OPTIONS' if settings.storage_options else ''}"
    )


def _address(options: Mapping[str, Any]) -> str | None:
    """Return the address in *options* of a driver, without credentials."""
    nested: object = options.get("client_kwargs")
    places = [options, *([cast("Mapping[str, Any]", nested)] if isinstance(nested, Mapping) else [])]
    given = [place[name] for place in places for name in _ADDRESSES if isinstance(place.get(name), str)]
    return without_query(without_password(given[0])) if given else None
