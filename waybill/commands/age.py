"""``waybill age ...``: encrypt and decrypt files as the age command does, without a stack and without custody.

Owns where bytes come from and go to. The format is `blocks.age`; nothing here is kept, catalogued or logged.
"""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, TypeVar

import typer

from blocks.errors import (
    InvalidKey,
    InvalidOptions,
    SourceNotFound,
    WaybillError,
)
from blocks.settings import current_settings
from waybill.commands.output import print_notice
from waybill.commands.paths import replaceable
from waybill.commands.standard_streams import standard_output_errors, write_error

if TYPE_CHECKING:
    from blocks.age import Identity, Recipient

app = typer.Typer(help="Encrypt and decrypt files in the age format, for keys or a passphrase.", no_args_is_help=True)

KeyT = TypeVar("KeyT")

_STANDARD = "-"
# What `blocks.age` works on at once; smaller pieces would be put together there.
_PIECE_BYTES = 1 << 20
# As many of the longest keys as a file may have recipients are half of this. Who names the wrong file, a disk image
# perhaps, is told so at once.
_KEY_FILE_BYTES = 2 << 20
# What the age command accepts: 4 GiB and a quarter of a minute at most. Whoever waits for it can interrupt it.
_MAX_LOG_N = 22
# Control characters of both sets (C0 without tab and line ends, DEL, C1), which terminals obey.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

File = Annotated[str, typer.Argument(metavar="[FILE]", help="The file to read; nothing or - for standard input.")]
Output = Annotated[
    str, typer.Option("-o", "--output", metavar="OUT", help="The file to write; nothing or - for standard output.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")]


@app.command()
def encrypt(
    file: File = _STANDARD,
    recipient: Annotated[
        list[str] | None,
        typer.Option("-r", "--recipient", metavar="RECIPIENT", help="Encrypt for this age1... key; may be repeated."),
    ] = None,
    recipients_file: Annotated[
        list[Path] | None,
        typer.Option("-R", "--recipients-file", metavar="PATH", help="Encrypt for the keys in this file, one a line."),
    ] = None,
    output: Output = _STANDARD,
    force: Force = False,
) -> int:
    """Encrypt a file. Without -r and -R with the passphrase in WAYBILL_PASSPHRASE."""
    from blocks.age import seal

    recipients = _recipients(recipient or [], recipients_file or [])
    if output == _STANDARD and sys.stdout.isatty():
        raise InvalidOptions("an age file is binary, and standard output is a terminal; name a file with -o")
    with _source(file) as chunks, _target(output, force=force) as write:
        for piece in seal(chunks, recipients):
            write(piece)
    return 0


@app.command()
def decrypt(
    file: File = _STANDARD,
    identity: Annotated[
        list[Path] | None,
        typer.Option(
            "-i", "--identity", metavar="PATH", help="A file of AGE-SECRET-KEY-... identities; may be repeated."
        ),
    ] = None,
    output: Output = _STANDARD,
    force: Force = False,
) -> int:
    """Decrypt a file, armored or not, with the identities of -i and the passphrase in WAYBILL_PASSPHRASE.

    With -o the file appears whole and authentic, or not at all. On standard output what is authentic is written at
    once: use it only if the command has ended with exit code 0.
    """
    from blocks.age import unseal

    identities = _identities(identity or [])
    to_terminal = output == _STANDARD and sys.stdout.isatty()
    written = False
    with _source(file) as chunks, _target(output, force=force) as write:
        check = _text_check() if to_terminal else _anything
        try:
            for piece in unseal(_binary(chunks), identities):
                check(piece)
                write(piece)
                written = True
        except WaybillError:
            if written and output == _STANDARD:
                print_notice("what has been written is only the beginning; do not use it")
            raise
    return 0


def _recipients(texts: Sequence[str], paths: Sequence[Path]) -> Sequence[Recipient]:
    """Those named, or the passphrase. Raises `InvalidOptions` and `InvalidKey`."""
    from blocks.age import ScryptRecipient, parse_recipient, parse_recipients

    try:
        named = [parse_recipient(text) for text in texts]
    except InvalidKey as exc:
        raise InvalidOptions(f"-r: {exc.message}") from exc
    named += [recipient for path in paths for recipient in _read_keys(path, parse_recipients)]
    if named:
        return named
    if (passphrase := current_settings().passphrase) is None:
        raise InvalidOptions("for whom? name a recipient with -r or -R, or set WAYBILL_PASSPHRASE")
    return [ScryptRecipient(passphrase.get_secret_value())]


def _identities(paths: Sequence[Path]) -> Sequence[Identity]:
    """Those in the files named, and the passphrase where there is one. Raises `InvalidOptions` and `InvalidKey`."""
    from blocks.age import ScryptIdentity, parse_identities

    identities: list[Identity] = [identity for path in paths for identity in _read_keys(path, parse_identities)]
    if (passphrase := current_settings().passphrase) is not None:
        identities.append(ScryptIdentity(passphrase.get_secret_value(), max_log_n=_MAX_LOG_N))
    if not identities:
        raise InvalidOptions("with what? name an identity file with -i, or set WAYBILL_PASSPHRASE")
    return identities


def _read_keys(path: Path, parse: Callable[[str], list[KeyT]]) -> list[KeyT]:
    try:
        with path.open("rb") as stream:
            content = stream.read(_KEY_FILE_BYTES + 1)
    except OSError as exc:
        raise SourceNotFound(f"cannot read {path}: {exc.strerror}") from exc
    if len(content) > _KEY_FILE_BYTES:
        raise InvalidKey(f"{path} is too large for a file of keys")
    try:
        return parse(content.decode("utf-8"))
    except UnicodeDecodeError as exc:
        raise InvalidKey(f"{path} is not a file of keys: it is not text") from exc
    except InvalidKey as exc:
        raise InvalidKey(f"{path}: {exc.message}") from exc


@contextmanager
def _source(file: str) -> Generator[Iterator[bytes]]:
    """The bytes of a file or of standard input. Raises `SourceNotFound`."""
    if file == _STANDARD:
        yield _chunks(sys.stdin.buffer, "standard input")
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115  # closed below; errors of opening are told from later ones
    except OSError as exc:
        raise SourceNotFound(f"cannot open {file}: {exc.strerror}") from exc
    with stream:
        yield _chunks(stream, file)


def _chunks(stream: BinaryIO, name: str) -> Iterator[bytes]:
    try:
        while chunk := stream.read(_PIECE_BYTES):
            yield chunk
    except OSError as exc:
        raise SourceNotFound(f"cannot read {name} to its end: {exc.strerror}") from exc


def _binary(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks of a binary age file, whether they come armored or not."""
    from blocks.age import dearmor, is_armored

    beginning = next(chunks, b"")
    whole = chain([beginning], chunks)
    return dearmor(whole) if is_armored(beginning) else whole


@contextmanager
def _target(output: str, *, force: bool) -> Generator[Callable[[bytes], object]]:
    """What writes to a file, which appears when all went well, or to standard output.

    Raises `InvalidOptions` for a file that must not be replaced, `TargetUnwritable` and `StorageFull`.
    """
    try:
        if output == _STANDARD:
            with standard_output_errors():
                yield sys.stdout.buffer.write
                sys.stdout.buffer.flush()
        else:
            from blocks.runtime.atomic_file import atomic_file

            with atomic_file(replaceable(Path(output), force=force)) as stream:
                yield stream.write
    except OSError as exc:  # the target's: those of the source are errors of ours by now
        raise write_error("standard output" if output == _STANDARD else output, exc) from exc


def _text_check() -> Callable[[bytes], None]:
    """A check of pieces on their way to a terminal. Raises `InvalidOptions` at the first that is not plain text.

    Whoever made the file could otherwise send the terminal commands, which rewrite what is on the screen or worse.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()

    def check(piece: bytes) -> None:
        try:
            text = decoder.decode(piece)
        except UnicodeDecodeError:
            text = "\0"
        if _CONTROL.search(text):
            raise InvalidOptions(
                "the content is not plain text, and standard output is a terminal; name a file with -o"
            )

    return check


def _anything(_: bytes) -> None:
    """Files and pipes take any bytes."""
