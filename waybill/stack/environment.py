"""The environment that Prefect reads, for this process and for the server that it starts.

Owns the tuned settings with their reasons, and restoring the environment when the stack is left. A tuned setting that
the user has set stays as it is; `caller_environment` says what else stays. Prefect reads all of this when it is first
imported, so this module never imports it first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from blocks.settings import export_to_environment, inherited_environment, settings_file_for_children
from blocks.settings.retention import PERIODS
from waybill.stack.caller_environment import child_changes, is_for_another_server, prefect_server_environment
from waybill.stack.prefect_credential import CLIENT_VARIABLE, SERVER_VARIABLE
from waybill.stack.prefect_guard import allowed_origins

_CLIENT_DEFAULTS = {
    # Nothing is sent to Prefect's makers.
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Quiet on the terminal only: the handler that sends a run's log lines to the UI still gets all of them.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR",
    # From trigger to flow body in 2-4 s; Prefect's defaults look every 10 and 15 s.
    "PREFECT_RUNNER_POLL_FREQUENCY": "1",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    # A server whose database is away answers 500, and a proxy 504 for a server that is away: a run waits for it, as it
    # does for one that refuses connections (Prefect's client repeats those itself, for a minute).
    "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500,504",
    # A run whose process was killed is noticed after two missed heartbeats.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
}

_SERVER_DEFAULTS = {
    # Fewer and larger writes: a fifth of the time per task run. With the defaults of 1 and 20, a burst of some thousand
    # task runs overflows the server's queue of 10,000 messages, and their records are lost. The queue has two readers,
    # so both are set: with the recorder's alone, a quarter of the events was lost.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "1",
    # Relative, so that the UI finds the API on whatever port it is served from.
    "PREFECT_SERVER_UI_API_URL": "/api",
    # The newer UI asks an analytics host in the internet.
    "PREFECT_SERVER_UI_V2_ENABLED": "false",
    # Kept in files, the slots of a concurrency limit outlive a killed server; in memory they leak.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    # A library of Prefect's server compiles its own modules at each start, to check the types of its arguments.
    "PY_KEY_VALUE_DISABLE_BEARTYPE": "true",
    # Looked for in the metadata of every installed package; there is none for the server.
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
    # Old events, and once a day what deleted runs have left: log lines that came late. Not "flow_runs": a run goes by
    # `trim-history`, which knows whether its events are delivered.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,orphans",
}
# Prefect reads both names, the first one first.
_EVENT_RETENTION = "PREFECT_SERVER_EVENTS_RETENTION_PERIOD", "PREFECT_EVENTS_RETENTION_PERIOD"

# Prefect reads both names, the first one first.
_ORIGINS = "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS", "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"


def client_environment(
    *,
    database_url: str,
    home: Path,
    api_url: str | None,
    own_credential: str | None,
) -> dict[str, str | None]:
    """Return what this process and its children need to find the catalogue and, if there is one, the Prefect server.

    *own_credential* is that of our own server, None where there is none. With it, Prefect's files go under the home,
    and a profile or key that the user has for another server is not used. A server that the user has named keeps the
    user's own Prefect configuration. None in the result means: not set.
    """
    given = inherited_environment()
    found: dict[str, str | None] = {name: value for name, value in _CLIENT_DEFAULTS.items() if name not in given}
    found |= child_changes(given, own_server=own_credential is not None)
    found |= {
        "WAYBILL_HOME": str(home),
        "WAYBILL_DATABASE_URL": database_url,
        **settings_file_for_children(),
        # Without a server, Prefect would silently start its own on SQLite.
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    }
    if api_url is not None:
        found["PREFECT_API_URL"] = api_url
    if own_credential is not None:
        found |= _own_prefect_files(home)
        found |= {CLIENT_VARIABLE: own_credential, SERVER_VARIABLE: None}
    return found


def server_environment(
    *,
    home: Path,
    prefect_database_url: str,
    host: str,
    port: int,
    credential: str,
    history: timedelta = PERIODS["history"],
) -> dict[str, str]:
    """Return the whole environment of the Prefect server's process, which listens on *host* and *port*.

    It keeps its events for *history*, unless the user has set another time for them.
    """
    given = inherited_environment()
    defaults = _CLIENT_DEFAULTS | _SERVER_DEFAULTS | {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING"}
    changes: dict[str, str | None] = {
        **{name: value for name, value in defaults.items() if name not in given},
        **({} if any(name in given for name in _EVENT_RETENTION) else {_EVENT_RETENTION[0]: _iso(history)}),
        **_own_prefect_files(home),
        "PREFECT_API_URL": f"http://{host}:{port}/api",
        **dict.fromkeys(_ORIGINS, ",".join(allowed_origins(port, *(given.get(name, "") for name in _ORIGINS)))),
        # Where the guard expects it.
        "PREFECT_SERVER_API_BASE_PATH": None,
        # The client's, too: the server calls its own API.
        SERVER_VARIABLE: credential,
        CLIENT_VARIABLE: credential,
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": prefect_database_url,
        # The process will make no second app, which lets Prefect leave out work at the start.
        "PREFECT__SERVER_FINAL": "1",
    }
    return {name: value for name, value in (prefect_server_environment(given) | changes).items() if value is not None}


def _iso(duration: timedelta) -> str:
    """Return the text that Prefect reads as *duration*."""
    return f"PT{max(1, round(duration.total_seconds()))}S"


def prefect_database_url() -> str | None:
    """Return the database that the user has named for a Prefect server, as a SQLAlchemy URL, if any."""
    given = inherited_environment()
    # Prefect reads both names, the first one first.
    return given.get("PREFECT_SERVER_DATABASE_CONNECTION_URL") or given.get("PREFECT_API_DATABASE_CONNECTION_URL")


@contextmanager
def exported(values: Mapping[str, str | None]) -> Generator[None]:
    """Set *values* (None: remove) inside the block and restore the previous ones after it.

    Variables of Prefect for another server stay removed: once imported, it would read them again.
    """
    before = inherited_environment()
    _set(values)
    try:
        yield
    finally:
        _set({name: before.get(name) for name in values if not is_for_another_server(name)})


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
    export_to_environment(**{name: value for name, value in values.items() if value is not None})
    if "prefect" in sys.modules:
        # It was imported before the stack was started, and has read its settings already.
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def _own_prefect_files(home: Path) -> dict[str, str | None]:
    directory = home / "prefect"
    return {
        "PREFECT_HOME": str(directory),
        "PREFECT_PROFILES_PATH": str(directory / "profiles.toml"),
        "PREFECT_API_KEY": None,
        # Its server is reached without TLS; SSL_CERT_FILE, from which this is taken otherwise, may name no file.
        # Prefect reads the file for each of its clients, a dozen in a run: one certificate takes half a millisecond,
        # those of all authorities twenty. The key of this one was not kept, so that nothing is trusted by it.
        "PREFECT_API_SSL_CERT_FILE": str(Path(__file__).with_name("no_authority.pem")),
    }
