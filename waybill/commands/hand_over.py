"""``waybill send`` and ``waybill receive``: hand a file to a person with an age key or a passphrase.

Neither starts a stack: both talk to a gateway over HTTP. What was begun is in the folder of the state of programs
(~/.local/state) and next to the file that is received; the same command goes on with it.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blocks.durations import parse_duration
from blocks.errors import InvalidKey, InvalidOptions, SourceNotFound, WaybillError
from blocks.runtime.in_words import size
from blocks.settings import current_settings
from waybill.commands.arguments import AsJson, Force, read_id, replaceable, typed_path
from waybill.commands.key_files import MAX_LOG_N, read_keys
from waybill.commands.output import human_time, print_error, print_json, print_line, print_notice, progress_bar

if TYPE_CHECKING:
    from uuid import UUID

    from blocks.age import HybridRecipient, Identity, X25519Recipient
    from blocks.hand_over import Downloaded
    from blocks.hand_over.receiving import Link
    from blocks.hand_over.sending import GatewayAccess, Sealing, Sent

_STORED = "waybill:"
_FROM_FILE = "@"
_API_KEY_BYTES = 1024
# Whatever a header can hold: which keys there are is the gateway's to say.
_API_KEY = re.compile(r"wb_[!-~]+")
_REQUEST_SECONDS = 30.0

Passphrase = Annotated[
    bool, typer.Option("--passphrase", help="With a passphrase: WAYBILL_PASSPHRASE, or the one that you type.")
]


def send(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Files, or waybill:FILE_ID for one in custody.")
    ],
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="RECIPIENT", help="An age1... key, or @FILE with one a line; can be repeated."),
    ] = None,
    passphrase: Passphrase = False,
    expires: Annotated[str, typer.Option(help="How long the link works: 90m, 24h, 7d; at most 30d.")] = "24h",
    url: Annotated[
        str | None, typer.Option("--url", metavar="GATEWAY", help="The gateway; this home's own when left out.")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option("--key-file", metavar="PATH", help="A file with the API key for --url.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Seal a file for a person, and print the link to fetch it with.

    It is encrypted here, so the gateway cannot read it. Interrupted, the same command continues.
    """
    parse_duration(expires)
    stored = [read_id(name.removeprefix(_STORED)) if name.startswith(_STORED) else None for name in files]
    sealing = _sealing(to or [], passphrase=passphrase)
    if passphrase and any(stored):
        raise InvalidOptions("a file in custody is handed to a key, not to a passphrase; name one with --to")
    access = _access(url, key_file)

    items = list(zip(files, stored, strict=True))
    sent, failed = asyncio.run(_send_all(items, sealing, access, expires_in=expires, as_json=as_json))
    if as_json:
        errors = [{"file": name, "code": type(error).__name__, "message": error.message} for name, error in failed]
        print_json({"sent": [one.as_json() for one in sent], "failed": errors})
    return 1 if failed else 0


async def _send_all(
    items: Sequence[tuple[str, UUID | None]],
    sealing: Sealing,
    access: tuple[str, str],
    *,
    expires_in: str,
    as_json: bool,
) -> tuple[list[Sent], list[tuple[str, WaybillError]]]:
    """Send one file after the other; an error of one of several does not keep the others back."""
    sent: list[Sent] = []
    failed: list[tuple[str, WaybillError]] = []
    async with _gateway(*access) as gateway:
        for name, file_id in items:
            try:
                made = await _send_one(gateway, name, file_id, sealing, expires_in=expires_in)
            except WaybillError as error:
                if len(items) == 1:
                    raise
                failed.append((name, error))
                if not as_json:
                    print_error(error, as_json=False)
                continue
            sent.append(made)
            if not as_json:
                _print_sent(made)
    return sent, failed


async def _send_one(
    gateway: GatewayAccess, name: str, file_id: UUID | None, sealing: Sealing, *, expires_in: str
) -> Sent:
    from blocks.hand_over.sending import send_file, send_stored

    if file_id is not None:
        return await send_stored(gateway, str(file_id), sealing.names, expires_in=expires_in)
    with _bytes_shown(Path(name).name) as show:
        return await send_file(gateway, typed_path(name), sealing, expires_in=expires_in, states=_states(), show=show)


def receive(
    link: Annotated[str, typer.Argument(metavar="LINK", help="The link, in quotes.")],
    output: Annotated[
        str | None, typer.Option("-o", "--output", metavar="PATH", help="A file or folder to write to.")
    ] = None,
    identity: Annotated[
        list[Path] | None,
        typer.Option(
            "-i", "--identity", metavar="PATH", help="A file of AGE-SECRET-KEY-... identities; can be repeated."
        ),
    ] = None,
    passphrase: Passphrase = False,
    ranges: Annotated[int, typer.Option(min=1, max=16, help="How many parts are fetched at the same time.")] = 1,
    force: Force = False,
    as_json: AsJson = False,
) -> int:
    """Fetch the file of a link, verified and decrypted.

    It appears complete or not at all. Interrupted, the same command continues.
    """
    from blocks.hand_over.receiving import parse_link

    parsed = parse_link(link)
    identities = _identities(identity or [], passphrase=passphrase)
    done = asyncio.run(_receive(parsed, output, identities, ranges=ranges, force=force))
    if as_json:
        print_json(
            {
                "path": str(done.path),
                "filename": done.path.name,
                "size": done.size,
                "sha256": done.sha256,
                "bytes_received": done.bytes_received,
            }
        )
    else:
        print_line(str(done.path))
        print_notice(f"{size(done.size)}, sha256 {done.sha256}")
    return 0


async def _receive(
    link: Link, output: str | None, identities: Sequence[Identity], *, ranges: int, force: bool
) -> Downloaded:
    import httpx

    from blocks.hand_over import download
    from blocks.hand_over.receiving import look

    async with httpx.AsyncClient(timeout=_REQUEST_SECONDS) as client:
        offered = await look(client, link)
        target = _target(offered.filename, output, force=force)
        with _bytes_shown(target.name) as show:
            return await download(
                client,
                link.url,
                link.token,
                target,
                identities=identities,
                on_progress=lambda done, total: show("receiving", done, total),
                ranges=ranges,
                replace=force,
                durable=True,
            )


def _target(filename: str, output: str | None, *, force: bool) -> Path:
    """Return the path to write to: *output*, or the sender's name for the file in that folder or in the current one."""
    if output is None:
        # A folder of that name is not one that the receiver has chosen.
        return replaceable(Path(filename), force=force)
    target = typed_path(output)
    if os.path.isdir(target):  # noqa: PTH112 - False where a name is too long or its folder is closed
        target = target / filename
    return replaceable(target, force=force)


def _print_sent(sent: Sent) -> None:
    print_line(sent.link)
    print_notice(
        f"{sent.filename}: works once, until {human_time(sent.expires_at)}; to fetch it: "
        f"waybill receive {shlex.quote(sent.link)}"
    )


@contextmanager
def _bytes_shown(name: str) -> Generator[Callable[[str, int, int], None]]:
    with progress_bar(name) as show:
        yield lambda step, done, total: show(
            100 * done / total if total else 100.0, f"{step}, {size(done)} of {size(total)}"
        )


@asynccontextmanager
async def _gateway(url: str, api_key: str) -> AsyncGenerator[GatewayAccess]:
    import httpx

    from blocks.hand_over.sending import GatewayAccess

    async with httpx.AsyncClient(timeout=_REQUEST_SECONDS) as client:
        yield GatewayAccess(url=url, api_key=api_key, client=client)


def _access(url: str | None, key_file: Path | None) -> tuple[str, str]:
    """Return the gateway's URL and an API key for it."""
    from blocks.runtime.private_file import read_private

    if (url is None) != (key_file is None):
        raise InvalidOptions("--url and --key-file belong together: a gateway, and the file with an API key for it")
    if url is None or key_file is None:
        from blocks.links.public_url import noted_gateway
        from waybill.services.api_keys import KEY_FILE_NAME

        home = current_settings().home
        url, key_file = noted_gateway(home), home / KEY_FILE_NAME
        if url is None or not key_file.exists():
            raise InvalidOptions(
                "no gateway of this home is running; start 'waybill up', or name one with --url and --key-file"
            )
    try:
        content = read_private(key_file, what="the file with the API key", most_bytes=_API_KEY_BYTES)
    except OSError as exc:
        raise SourceNotFound(f"cannot read {key_file}: {exc.strerror}") from exc
    key = content.decode("utf-8", "replace").strip()
    if not _API_KEY.fullmatch(key):
        raise InvalidOptions(f"{key_file} does not hold an API key: one line, as 'waybill keys create' prints it")
    return url, key


def _states() -> Path:
    """Return the folder for what this account has begun to send."""
    return Path.home() / ".local" / "state" / "waybill" / "sending"


def _sealing(to: Sequence[str], *, passphrase: bool) -> Sealing:
    """Return whom the files are sealed for. Raises `InvalidOptions` and `InvalidKey`."""
    from blocks.age import ScryptIdentity, ScryptRecipient, parse_recipient, parse_recipients
    from blocks.hand_over.sending import Sealing

    if passphrase == bool(to):
        raise InvalidOptions("say who can open it: --to RECIPIENT (an age1... key, or @FILE), or --passphrase")
    if passphrase:
        text = _passphrase(confirm=True)
        return Sealing(recipients=[ScryptRecipient(text)], names=["passphrase"], identities=[ScryptIdentity(text)])
    recipients: list[X25519Recipient | HybridRecipient] = []
    for text in to:
        if text.startswith(_FROM_FILE):
            recipients += read_keys(typed_path(text.removeprefix(_FROM_FILE)), parse_recipients)
            continue
        try:
            recipients.append(parse_recipient(text))
        except InvalidKey as exc:
            raise InvalidOptions(f"--to: {exc.message}") from exc
    return Sealing(recipients=recipients, names=[recipient.text for recipient in recipients])


def _identities(paths: Sequence[Path], *, passphrase: bool) -> Sequence[Identity]:
    """Return what may open the file. Raises `InvalidOptions` and `InvalidKey`."""
    from blocks.age import ScryptIdentity, parse_identities

    found: list[Identity] = [one for path in paths for one in read_keys(path, parse_identities)]
    if passphrase or (not found and current_settings().passphrase is not None):
        found.append(ScryptIdentity(_passphrase(confirm=False), max_log_n=MAX_LOG_N))
    if not found:
        raise InvalidOptions("say what opens the file: -i IDENTITY_FILE, or --passphrase")
    return found


def _passphrase(*, confirm: bool) -> str:
    if (given := current_settings().passphrase) is not None:
        return given.reveal()
    if not sys.stdin.isatty():
        raise InvalidOptions("no passphrase: set WAYBILL_PASSPHRASE, or run this on a terminal")
    typed = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    return str(typed)
