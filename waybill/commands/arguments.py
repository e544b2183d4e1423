"""Arguments and options that several commands have, how their text is read, and who runs the command.

Everything here raises `InvalidOptions` before anything is started.
"""

from __future__ import annotations

import getpass
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from blocks.durations import parse_period
from blocks.errors import InvalidOptions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import timedelta

    from blocks.access import Actor
    from blocks.catalog import Catalog, Connection
    from blocks.custody import Custody

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
FileId = Annotated[str, typer.Argument(metavar="ID", help="The file's id, as 'files list' shows it; 8 digits do.")]
FileIds = Annotated[
    list[str], typer.Argument(metavar="ID...", help="File ids, as 'files list' shows them; 8 digits do.")
]
EndpointId = Annotated[str, typer.Argument(metavar="ENDPOINT_ID", help="As 'webhooks list' shows it; 8 digits do.")]
KeepFor = Annotated[
    str | None, typer.Option(metavar="90d", help="How long the files stay; the setting 'retention' when left out.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")]

# At most nine digits: with the largest unit it is less than a bigint.
_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?(?:([kKMGTP])(i)?)?B?")
_API_KEY_ID = re.compile(r"[0-9a-f]{12}")


def this_account() -> Actor:
    """Return the account that runs this process, for the audit log."""
    from blocks.access import Actor

    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # in a container the account is often only a number
        name = str(os.getuid())
    return Actor(actor=f"cli:{name}")


def options_text(path: Path) -> str:
    """Return what the file of options at *path* holds. Raises `InvalidOptions`."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise InvalidOptions(f"cannot read {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise InvalidOptions(f"{path} is not JSON: {exc}") from exc


def check_webhook_url(url: str | None) -> None:
    """Refuse a webhook address that no setting of this machine permits; one on this machine is decided later.

    Raises `InvalidWebhookUrl`, `AddressRefused`.
    """
    if url is None:
        return
    from blocks.settings import current_settings
    from blocks.webhooks.send.address import guard_of

    guard_of(current_settings(), loopback_allowed=True).check_url(url)


def read_id(text: str) -> UUID:
    """Return the id of a file, run, endpoint or delivery as typed."""
    try:
        return UUID(text)
    except ValueError as exc:
        raise InvalidOptions(f"{text!r} is not an id; ids look like 0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a") from exc


def check_ids(texts: Sequence[str]) -> None:
    """Refuse what can be no id, and no beginning of one."""
    from waybill.services.short_ids import read_digits

    for text in texts:
        read_digits(text)


async def find_one(catalog: Catalog, find: Callable[[Connection, str], Awaitable[UUID]], text: str) -> UUID:
    """Return the id that *find*, of `services.short_ids`, has for *text*, which was typed whole or by its beginning."""
    async with catalog.connection() as connection:
        return await find(connection, text)


async def find_files(custody: Custody, texts: Sequence[str]) -> list[UUID]:
    """Return the ids of files that were typed whole or by their beginnings. Raises `ArtifactNotFound`, `AmbiguousId`.

    Of several one that is not there, or not clear, refuses all: nothing was done yet.
    """
    from waybill.services.short_ids import find_file

    async with custody.catalog.connection() as connection:
        return [await find_file(connection, text) for text in texts]


def read_api_key_id(text: str) -> str:
    """Return the id of an API key, also from a whole key. The error does not repeat the text."""
    from blocks.access import parse_key

    whole = parse_key(text)
    if whole is not None:
        return whole.key_id
    if _API_KEY_ID.fullmatch(text) is None:
        raise InvalidOptions("this is not the id of an API key, 12 hexadecimal digits; 'waybill keys list' shows them")
    return text


def read_size(flag: str, text: str | None) -> int | None:
    """Return the bytes that ``500MB``, ``10GB``, ``1.5TiB`` or a bare number mean, None without the option."""
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise InvalidOptions(f"{flag}: {text!r} is not a size; write a number and a unit: 500MB, 10GB, 1.5TiB")
    number, prefix, binary = found[1], (found[2] or "").upper(), found[3]
    return int(Decimal(number) * (1024 if binary else 1000) ** "_KMGTP".index(prefix or "_"))


def read_keep_for(text: str | None) -> timedelta | None:
    """Return how long files are to stay, None without the option."""
    return parse_period(text) if text is not None else None


def typed_path(text: str) -> Path:
    """Return the path that *text* means; ``~`` and ``~NAME`` are home folders."""
    try:
        return Path(text).expanduser()
    except RuntimeError as exc:  # no such account, or one without a home
        raise InvalidOptions(f"{text}: there is no such home folder; for a name that begins with ~ write ./~") from exc


def replaceable(path: Path, *, force: bool) -> Path:
    """Return *path* if a file may be written there.

    Only regular files are replaced, also with *force*: replacing a device by a file would break it for every program.
    """
    if not os.path.lexists(path):  # also where the folder cannot be read; writing there then fails
        return path
    if not path.is_file():
        raise InvalidOptions(f"{path} is not a regular file; name another with -o")
    if not force:
        raise InvalidOptions(f"{path} exists already; give another name with -o, or --force to overwrite it")
    return path


def secret_from_stdin(option: str | None) -> str | None:
    """Return the webhook secret in the first line of standard input if *option* is ``-``, None without the option.

    Refuses a secret on the command line, where other users of the machine can read it. Raises `InvalidKey` for one that
    is malformed.
    """
    if option is None:
        return None
    if option != "-":
        raise InvalidOptions("a secret on the command line can be read by others; give '-' and write it to stdin")
    from blocks.webhooks.secrets import secret_bytes

    found = typer.get_text_stream("stdin").readline().strip()
    secret_bytes(found)
    return found
