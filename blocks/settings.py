"""The only reader of the environment.

Owns every `WAYBILL_*` variable, its default and its meaning. Prefect blocks hold the same for deployed flows and win
over what is read here. No secret has a default.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from blocks.errors import InvalidSettings


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

    @field_validator("home", "storage_identity_file", "link_keys_file", mode="after")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.expanduser().absolute() if value is not None else None

    @field_validator("extra_stages", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

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
    def required_database_url(self) -> str:
        """The catalogue's address. Raises `InvalidSettings` when neither the stack nor the environment gives one."""
        if self.database_url is None:
            raise InvalidSettings("WAYBILL_DATABASE_URL is not set; start 'waybill up' or name a Postgres database")
        return self.database_url.get_secret_value()

    @property
    def resolved_storage_url(self) -> str:
        return self.storage_url or str(self.home / "artifacts")


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
