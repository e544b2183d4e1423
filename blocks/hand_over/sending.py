"""Hand a file to a person: seal and upload it, then prepare the download that the link is for.

The gateway gets the sealed bytes, a name, a size and a hash. What a killed process has begun is in a folder for
secrets, by file, gateway and recipients; the same call goes on with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx

from blocks.age.recipients import Identity, Recipient
from blocks.errors import (
    ContentMismatch,
    InvalidOptions,
    TransferConflict,
    TransferNotFound,
    TransferOver,
    TransferRefused,
)
from blocks.hand_over.connection import split_url
from blocks.hand_over.control import ask, json_of
from blocks.hand_over.outgoing_file import SealState, Source
from blocks.hand_over.patience import DEFAULT_PATIENCE_SECONDS
from blocks.hand_over.upload import Declared, upload
from blocks.runtime.atomic_file import write_atomically
from blocks.runtime.threads import StopCheck, in_thread
from blocks.runtime.write_errors import write_errors

_TRANSFERS = "/api/v1/transfers"
_PIECE_BYTES = 1 << 20

Shown = Callable[[str, int, int], None]
"""Gets a step, bytes done and bytes in all; also from other threads."""


@dataclass(frozen=True, kw_only=True)
class GatewayAccess:
    """A gateway, and an API key with `read` and `write` there."""

    url: str
    api_key: str = field(repr=False)
    client: httpx.AsyncClient = field(repr=False)
    patience_seconds: float = DEFAULT_PATIENCE_SECONDS

    def __post_init__(self) -> None:
        if split_url(self.url).query:
            raise InvalidOptions("the gateway's URL has a query; write https://host or https://host:port/path")

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the JSON object of a request below `/transfers`. Raises what a refusal stands for."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        url = f"{self.url.rstrip('/')}{_TRANSFERS}{path}"
        return json_of(
            await ask(self.client, method, url, headers=headers, json=body, patience_seconds=self.patience_seconds)
        )


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A file that waits for its receiver. Every holder of `link` can fetch it, and only the recipients can open it."""

    filename: str
    size: int | None
    sha256: str | None
    transfer_id: str
    link: str
    expires_at: str

    def as_json(self) -> dict[str, Any]:
        """Return it in the form of `--json`."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Sealing:
    """Whom a file is for. *names* identify the recipients, a passphrase has none; *identities* is the passphrase."""

    recipients: Sequence[Recipient]
    names: Sequence[str]
    identities: Sequence[Identity] = ()


async def send_file(
    gateway: GatewayAccess, path: Path, sealing: Sealing, *, expires_in: str, states: Path, show: Shown
) -> Sent:
    """Seal and upload the file at *path*, and return the link to it.

    *states* is a folder that only this account can read. Raises `SourceNotFound`, `ContentMismatch` for a file that
    changes meanwhile, what the gateway's answers stand for, and `GatewayUnavailable`.
    """
    record, seal = _states_of(states, [os.path.realpath(path), gateway.url, *sorted(sealing.names)])  # noqa: ASYNC240
    source = Source(path)
    try:
        version, size = source.version, source.size
        found = await asyncio.to_thread(_load, record, seal, version, sealing)
        begun = await _resumed(gateway, found) if found is not None else None
        if begun is None:
            digest = await in_thread(lambda check: _hash(source, check, show))
            source.check()
            begun = await _begin(gateway, path, digest, size, expires_in)
            await asyncio.to_thread(_save, record, {**begun, "version": version})
    finally:
        source.close()
    try:
        file_id = begun.get("file_id") or await _upload(gateway, path, sealing, begun, seal, show)
    except (TransferConflict, ContentMismatch, TransferOver, TransferNotFound):
        record.unlink(missing_ok=True)  # the next call begins again
        raise
    sent = await send_stored(gateway, file_id, (), expires_in=expires_in)
    for used in (record, seal):
        used.unlink(missing_ok=True)
    return sent


async def send_stored(gateway: GatewayAccess, file_id: str, recipients: Sequence[str], *, expires_in: str) -> Sent:
    """Prepare the download of a file in the gateway's custody for *recipients*; without any, as it was sealed."""
    body: dict[str, Any] = {"direction": "download", "file_id": file_id, "expires_in": expires_in}
    if recipients:
        body["recipient"] = list(recipients)
    made = await gateway.call("POST", "", body)
    with _whole_answer():
        return Sent(
            filename=made["filename"],
            size=made["content_size"],
            sha256=made["content_sha256"],
            transfer_id=made["transfer_id"],
            link=f"{made['url']}?token={made['token']}",
            expires_at=made["expires_at"],
        )


async def _resumed(gateway: GatewayAccess, found: dict[str, Any]) -> dict[str, Any] | None:
    """Return an upload that was begun with a new token, or with its file if it is completed; None if it is over."""
    transfer_id = found["transfer_id"]
    try:
        made = await gateway.call("POST", f"/{transfer_id}/token")
        return {**found, "url": made["url"], "token": made["token"]}
    except TransferOver:
        state = await gateway.call("GET", f"/{transfer_id}/status")
        if state.get("state") == "completed" and state.get("file_id"):
            return {**found, "file_id": state["file_id"]}
    except TransferNotFound:
        pass
    return None


async def _begin(gateway: GatewayAccess, path: Path, sha256: str, size: int, expires_in: str) -> dict[str, Any]:
    made = await gateway.call(
        "POST",
        "",
        {
            "direction": "upload",
            "filename": path.name,
            "sealed_for": "unknown",
            "content_size": size,
            "content_sha256": sha256,
            "keep_for": expires_in,
            "expires_in": expires_in,
        },
    )
    with _whole_answer():
        return {name: str(made[name]) for name in ("transfer_id", "url", "token")} | {"sha256": sha256, "size": size}


async def _upload(
    gateway: GatewayAccess, path: Path, sealing: Sealing, begun: dict[str, Any], seal: Path, show: Shown
) -> str:
    async def renew_token() -> str:
        return str((await gateway.call("POST", f"/{begun['transfer_id']}/token"))["token"])

    done = await upload(
        begun["url"],
        begun["token"],
        path,
        recipients=sealing.recipients,
        state=seal,
        declared=Declared(filename=path.name, content_size=begun["size"], content_sha256=begun["sha256"]),
        on_progress=lambda at, of: show("sending", at, of),
        renew_token=renew_token,
        patience_seconds=gateway.patience_seconds,
    )
    transfer = done.transfer or await gateway.call("GET", f"/{begun['transfer_id']}/status")
    if not transfer.get("file_id"):
        raise TransferRefused(f"the gateway has not kept the file: {transfer.get('error') or transfer.get('state')}")
    return str(transfer["file_id"])


@contextmanager
def _whole_answer() -> Generator[None]:
    """Raise `TransferRefused` for a field that the block misses in an answer: what answers is no gateway."""
    try:
        yield
    except KeyError as exc:
        raise TransferRefused(f"the gateway's answer has no {exc.args[0]}: is this the address of one?") from exc


def _hash(source: Source, check: StopCheck, show: Shown) -> str:
    digest, room = hashlib.sha256(), memoryview(bytearray(_PIECE_BYTES))
    for place in range(0, source.size, _PIECE_BYTES):
        check()
        view = room[: source.size - place]
        source.read_into(view, place)
        digest.update(view)
        show("reading", place, source.size)
    return digest.hexdigest()


def _states_of(folder: Path, names: Sequence[str]) -> tuple[Path, Path]:
    name = hashlib.sha256("\0".join(names).encode(errors="surrogateescape")).hexdigest()[:32]
    return folder / f"{name}.json", folder / f"{name}.seal"


def _load(record: Path, seal: Path, version: list[int], sealing: Sealing) -> dict[str, Any] | None:
    """Return what was begun with this version of the file and, of passphrases, with this one."""
    with suppress(OSError, ValueError):
        found: Any = json.loads(record.read_bytes())
        if isinstance(found, dict) and {"transfer_id", "sha256", "size"} <= found.keys():
            found = cast("dict[str, Any]", found)
            if found.get("version") == version and (not sealing.identities or _fits(seal, sealing.identities)):
                return found
    for old in (record, seal):
        old.unlink(missing_ok=True)
    return None


def _fits(seal: Path, identities: Sequence[Identity]) -> bool:
    if not seal.exists():
        return True
    kept = SealState(seal)
    try:
        return kept.opens(identities)
    finally:
        kept.close(done=False)


def _save(record: Path, begun: dict[str, Any]) -> None:
    # Without the token: a new one is asked for.
    kept = {name: value for name, value in begun.items() if name != "token"}
    with write_errors(record):
        record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(record, json.dumps(kept).encode())
