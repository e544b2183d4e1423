"""The only reader of the environment.

Owns every `WAYBILL_*` variable, its default and its meaning. Prefect blocks hold the same for deployed flows and win
over what is read here. No secret has a default.
"""

from __future__ import annotations

import os
from datetime import timedelta
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from blocks.durations import parse_duration
from blocks.errors import InvalidOptions, InvalidSettings

PrivateNetworks = tuple[IPv4Network | IPv6Network, ...]

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_EVERY_NETWORK = (ip_network("0.0.0.0/0"), ip_network("::/0"))
# Words that stand for networks; pydantic's own words for yes and no, so that the variable can be used as a switch.
_NETWORK_WORDS: dict[str, PrivateNetworks] = {
    "loopback": _LOOPBACK,
    **dict.fromkeys(("off", "false", "no", "0"), ()),
    **dict.fromkeys(("on", "true", "yes", "1"), _EVERY_NETWORK),
}

# At once, then with growing pauses: a receiver that is deployed anew is back in seconds, one that broke on a Friday
# evening is repaired on Monday. Three days and four hours in all.
DEFAULT_WEBHOOK_SCHEDULE = (
    timedelta(0),
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    *(timedelta(hours=hours) for hours in (2, 5, 10, 14, 20, 24)),
)
# A typing error must not make an endpoint hear the same thing for ever.
_MAX_ATTEMPTS = 100


class Settings(BaseSettings):
    """Configuration of one process. Field ``x`` is read from ``WAYBILL_X``; see ``docs/configuration.md``."""

    model_config = SettingsConfigDict(env_prefix="WAYBILL_", env_ignore_empty=True, frozen=True, extra="ignore")

    home: Path = Path(".waybill")
    database_url: SecretStr | None = None
    storage_url: str | None = None
    # May hold credentials.
    storage_options: dict[str, Any] = Field(default_factory=dict, repr=False)

    # Encryption of what is stored. The key pair is made once, in the home, unless these name another.
    encrypt: bool = True
    storage_recipient: str | None = None
    storage_identity_file: Path | None = None
    # What 'waybill age' seals and opens with where no key is named. Nothing else uses it.
    passphrase: SecretStr | None = None
    # What signs links; a file, so that several machines can be given the same.
    link_keys_file: Path | None = None
    # Where the gateway can be reached from outside; links begin with it.
    public_url: str = "http://127.0.0.1:8000"
    # Send downloads of files that lie unencrypted on S3 there, instead of through the gateway.
    presigned_redirects: bool = False

    # Requests that one API key may make in a minute, unless it has a limit of its own.
    requests_per_minute: int = Field(default=6000, ge=1)
    # Above this nothing is taken in over HTTP; what is to be processed has a limit of its own, max_file_mib.
    max_upload_mib: int = Field(default=16384, ge=1)
    # Media types that are taken in over HTTP, such as application/pdf or image/*; none named: what converters read is
    # processed, and anything is stored.
    allowed_types: Annotated[tuple[str, ...], NoDecode] = ()
    # Other sites whose pages may use the API in a browser, such as https://app.example.org.
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()

    # Webhooks. Private networks that they may reach: off, on (every one), loopback, or networks such as 10.0.0.0/8.
    allow_private_webhooks: Annotated[PrivateNetworks, NoDecode] = ()
    # What their secrets are sealed with; a file, so that several machines can be given the same.
    webhook_identity_file: Path | None = None
    # How long after it was due, and after each failure, an attempt is made; after the last one it is dead.
    webhook_schedule: Annotated[tuple[timedelta, ...], NoDecode] = DEFAULT_WEBHOOK_SCHEDULE
    # What 'waybill webhooks listen' verifies signatures with. Nothing else uses it.
    webhook_secret: SecretStr | None = None
    # How long 'waybill process' waits at its end for webhooks that are due.
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
    # Above this a single document is refused before anything is stored.
    max_file_mib: int = Field(default=1024, ge=1)
    # Further stages as package.module:ATTRIBUTE, separated by commas.
    extra_stages: Annotated[tuple[str, ...], NoDecode] = ()
    retention_days: int = Field(default=30, ge=1)

    @field_validator("home", "storage_identity_file", "link_keys_file", "webhook_identity_file", mode="after")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value is not None else None

    @field_validator("extra_stages", "allowed_types", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("allow_private_webhooks", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        found: list[IPv4Network | IPv6Network] = []
        for part in value.lower().split(","):
            word = part.strip()
            try:
                found += _NETWORK_WORDS[word] if word in _NETWORK_WORDS else [ip_network(word)]
            except ValueError as exc:
                raise ValueError("write off, on, loopback, or networks such as 10.0.0.0/8,fd00::/8") from exc
        return tuple(found)

    @field_validator("webhook_schedule", mode="before")
    @classmethod
    def _schedule(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            found = tuple(_pause(part.strip()) for part in value.split(","))
        except InvalidOptions as exc:
            raise ValueError("write the pause before each attempt, such as 0,5s,5m,2h") from exc
        if len(found) > _MAX_ATTEMPTS:
            raise ValueError(f"{_MAX_ATTEMPTS} attempts at most")
        return found

    @property
    def scratch(self) -> Path:
        """Where stage inputs and outputs lie while a run works on them; emptied by the run."""
        return self.home / "scratch"

    @property
    def models(self) -> Path:
        """Where the embedding model is built once."""
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
        """The catalogue's address. Raises `InvalidSettings` when neither the stack nor the environment gives one."""
        if self.database_url is None:
            raise InvalidSettings("WAYBILL_DATABASE_URL is not set; start 'waybill up' or name a Postgres database")
        return self.database_url.get_secret_value()

    @property
    def resolved_storage_url(self) -> str:
        return self.storage_url or str(self.home / "artifacts")


def _pause(text: str) -> timedelta:
    return timedelta(0) if text in {"0", "0s"} else parse_duration(text)


def load_settings() -> Settings:
    """Read the environment afresh. Raises `InvalidSettings` naming the variable and what it should hold."""
    try:
        return Settings()
    except ValidationError as exc:
        problems = "; ".join(
            f"WAYBILL_{'_'.join(str(part) for part in error['loc']).upper()}: {error['msg']}" for error in exc.errors()
        )
        raise InvalidSettings(f"the environment holds values that cannot be used: {problems}") from exc


@lru_cache(maxsize=1)
def current_settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()


def export_to_environment(**values: str) -> None:
    """Set ``WAYBILL_*`` (or ``PREFECT_*``) variables for this process and its children, and forget cached settings."""
    os.environ.update(values)
    current_settings.cache_clear()


def inherited_environment(**overrides: str) -> dict[str, str]:
    """The environment for a child process: this process's with *overrides*."""
    return {**os.environ, **overrides}


def prefect_api_url() -> str | None:
    """The Prefect server that the user has named through ``PREFECT_API_URL``, if any."""
    return os.environ.get("PREFECT_API_URL") or None
