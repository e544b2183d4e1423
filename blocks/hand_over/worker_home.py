"""A worker's own folder: its key, and what it knows of the gateway that it was enrolled at.

Owns two files, for their owner alone: ``worker-identity``, an age identity as age-keygen writes it, and
``config.json``. Refuses a key that other accounts may read, and never replaces one: a worker is its key.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

from blocks.age import X25519Identity, identity_file, parse_identities
from blocks.base_url import is_base_url
from blocks.errors import InvalidKey, InvalidOptions, InvalidSettings
from blocks.runtime.atomic_file import write_atomically
from blocks.runtime.clock import Clock, utc_now
from blocks.runtime.private_file import read_private
from blocks.runtime.write_errors import write_error

IDENTITY_NAME = "worker-identity"
CONFIG_NAME = "config.json"

# A key with its comments has 200 bytes, a configuration 500; a longer file is something else.
_MOST_BYTES = 16 * 1024
_WHAT = "the key of this worker"


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """What an enrolled worker knows of its gateway."""

    gateway_url: str
    name: str
    storage_recipient: str | None
    """The key that stored files are encrypted for, as seen at the enrolment; None where they are not encrypted."""
    pool: str
    """The Prefect work pool that the worker takes jobs from."""


class WorkerHome:
    """The folder *path*, which is made when the key is."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def identity_path(self) -> Path:
        return self.path / IDENTITY_NAME

    @property
    def config_path(self) -> Path:
        return self.path / CONFIG_NAME

    def create_identity(self, *, clock: Clock = utc_now) -> X25519Identity:
        """Make the key of this worker. Raises `InvalidOptions` if there is one, `TargetUnwritable`, `StorageFull`."""
        identity = X25519Identity.generate()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(self.identity_path, identity_file(identity, clock()).encode(), replace=False)
        except FileExistsError as exc:
            raise InvalidOptions(
                f"{self.path} has a key already, and a worker is its key; for another worker on this machine name "
                "another folder with --home"
            ) from exc
        except OSError as exc:
            raise write_error(self.identity_path, exc) from exc
        return identity

    def identity(self) -> X25519Identity:
        """Return the key. Raises `InvalidSettings` if there is none, or others may read it, and `InvalidKey`."""
        content = self._read(self.identity_path, _WHAT, "make one with 'waybill worker keygen'")
        try:
            found = parse_identities(content.decode("utf-8"))
        except UnicodeDecodeError as exc:
            raise InvalidKey(f"{self.identity_path} is not a file of keys: it is not text") from exc
        except InvalidKey as exc:
            raise InvalidKey(f"{self.identity_path}: {exc.message}") from exc
        if len(found) != 1 or not isinstance(found[0], X25519Identity):
            raise InvalidKey(
                f"{self.identity_path} must hold one X25519 identity, as 'waybill worker keygen' writes it"
            )
        return found[0]

    def config(self) -> WorkerConfig:
        """Return what is known of the gateway. Raises `InvalidSettings` for a worker that is not enrolled."""
        content = self._read(
            self.config_path, "the configuration of this worker", "enrol it with 'waybill worker enroll'"
        )
        try:
            return _config(json.loads(content))
        except (ValueError, TypeError, RecursionError) as exc:
            raise InvalidSettings(
                f"{self.config_path} is not the configuration of a worker; enrol this machine again"
            ) from exc

    def write_config(self, config: WorkerConfig) -> None:
        """Record *config*, whole and durable. Raises `TargetUnwritable`, `StorageFull`."""
        content = json.dumps(asdict(config), ensure_ascii=False, indent=2) + "\n"
        try:
            write_atomically(self.config_path, content.encode())
        except OSError as exc:
            raise write_error(self.config_path, exc) from exc

    def is_enrolled(self) -> bool:
        """Return whether there is a configuration."""
        return self.config_path.exists()

    def _read(self, path: Path, what: str, advice: str) -> bytes:
        try:
            content = read_private(path, what=what, most_bytes=_MOST_BYTES)
        except FileNotFoundError as exc:
            raise InvalidSettings(f"there is no {path}, {what}: {advice}") from exc
        except OSError as exc:
            raise InvalidSettings(f"cannot read {path}, {what}: {exc.strerror or type(exc).__name__}") from exc
        if len(content) > _MOST_BYTES:
            raise InvalidSettings(f"{path} is too large for {what}")
        return content


def check_gateway_url(url: str) -> str:
    """Return the base URL of a gateway without a slash at its end. Raises `InvalidOptions`."""
    if not is_base_url(url):
        raise InvalidOptions("this is not the URL of a gateway; write https://host or https://host:port/path")
    return url.rstrip("/")


def _config(found: Any) -> WorkerConfig:
    if not isinstance(found, dict):
        raise TypeError("not an object")
    values = cast("dict[str, Any]", found)
    given: dict[str, Any] = {one.name: values.get(one.name) for one in fields(WorkerConfig)}
    recipient = given["storage_recipient"]
    if not all(isinstance(given[name], str) for name in ("gateway_url", "name", "pool")):
        raise TypeError("a text is missing")
    if recipient is not None and not isinstance(recipient, str):
        raise TypeError("no recipient")
    return WorkerConfig(**given)
