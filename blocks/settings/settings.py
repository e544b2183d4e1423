"""The only reader of the environment and of the settings file.

Owns every `WAYBILL_*` variable. The environment wins over ``waybill.toml``; Prefect blocks win over both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import timedelta
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from blocks.errors import InvalidSettings
from blocks.settings import parsing
from blocks.settings.parsing import PrivateNetworks, Secret, Unusable
from blocks.settings.project_folder import HOME_NAME, project_folder
from blocks.settings.retention import Retention, retention
from blocks.settings.settings_file import FILE_NAME, PATHS, STORAGE_PATHS, read_settings_file

# Immediately, then with growing pauses: a receiver that is being redeployed is back in seconds, one that broke on a
# Friday evening is repaired on Monday. Three days and four hours in all.
DEFAULT_WEBHOOK_SCHEDULE = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)),
)
# Names that other programs' configurations use for the same thing; the name of Waybill's own wins.
_ALIASES = {"WAYBILL_EXPORT_STORAGE_PATH": "EXPORT_STORAGE_PATH"}
# Letters exchanged, left out or doubled. Lower, and the variables that Kubernetes makes for a service match.
_ALIKE = 0.8
# Not a setting: it names the file of settings.
_FILE_VARIABLE = "WAYBILL_CONFIG"
# For child processes in other working directories: the folder in which the file is looked for, if none is named.
_FOLDER_VARIABLE = "WAYBILL_CONFIG_FOLDER"


def _setting(
    parse: Callable[[object], Any],
    default: Any = MISSING,
    *,
    shown: bool = True,
    **options: Any,
) -> Any:
    return field(default=default, repr=shown, metadata={"parse": parse}, **options)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Configuration of one process; see ``docs/configuration.md``. Field ``x`` is the variable ``WAYBILL_X``.

    A caller's values are parsed like those of variables. Raises `InvalidSettings`.
    """

    # Absolute, as every path here: servers that are started for the home run in other folders.
    home: Path = _setting(parsing.path, default_factory=lambda: parsing.path(str(_folder() / HOME_NAME)))
    database_url: Secret | None = _setting(parsing.secret, None)
    storage_url: str | None = _setting(parsing.text, None)
    # May hold credentials.
    storage_options: dict[str, Any] = _setting(parsing.json_object, default_factory=dict, shown=False)
    # A server across an ocean answers in a second or two: commands name one that takes longer before they begin.
    answer_seconds: float = _setting(parsing.number(0, 600, above=True), 4.0)

    # Encryption of what is stored. The key pair is made once, in the home, unless these name another.
    encrypt: bool = _setting(parsing.switch, True)
    storage_recipient: str | None = _setting(parsing.text, None)
    storage_identity_file: Path | None = _setting(parsing.path, None)
    # The passphrase of 'waybill age' where no key is named. Nothing else uses it.
    passphrase: Secret | None = _setting(parsing.secret, None)
    # The link signing keys; a file, so that several machines can share it.
    link_keys_file: Path | None = _setting(parsing.path, None)
    # The base URL of the gateway as clients reach it; links begin with it.
    public_url: str = _setting(parsing.text, "http://127.0.0.1:8000")
    # Redirect downloads of files that are stored unencrypted on S3 to S3, instead of sending them through the gateway.
    presigned_redirects: bool = _setting(parsing.switch, False)

    # Requests a minute of one API key, unless the key has its own limit.
    requests_per_minute: int = _setting(parsing.whole_number(1), 6000)
    # How long a small upload over HTTP waits for others that share its run, while uploads come in; 0: none shares one.
    ingest_window_seconds: float = _setting(parsing.number(0, 60), 0.05)
    # The largest upload over HTTP; files to be processed have a limit of their own, max_file_mib.
    max_upload_mib: int = _setting(parsing.whole_number(1), 16384)
    # Media types accepted over HTTP, such as application/pdf or image/*. With none named, every type is stored, and the
    # types that converters read are processed.
    allowed_types: tuple[str, ...] = _setting(parsing.texts, ())
    # Origins whose pages may use the API in a browser, such as https://app.example.org.
    cors_origins: tuple[str, ...] = _setting(parsing.texts, ())

    # Webhooks. Private networks that they may reach: off, on (every one), loopback, or networks such as 10.0.0.0/8.
    allow_private_webhooks: PrivateNetworks = _setting(parsing.networks, ())
    # The key pair that webhook secrets are encrypted with; a file, so that several machines can share it.
    webhook_identity_file: Path | None = _setting(parsing.path, None)
    # The pause before each attempt; after the last failed attempt a delivery is dead.
    webhook_schedule: tuple[timedelta, ...] = _setting(parsing.schedule, DEFAULT_WEBHOOK_SCHEDULE)
    # The webhook secret of 'waybill webhooks listen'. Nothing else uses it.
    webhook_secret: Secret | None = _setting(parsing.secret, None)
    # The longest wait of 'waybill process' for due webhooks before it ends.
    webhook_drain_seconds: float = _setting(parsing.number(0, 3600), 10.0)

    # A shard is one stage task over several documents: large enough that Prefect's 14-24 ms per task run disappear,
    # small enough that the progress of a batch is visible.
    shard_size: int = _setting(parsing.whole_number(1, 500), 200)
    # Two shards under way keep the workers busy while one of them waits for the disk or the catalogue.
    shards_at_once: int = _setting(parsing.whole_number(1, 32), 2)
    # Documents of a slice, which a run that is spread over machines gives to one of them: some minutes of work, so that
    # little is done again when a machine dies.
    slice_size: int = _setting(parsing.whole_number(1, 10_000), 500)
    # Slices that are in the work pool at the same time: more than there are workers, so that none waits for the next.
    slices_at_once: int = _setting(parsing.whole_number(1, 200), 16)
    # Global concurrency limits of Prefect that runs respect where there are any: for requests to the language model,
    # and for a storage that is not a folder.
    language_model_limit: str = _setting(parsing.text, "waybill-language-model")
    storage_limit: str = _setting(parsing.text, "waybill-storage")
    # The scheduler of a Dask cluster that runs stages, such as tcp://127.0.0.1:8786; processes of the run when not set.
    dask: str | None = _setting(parsing.text, None)
    workers: int = _setting(parsing.whole_number(1, 64), default_factory=lambda: max(1, min(os.cpu_count() or 1, 8)))
    # Processor time of one stage on one document; its size adds to it. A run may have its own.
    stage_timeout_seconds: float = _setting(parsing.number(0, above=True), 120.0)
    # A stage that uses no processor time and reports no progress for this long waits for what does not come.
    stage_silence_seconds: float = _setting(parsing.number(0, above=True), 120.0)
    # Private writable memory of one worker. Two workers and the flow stay under 1.5 GB with it.
    stage_memory_mib: int = _setting(parsing.whole_number(128), 512)
    # A larger document is refused before anything is stored.
    max_file_mib: int = _setting(parsing.whole_number(1), 1024)
    # Folders, buckets and hosts that a run may read from; anywhere but Waybill's own files when not set.
    allowed_sources: tuple[str, ...] | None = _setting(parsing.places, None)
    # Further stages as package.module:ATTRIBUTE, separated by commas.
    extra_stages: tuple[str, ...] = _setting(parsing.texts, ())
    # Stages that run on remote workers, by name, unless a run is asked for others: chunker = "gpu-pool".
    run_on: dict[str, Any] = _setting(parsing.json_object, default_factory=dict)
    # A thousand years; Python's calendar ends with the year 9999.
    retention_days: int = _setting(parsing.whole_number(1, 365_000), 30)
    # Periods of other kinds of files and of history, and the rules by which files stay or go.
    retention: Retention = _setting(retention, default_factory=Retention)

    # The folder of this machine as a remote worker: its key, and its gateway. ~/.waybill-worker when not set.
    worker_home: Path | None = _setting(parsing.path, None)

    # Exports. The folder or storage URL of finished files; in custody when not set.
    export_storage_path: str | None = _setting(parsing.text, None)
    # Of that storage; those of storage_url where both are of one kind. May hold credentials.
    export_storage_options: dict[str, Any] | None = _setting(parsing.json_object, None, shown=False)
    # Databases that exports may query, by name; a URL may hold a password.
    export_databases: Mapping[str, Secret] = _setting(parsing.connections, default_factory=dict)
    # The longest time that one query may take.
    export_query_seconds: float = _setting(parsing.number(1, 86_400), 600.0)
    # The most rows of one export: a query without its join condition would fill the disk.
    export_max_rows: int = _setting(parsing.whole_number(1), 50_000_000)
    # A table with at most this many rows is exported while its HTTP client waits; anything larger is a run.
    export_now_rows: int = _setting(parsing.whole_number(0, 100_000), 2000)

    def __new__(cls, **given: object) -> Self:
        # Which settings were given matters next to their values: a default may depend on what runs on this machine.
        found = super().__new__(cls)
        object.__setattr__(found, "_given", frozenset(given))
        return found

    def __post_init__(self) -> None:
        for one in fields(self):
            # Defaults too: that of the home is relative to the working directory, like a variable's.
            if (value := getattr(self, one.name)) is not None or one.default is not None:
                try:
                    object.__setattr__(self, one.name, one.metadata["parse"](value))
                except Unusable as exc:
                    raise InvalidSettings(f"{one.name}: {exc}") from None
        object.__setattr__(self, "retention", self.retention.with_days(self.retention_days))

    @property
    def given(self) -> frozenset[str]:
        """The names of the settings that were given, as opposed to left at their defaults."""
        return vars(self)["_given"]

    @property
    def scratch(self) -> Path:
        """The folder of stage inputs and outputs while a run works on them; the run empties it."""
        return self.home / "scratch"

    @property
    def models(self) -> Path:
        """The folder that the embedding model is built in, once."""
        return self.home / "models"

    @property
    def resolved_storage_identity_file(self) -> Path:
        return self.storage_identity_file or self.home / "storage-identity"

    @property
    def resolved_link_keys_file(self) -> Path:
        return self.link_keys_file or self.home / "link-keys"

    @property
    def resolved_webhook_identity_file(self) -> Path:
        return self.webhook_identity_file or self.home / "webhook-identity"

    @property
    def resolved_worker_home(self) -> Path:
        """The folder of this machine as a remote worker. Raises `InvalidSettings` for an account without a home."""
        try:
            # Not a default: an account without a home folder needs it for no other command.
            return self.worker_home or parsing.path("~/.waybill-worker")
        except Unusable as exc:
            raise InvalidSettings("WAYBILL_WORKER_HOME is not set, and this account has no home folder") from exc

    @property
    def required_database_url(self) -> str:
        """The catalogue's database. Raises `InvalidSettings` when neither the stack nor the environment names one."""
        if self.database_url is None:
            raise InvalidSettings("WAYBILL_DATABASE_URL is not set: name the Postgres database there")
        return self.database_url.reveal()

    @property
    def resolved_storage_url(self) -> str:
        return self.storage_url or str(self.home / "artifacts")


def setting_names() -> tuple[str, ...]:
    """Return the names of all settings, in order."""
    return tuple(one.name for one in fields(Settings))


def load_settings() -> Settings:
    """Read the environment and the settings file. Raises `InvalidSettings`, which never quotes a value."""
    path = settings_file()
    in_file: Mapping[str, object] = read_settings_file(path, setting_names()) if path is not None else {}
    in_environment = {name.upper(): value for name, value in os.environ.items() if value}
    given: dict[str, object] = {}
    problems: list[str] = []
    for one in fields(Settings):
        name, variable = one.name, f"WAYBILL_{one.name.upper()}"
        # Whole settings win, never parts: the options of one storage must not mix with the credentials of another.
        alias = _ALIASES.get(variable, "")
        if variable in in_environment:
            where, value = variable, in_environment[variable]
        elif alias in in_environment:
            where, value = alias, in_environment[alias]
        elif name in in_file:
            where, value = f"{name} in {path}", in_file[name]
        else:
            continue
        try:
            given[name] = one.metadata["parse"](value)
        except Unusable as exc:
            problems.append(f"{where}: {exc}")
    if problems:
        raise InvalidSettings(f"settings that cannot be used: {'; '.join(problems)}")
    return Settings(**given)  # pyright: ignore[reportArgumentType]


def settings_file() -> Path | None:
    """Return the settings file that ``WAYBILL_CONFIG`` names, else that of the project folder, if there is one.

    A named file may be missing; reading it then fails. In a child process, the folder is that of the command which the
    user has started.
    """
    if named := os.environ.get(_FILE_VARIABLE):
        return Path(named).absolute()
    here = _folder() / FILE_NAME
    return here if os.path.lexists(here) else None


def _folder() -> Path:
    """Return the folder in which home and settings file are looked for, if none is named."""
    named = os.environ.get(_FOLDER_VARIABLE)
    return Path(named).absolute() if named else project_folder(Path.cwd())


def home_above() -> Path | None:
    """Return the home in a folder above the current one, if it is used because nothing names another."""
    home = current_settings().home
    folder = project_folder(Path.cwd())
    named = os.environ.get("WAYBILL_HOME") or os.environ.get(_FOLDER_VARIABLE)
    return home if not named and folder != Path.cwd() and home == folder / HOME_NAME else None


def unknown_variables() -> dict[str, str]:
    """Return variables that look like settings and are none, by name, each with the setting that was likely meant."""
    known = {f"WAYBILL_{name.upper()}" for name in setting_names()} | {_FILE_VARIABLE, _FOLDER_VARIABLE}
    found = {name for name in os.environ if name.startswith("WAYBILL_")} - known
    near = {name: get_close_matches(name, known, n=1, cutoff=_ALIKE) for name in sorted(found)}
    return {name: meant[0] for name, meant in near.items() if meant}


def settings_file_for_children() -> dict[str, str]:
    """Return the variable by which child processes in other working directories read the same file.

    Where there is none yet, they look in the same folder: what is written later counts for processes that start then.
    """
    if (found := settings_file()) is not None:
        return {_FILE_VARIABLE: str(found)}
    return {_FOLDER_VARIABLE: str(_folder())}


@lru_cache(maxsize=1)
def current_settings() -> Settings:
    """Return the settings of this process, read once."""
    return load_settings()


def export_to_environment(**values: str) -> None:
    """Set ``WAYBILL_*`` (or ``PREFECT_*``) variables for this process and its children, and drop cached settings."""
    os.environ.update(values)
    current_settings.cache_clear()


def inherited_environment(**overrides: str) -> dict[str, str]:
    """Return the environment for a child process: this process's with *overrides*."""
    return {**os.environ, **overrides}


def absolute_paths(settings: Settings) -> dict[str, str]:
    """Return the variables that hold paths, if they are set, for child processes in other working directories."""
    found = {f"WAYBILL_{name.upper()}": getattr(settings, name) for name in (*PATHS, *STORAGE_PATHS)}
    paths = {
        variable: value if "://" in str(value) else str(Path(value).expanduser().absolute())
        for variable, value in found.items()
        if value and (os.environ.get(variable) or os.environ.get(_ALIASES.get(variable, "")))
    }
    if packages := os.environ.get("PYTHONPATH"):
        paths["PYTHONPATH"] = os.pathsep.join(str(Path(one).absolute()) for one in packages.split(os.pathsep) if one)
    return paths


def drop_from_environment(prefix: str) -> None:
    """Remove the variables that begin with *prefix* from the environment of this process and its children."""
    for name in [name for name in os.environ if name.startswith(prefix)]:
        os.environ.pop(name, None)


def prefect_api_url() -> str | None:
    """Return the URL of the Prefect server that the user configured in ``PREFECT_API_URL``, if any."""
    return os.environ.get("PREFECT_API_URL") or None
