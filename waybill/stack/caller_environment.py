"""What of the caller's environment reaches the servers and processes of the stack.

Owns the lists that docs/configuration.md shows. The two servers get named variables only. Everything else, such as flow
runs, which read the user's sources, inherits the environment without the variables that change how Waybill itself
works. Reads and changes no environment of its own.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

# A name, or with "*" at its end the beginning of one.
Names = tuple[str, ...]

# To find programs and libraries, and to move all clocks of a test.
_LOADER: Names = ("PATH", "LD_*", "DYLD_*", "MALLOC_*", "FAKETIME*")
_ACCOUNT: Names = ("HOME", "USER", "LOGNAME", "TMPDIR")
# Where Python finds packages; nothing that changes how it works.
PYTHON_KEPT: Names = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONUSERBASE",
    "PYTHONNOUSERSITE",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPYCACHEPREFIX",
)
_CERTIFICATES: Names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES: Names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY", "WSS_PROXY", "SOCKS_PROXY")
_NO_PROXY = "NO_PROXY"

# Of Prefect's variables, those that hold for a server that the stack starts: addresses and credentials, how the server
# works off its queues and cleans up, the database, how often processes ask and report, and what is logged.
PREFECT_KEPT: Names = (
    "PREFECT_API_URL",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_SERVER_API_AUTH_STRING",
    "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS",
    "PREFECT_SERVER_CORS_ALLOWED_ORIGINS",
    "PREFECT_CLIENT_RETRY_EXTRA_CODES",
    "PREFECT_API_DATABASE_CONNECTION_URL",
    "PREFECT_SERVER_DATABASE_*",
    "PREFECT_SERVER_SERVICES_*",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",
    "PREFECT_SERVER_ANALYTICS_ENABLED",
    "PREFECT_SERVER_UI_API_URL",
    "PREFECT_SERVER_UI_V2_ENABLED",
    "PREFECT_SERVER_LOGGING_LEVEL",
    "PREFECT_LOGGING_LEVEL",
    "PREFECT_LOGGING_TO_API_ENABLED",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL",
    "PREFECT_RUNNER_POLL_FREQUENCY",
    "PREFECT_WORKER_QUERY_SECONDS",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY",
)
# Removed for this process and everything that it starts: they change how Python, the gateway's server or TLS works, and
# none of them says anything about a user's source.
REMOVED: Names = ("PYTHON*", "UVICORN_*", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "SSLKEYLOGFILE", "PG*")

POSTGRES_KEPT: Names = _LOADER
PREFECT_SERVER_KEPT: Names = (
    *_LOADER,
    *_ACCOUNT,
    *PYTHON_KEPT,
    *_CERTIFICATES,
    *_PROXIES,
    _NO_PROXY,
    *PREFECT_KEPT,
    "DO_NOT_TRACK",
)

# Not through a proxy: it could not reach this machine's loopback addresses.
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def postgres_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of the embedded Postgres and of the program that makes its cluster."""
    return {**_kept(given, POSTGRES_KEPT), "LC_ALL": "C", "TZ": "UTC"}


def prefect_server_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return what of *given* the Prefect server gets."""
    kept = _kept(given, PREFECT_SERVER_KEPT)
    changes = proxy_changes(kept) | certificate_changes(kept)
    found = {name: value for name, value in (kept | changes).items() if value is not None}
    return {**found, "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONUTF8": "1"}


def child_changes(given: Mapping[str, str], *, own_server: bool) -> dict[str, str | None]:
    """Return the variables to change for this process and the processes that it starts; None: remove.

    With *own_server*, also those of Prefect's variables that are not kept. A server that the user has named keeps the
    user's own Prefect configuration.
    """
    removed = [name for name in given if _is_one_of(name, REMOVED) and not _is_one_of(name, PYTHON_KEPT)]
    if own_server:
        removed += [
            name for name in given if name.upper().startswith("PREFECT_") and not _is_one_of(name, PREFECT_KEPT)
        ]
    return {**dict.fromkeys(removed), **proxy_changes(given), **certificate_changes(given)}


def is_for_another_server(name: str) -> bool:
    """Whether *name* is a variable of Prefect that is not kept for a server that the stack starts."""
    return _is_one_of(name, ("PREFECT_*",)) and not _is_one_of(name, PREFECT_KEPT)


def proxy_changes(given: Mapping[str, str]) -> dict[str, str | None]:
    """Return the changes that keep loopback addresses away from the proxies that *given* names.

    A proxy that Prefect's client cannot use is removed: the client would refuse to start, wherever it connects to.
    """
    changes: dict[str, str | None] = {}
    for name, value in given.items():
        if name.upper() in _PROXIES and value and not _is_usable(value):
            changes[name] = None
    if any(name.upper() in _PROXIES and value for name, value in given.items()):
        # Clients read one of the two spellings, and some of them both.
        hosts = [host for spelling in (_NO_PROXY, _NO_PROXY.lower()) for host in _hosts(given.get(spelling, ""))]
        value = ",".join(dict.fromkeys([*hosts, *LOOPBACK]))
        changes |= {_NO_PROXY: value, _NO_PROXY.lower(): value}
    return changes


def certificate_changes(given: Mapping[str, str]) -> dict[str, str | None]:
    """Return the removal of certificates that cannot be read: importing Prefect alone would fail, without any TLS."""
    changes: dict[str, str | None] = {}
    if file := given.get("SSL_CERT_FILE"):
        try:
            ssl.create_default_context(cafile=file)
        except OSError:  # also what is no certificate (`ssl.SSLError`)
            changes["SSL_CERT_FILE"] = None
    if (folder := given.get("SSL_CERT_DIR")) and not Path(folder).is_dir():
        changes["SSL_CERT_DIR"] = None
    return changes


def _hosts(value: str) -> Iterator[str]:
    """Yield the entries of a `NO_PROXY`; IPv6 addresses without brackets, which Prefect's client cannot read."""
    for entry in value.split(","):
        host = entry.strip()
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if host and "[" not in host:
            yield host


def _is_usable(proxy: str) -> bool:
    import httpx  # a tenth of a second, and few have a proxy

    try:
        url = httpx.Proxy(proxy if "://" in proxy else f"http://{proxy}").url
    except (ValueError, httpx.InvalidURL):  # also a scheme that it does not know
        return False
    return bool(url.host) and (not url.scheme.startswith("socks") or find_spec("socksio") is not None)


def _kept(given: Mapping[str, str], names: Names) -> dict[str, str]:
    return {name: value for name, value in given.items() if _is_one_of(name, names)}


def _is_one_of(name: str, names: Names) -> bool:
    # Programs read some of them in lower case too.
    upper = name.upper()
    return any(upper.startswith(one[:-1]) if one.endswith("*") else upper == one for one in names)
