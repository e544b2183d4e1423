"""``waybill age encrypt|decrypt``: encrypt and decrypt files as the age command does, without a stack or custody.

Owns where bytes are read and written. The format is `blocks.age`; nothing here is stored, catalogued or logged.
"""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from blocks.errors import InvalidKey, InvalidOptions, SourceNotFound, WaybillError
from blocks.runtime.write_errors import write_error
from blocks.settings import current_settings
from waybill.commands.arguments import Force, replaceable
from waybill.commands.key_files import MAX_LOG_N, read_keys
from waybill.commands.output import print_notice
from waybill.commands.standard_streams import standard_output_errors

if TYPE_CHECKING:
    from blocks.age import Identity, Recipient

_STANDARD = "-"
# The chunk size that `blocks.age` works with; it would join smaller pieces.
_PIECE_BYTES = 1 << 20
# Control characters of both sets (C0 without tab and line ends, DEL, C1), which terminals act on.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

File = Annotated[str, typer.Argument(metavar="[FILE]", help="The file to read; - or none for standard input.")]
Output = Annotated[
    str,
    typer.Option("-o", "--output", metavar="OUT", help="The file to write; - or none for standard output."),
]


def encrypt(
    file: File = _STANDARD,
    recipient: Annotated[
        list[str] | None,
        typer.Option("-r", "--recipient", metavar="RECIPIENT", help="Encrypt for this age1... key; can be repeated."),
    ] = None,
    recipients_file: Annotated[
        list[Path] | None,
        typer.Option("-R", "--recipients-file", metavar="PATH", help="Encrypt for the keys in this file, one a line."),
    ] = None,
    output: Output = _STANDARD,
    force: Force = False,
) -> int:
    """Encrypt a file for recipients or a passphrase.

    Without -r and -R the passphrase is that of WAYBILL_PASSPHRASE.
    """
    from blocks.age import seal

    recipients = _recipients(recipient or [], recipients_file or [])
    if output == _STANDARD and sys.stdout.isatty():
        raise InvalidOptions("an age file is binary, and standard output is a terminal; name a file with -o")
    with _source(file) as chunks, _target(output, force=force) as write:
        for piece in seal(chunks, recipients):
            write(piece)
    return 0


def decrypt(
    file: File = _STANDARD,
    identity: Annotated[
        list[Path] | None,
        typer.Option(
            "-i", "--identity", metavar="PATH", help="A file of AGE-SECRET-KEY-... identities; can be repeated."
        ),
    ] = None,
    output: Output = _STANDARD,
    force: Force = False,
) -> int:
    """Decrypt a file with identities or a passphrase.

    Armored or binary; with the identities of -i and the passphrase of WAYBILL_PASSPHRASE. With -o the file appears
    complete and authenticated, or not at all. On standard output authenticated pieces are written immediately: use the
    output only if the exit code is 0.
    """
    from blocks.age import unseal

    identities = _identities(identity or [])
    to_terminal = output == _STANDARD and sys.stdout.isatty()
    written = False
    with _source(file) as chunks, _target(output, force=force) as write:
        check_text = _text_check()
        try:
            for piece in unseal(_binary(chunks), identities):
                if to_terminal:
                    check_text(piece)
                write(piece)
                written = True
        except WaybillError:
            if written and output == _STANDARD:
                print_notice("the output is incomplete; do not use it")
            raise
    return 0


def _recipients(texts: Sequence[str], paths: Sequence[Path]) -> Sequence[Recipient]:
    """Return the recipients named, or the passphrase. Raises `InvalidOptions` and `InvalidKey`."""
    from blocks.age import ScryptRecipient, parse_recipient, parse_recipients

    try:
        named = [parse_recipient(text) for text in texts]
    except InvalidKey as exc:
        raise InvalidOptions(f"-r: {exc.message}") from exc
    named += [recipient for path in paths for recipient in read_keys(path, parse_recipients)]
    if named:
        return named
    if (passphrase := current_settings().passphrase) is None:
        raise InvalidOptions("no recipient: name one with -r or -R, or set WAYBILL_PASSPHRASE")
    return [ScryptRecipient(passphrase.reveal())]


def _identities(paths: Sequence[Path]) -> Sequence[Identity]:
    """Return the identities in the files named, and the passphrase if set. Raises `InvalidOptions` and `InvalidKey`."""
    from blocks.age import ScryptIdentity, parse_identities

    identities: list[Identity] = [identity for path in paths for identity in read_keys(path, parse_identities)]
    if (passphrase := current_settings().passphrase) is not None:
        identities.append(ScryptIdentity(passphrase.reveal(), max_log_n=MAX_LOG_N))
    if not identities:
        raise InvalidOptions("no identity: name an identity file with -i, or set WAYBILL_PASSPHRASE")
    return identities


@contextmanager
def _source(file: str) -> Generator[Iterator[bytes]]:
    """Open a file, or standard input, and yield its chunks. Raises `SourceNotFound`."""
    if file == _STANDARD:
        yield _chunks(sys.stdin.buffer, "standard input")
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115  # closed below; errors of opening and of reading are reported differently
    except OSError as exc:
        raise SourceNotFound(f"cannot open {file}: {exc.strerror}") from exc
    with stream:
        yield _chunks(stream, file)


def _chunks(stream: BinaryIO, name: str) -> Iterator[bytes]:
    try:
        while chunk := stream.read(_PIECE_BYTES):
            yield chunk
    except OSError as exc:
        raise SourceNotFound(f"cannot read all of {name}: {exc.strerror}") from exc


def _binary(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Return the chunks of a binary age file, from an armored or a binary one."""
    from blocks.age import dearmor, is_armored

    beginning = next(chunks, b"")
    whole = chain([beginning], chunks)
    return dearmor(whole) if is_armored(beginning) else whole


@contextmanager
def _target(output: str, *, force: bool) -> Generator[Callable[[bytes], object]]:
    """Yield a function that writes to standard output, or to a file that appears only on success.

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
    except OSError as exc:  # of the target: errors of the source have been translated already
        raise write_error("standard output" if output == _STANDARD else output, exc) from exc


def _text_check() -> Callable[[bytes], None]:
    """Return a check for pieces that go to a terminal. It raises `InvalidOptions` at the first that is not plain text.

    The author of the file could otherwise send commands to the terminal, which rewrite the screen or worse.
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
