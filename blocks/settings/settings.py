"""The only reader of the environment and of the settings file.

Owns every `WAYBILL_*` variable, its default and its meaning. The environment wins over ``waybill.toml``; Prefect blocks
hold the same for deployed flows and win over both. No secret has a default.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from blocks.durations import parse_duration
from blocks.errors import InvalidOptions, InvalidSettings
from blocks.settings.settings_file import FILE_NAME, PATHS, read_settings_file

PrivateNetworks = tuple[IPv4Network | IPv6Network, ...]

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_EVERY_NETWORK = (ip_network("0.0.0.0/0"), ip_network("::/0"))
# Names of networks; with pydantic's words for yes and no, so that the variable works as a switch.
_NETWORK_WORDS: dict[str, PrivateNetworks] = {
    "loopback": _LOOPBACK,
    **dict.fromkeys(("off", "false", "no", "0"), ()),
    **dict.fromkeys(("on", "true", "yes", "1"), _EVERY_NETWORK),
}

# Immediately, then with growing pauses: a receiver that is being redeployed is back in seconds, one that broke on a
# Friday evening is repaired on Monday. Three days and four hours in all.
DEFAULT_WEBHOOK_SCHEDULE = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)),
)
# Not a setting: it names the file of settings.
_FILE_VARIABLE = "WAYBILL_CONFIG"
# Bounds the effect of a typing error on an endpoint.
_MAX_ATTEMPTS = 100


class Settings(BaseSettings):
    """Configuration of one process. Field ``x`` is read from ``WAYBILL_X``; see ``docs/configuration.md``.

    Without the settings file, which `load_settings` adds.
    """

    model_config = SettingsConfigDict(env_prefix="WAYBILL_", env_ignore_empty=True, frozen=True, extra="ignore")

    home: Path = Path(".waybill")
    database_url: SecretStr | None = None
    storage_url: str | None = None
    # May hold credentials.
    storage_options: Annotated[dict[str, Any], NoDecode] = Field(default_factory=dict, repr=False)

    # Encryption of what is stored. The key pair is made once, in the home, unless these name another.
    encrypt: bool = True
    storage_recipient: str | None = None
    storage_identity_file: Path | None = None
    # The passphrase of 'waybill age' where no key is named. Nothing else uses it.
    passphrase: SecretStr | None = None
    # The link signing keys; a file, so that several machines can share it.
    link_keys_file: Path | None = None
    # The base URL of the gateway as clients reach it; links begin with it.
    public_url: str = "http://127.0.0.1:8000"
    # Redirect downloads of files that are stored unencrypted on S3 to S3, instead of sending them through the gateway.
    presigned_redirects: bool = False

    # Requests a minute of one API key, unless the key has its own limit.
    requests_per_minute: int = Field(default=6000, ge=1)
    # The largest upload over HTTP; files to be processed have a limit of their own, max_file_mib.
    max_upload_mib: int = Field(default=16384, ge=1)
    # Media types accepted over HTTP, such as application/pdf or image/*. With none named, every type is stored, and the
    # types that converters read are processed.
    allowed_types: Annotated[tuple[str, ...], NoDecode] = ()
    # Origins whose pages may use the API in a browser, such as https://app.example.org.
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()

    # Webhooks. Private networks that they may reach: off, on (every one), loopback, or networks such as 10.0.0.0/8.
    allow_private_webhooks: Annotated[PrivateNetworks, NoDecode] = ()
    # The key pair that webhook secrets are encrypted with; a file, so that several machines can share it.
    webhook_identity_file: Path | None = None
    # The pause before each attempt; after the last failed attempt a delivery is dead.
    webhook_schedule: Annotated[tuple[timedelta, ...], NoDecode] = DEFAULT_WEBHOOK_SCHEDULE
    # The webhook secret of 'waybill webhooks listen'. Nothing else uses it.
    webhook_secret: SecretStr | None = None
    # The longest wait of 'waybill process' for due webhooks before it ends.
    webhook_drain_seconds: float = Field(default=10.0, ge=0, le=3600)

    # A shard is one stage task over several documents: large enough that Prefect's 14-24 ms per task run disappear,
    # small enough that the progress of a batch is visible.
    shard_size: int = Field(default=40, ge=1, le=500)
    # Two shards under way keep the workers busy while one of them waits for the disk or the catalogue.
    shards_at_once: int = Field(default=2, ge=1, le=32)
    workers: int = Field(default_factory=lambda: max(1, min(os.cpu_count() or 1, 8)), ge=1, le=64)
    stage_timeout_seconds: float = Field(default=120.0, gt=0)
    # Private writable memory of one worker. Two workers and the flow stay under 1.5 GB with it.
    stage_memory_mib: int = Field(default=512, ge=128)
    # A larger document is refused before anything is stored.
    max_file_mib: int = Field(default=1024, ge=1)
    # Further stages as package.module:ATTRIBUTE, separated by commas.
    extra_stages: Annotated[tuple[str, ...], NoDecode] = ()
    # A thousand years; Python's calendar ends with the year 9999.
    retention_days: int = Field(default=30, ge=1, le=365_000)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch(cls, value: object, info: ValidationInfo) -> object:
        # Pydantic reads true as 1.
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("this setting is no switch; true and false have no meaning here")
        return value

    @field_validator(*PATHS, mode="after")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        try:
            return value.expanduser().absolute() if value is not None else None
        except RuntimeError as exc:
            raise ValueError("there is no such account whose home folder ~ could mean") from exc

    @field_validator("storage_options", mode="before")
    @classmethod
    def _object(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            # Without the cause, which may quote a secret.
            raise ValueError('write a JSON object, such as {"key": "..."}')  # noqa: TRY004 - pydantic expects it
        return cast("dict[str, Any]", found)

    @field_validator("extra_stages", "allowed_types", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("allow_private_webhooks", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if isinstance(value, bool):
            value = str(value)
        texts = _texts(value)
        if texts is None:
            return value
        found: list[IPv4Network | IPv6Network] = []
        for part in ",".join(texts).lower().split(","):
            word = part.strip()
            try:
                found += _NETWORK_WORDS[word] if word in _NETWORK_WORDS else [ip_network(word)]
            except ValueError as exc:
                raise ValueError("write off, on, loopback, or networks such as 10.0.0.0/8,fd00::/8") from exc
        return tuple(found)

    @field_validator("webhook_schedule", mode="before")
    @classmethod
    def _schedule(cls, value: object) -> object:
        texts = _texts(value)
        if texts is None:
            return value
        try:
            return tuple(_pause(part.strip()) for part in ",".join(texts).split(","))
        except InvalidOptions as exc:
            raise ValueError("write the pause before each attempt, such as 0,5s,5m,2h") from exc

    @field_validator("webhook_schedule", mode="after")
    @classmethod
    def _some_attempts(cls, value: tuple[timedelta, ...]) -> tuple[timedelta, ...]:
        if not 1 <= len(value) <= _MAX_ATTEMPTS or min(value) < timedelta(0):
            raise ValueError(f"1 to {_MAX_ATTEMPTS} attempts, with no pause below 0")
        return value

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
    def required_database_url(self) -> str:
        """The catalogue's database. Raises `InvalidSettings` when neither the stack nor the environment names one."""
        if self.database_url is None:
            raise InvalidSettings("WAYBILL_DATABASE_URL is not set; start 'waybill up' or name a Postgres database")
        return self.database_url.get_secret_value()

    @property
    def resolved_storage_url(self) -> str:
        return self.storage_url or str(self.home / "artifacts")


def _pause(text: str) -> timedelta:
    return timedelta(0) if text in {"0", "0s"} else parse_duration(text)


def _texts(value: object) -> list[str] | None:
    """Return a text or list of texts, as a variable or file holds it, as a list; None for other values."""
    if isinstance(value, str):
        return [value]
    parts = cast("list[object]", value) if isinstance(value, list) else []
    # An integer is a number of seconds.
    texts = [f"{part}s" if type(part) is int and part >= 0 else part for part in parts]
    return cast("list[str]", texts) if texts and all(isinstance(part, str) for part in texts) else None


def load_settings() -> Settings:
    """Read the environment and the settings file.

    Raises `InvalidSettings` with the variable, or file and name, and the expected form; never with the value.
    """
    path = settings_file()
    in_file = read_settings_file(path, Settings.model_fields) if path is not None else {}
    # Whole settings win, never parts: the options of one storage must not mix with the credentials of another.
    in_environment = {name.upper() for name, value in os.environ.items() if value}
    added = {name: value for name, value in in_file.items() if _variable(name) not in in_environment}
    try:
        return Settings(**added)
    except ValidationError as exc:
        problems: dict[str, str] = {}
        for error in exc.errors(include_input=False, include_url=False):
            name = str(error["loc"][0])
            problems.setdefault(f"{name} in {path}" if name in added else _variable(name), error["msg"])
        shown = "; ".join(f"{where}: {what.removeprefix('Value error, ')}" for where, what in problems.items())
    # Outside the handler: pydantic's error, which would be chained, holds the values.
    raise InvalidSettings(f"settings that cannot be used: {shown}")


def settings_file() -> Path | None:
    """Return the settings file: the one that ``WAYBILL_CONFIG`` names, else the working directory's, if there is one.

    A named file may be missing; reading it then fails.
    """
    if named := os.environ.get(_FILE_VARIABLE):
        return Path(named).absolute()
    here = Path(FILE_NAME)
    return here.absolute() if os.path.lexists(here) else None


def settings_file_for_children() -> dict[str, str]:
    """Return the variable by which child processes in other working directories read the same file, or no file."""
    return {_FILE_VARIABLE: str(settings_file() or os.devnull)}


def _variable(name: str) -> str:
    return f"WAYBILL_{name.upper()}"


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


def prefect_api_url() -> str | None:
    """Return the URL of the Prefect server that the user configured in ``PREFECT_API_URL``, if any."""
    return os.environ.get("PREFECT_API_URL") or None
