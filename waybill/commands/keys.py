"""``waybill keys storage|rotate-storage``: the storage key."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blocks.errors import InvalidOptions, NoMatchingIdentity
from blocks.runtime.in_words import size
from blocks.settings import current_settings
from waybill.commands.arguments import AsJson
from waybill.commands.output import print_json, print_notice, progress_bar
from waybill.commands.session import report_new_key, with_custody

if TYPE_CHECKING:
    from blocks.catalog.maintenance import RecipientUse
    from blocks.custody import Custody
    from blocks.custody.rotate import Moved
    from blocks.keys import StorageKeys
    from blocks.settings import Settings


def storage(
    identity: Annotated[
        bool, typer.Option("--identity", help="Print the secret key too, as an identity file; keep it safe.")
    ] = False,
    new: Annotated[
        bool,
        typer.Option(
            "--new", help="Make a key pair in place of a lost one, although stored files need it; they stay unreadable."
        ),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Print the recipient that stored files are encrypted for.

    A missing key pair is made, unless stored files need it. With --identity prints an identity file for the 'age'
    command. Keep a copy of it elsewhere, or decrypt a stored file with it:
    waybill keys storage --identity > key.txt / age --decrypt -i key.txt STORED-FILE

    To put a lost key back, restore storage-identity in WAYBILL_HOME from a copy. Where there is a newer one, append
    the lines of the lost one to it: the first key stores, and all of them read. A backup has it as
    backups/ID/home/storage-identity.
    """
    settings = current_settings()
    keys = _new_keys(settings) if new else _load_keys(settings)
    if identity and not keys.identities:
        raise NoMatchingIdentity(
            "this machine has only the public key (WAYBILL_STORAGE_RECIPIENT), so there is no secret key to show"
        )
    if as_json:
        print_json(
            {
                "recipient": keys.encrypted_for,
                "identity_file": str(settings.resolved_storage_identity_file) if keys.identities else None,
                **({"identities": [one.text for one in keys.identities]} if identity else {}),
            }
        )
    elif identity:
        typer.echo(settings.resolved_storage_identity_file.read_text(encoding="utf-8"), nl=False)
    elif keys.encrypted_for is None:
        typer.echo("encryption is off (WAYBILL_ENCRYPT): files are stored as they are")
    else:
        typer.echo(keys.encrypted_for)
    return 0


def rotate_storage(as_json: AsJson = False) -> int:
    """Make a new storage key and move every file to it.

    Afterwards the old key decrypts none of them. Only the header of a file changes; its payload is copied unchanged.
    After an interruption run the same again: it finishes the rotation before another key is made. With
    WAYBILL_STORAGE_RECIPIENT no key is made, and files move to that recipient. The old identity stays in the identity
    file, for backups that still need it.
    """
    started = time.perf_counter()
    tally = _Tally()

    async def work(custody: Custody, settings: Settings) -> tuple[StorageKeys, bool]:
        from blocks.catalog import OutputLocks
        from blocks.catalog.maintenance import by_recipient
        from blocks.custody.rotate import rotate, rotation_lock
        from blocks.keys import load_storage_keys

        if custody.keys.are_off:
            raise InvalidOptions("encryption is off (WAYBILL_ENCRYPT), so there is no storage key to rotate")
        async with OutputLocks.open(settings.required_database_url) as locks, rotation_lock(locks):
            # Read again under the lock: another rotation may have finished since this command started.
            custody.keys = load_storage_keys(settings, may_create=False)
            custody.keys.recipient_to_store_for()  # a file that was removed since is an error
            async with custody.catalog.connection() as connection:
                used = await by_recipient(connection)
            is_new = settings.storage_recipient is None and not _is_unfinished(custody.keys, used)
            if is_new:
                custody.keys = _with_new_key(custody.keys, settings)
            total = sum(use.files for use in used if use.encrypted_for != custody.keys.encrypted_for)
            with progress_bar("rotating") as show:

                def note(one: Moved) -> None:
                    tally.add(one)
                    done = tally.moved + len(tally.failed)
                    show(100 * done / max(total, done), f"{done} of {total} files")

                await rotate(custody, locks, on_moved=note)
        return custody.keys, is_new

    keys, is_new = with_custody(work, stores=True)
    seconds = time.perf_counter() - started
    if as_json:
        answer = {"recipient": keys.encrypted_for, "new_key": is_new, **vars(tally), "seconds": round(seconds, 3)}
        print_json(answer)
    else:
        typer.echo(
            f"{tally.moved:,} files ({size(tally.bytes)}) moved to {keys.encrypted_for} in {seconds:.1f} s, "
            f"{len(tally.failed):,} failed"
        )
    for one in tally.failed:
        print_notice(f"{one['file_id']}: {one['error']}")
    _advise_backup(tally)
    return 1 if tally.failed else 0


def _advise_backup(tally: _Tally) -> None:
    """Say that earlier backups have the files at their former paths, in a home that makes backups."""
    from waybill.services.backups import read_note

    if tally.moved and (note := read_note(current_settings().home)) is not None:
        print_notice(f"no backup has the moved files yet; make one now: waybill backup {note.repository}")


@dataclass
class _Tally:
    """Counts of a rotation so far."""

    moved: int = 0
    bytes: int = 0
    failed: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def add(self, one: Moved) -> None:
        if one.error is not None:
            self.failed.append({**one.artifact.summary(), "error": one.error.message})
            return
        self.moved += 1
        self.bytes += one.artifact.stored_size


def _load_keys(settings: Settings) -> StorageKeys:
    from blocks.keys import load_storage_keys

    keys = load_storage_keys(settings, may_create=False)
    # Only the catalogue says whether stored files need the missing key, and it takes seconds to start.
    return with_custody(_keys_of, stores=True) if keys.missing else keys


async def _keys_of(custody: Custody, _: Settings) -> StorageKeys:
    return custody.keys


def _new_keys(settings: Settings) -> StorageKeys:
    from blocks.keys import load_storage_keys

    if load_storage_keys(settings, may_create=False).missing is None:
        raise InvalidOptions(
            "--new is for a lost storage key, and none is missing here; to replace it: waybill keys rotate-storage"
        )
    made = load_storage_keys(settings, on_created=report_new_key)
    print_notice(
        "files that are encrypted for the lost key stay unreadable, and runs make new ones in their place; 'waybill "
        "doctor' counts them. If the lost file is found, append its lines to "
        f"{settings.resolved_storage_identity_file}."
    )
    return made


def _is_unfinished(keys: StorageKeys, used: list[RecipientUse]) -> bool:
    """Whether an earlier rotation was interrupted: undamaged files are still encrypted for an older key."""
    older = {one.recipient.text for one in keys.identities} - {keys.encrypted_for}
    return any(use.encrypted_for in older and use.undamaged for use in used)


def _with_new_key(keys: StorageKeys, settings: Settings) -> StorageKeys:
    from blocks.keys import add_identity

    identity = add_identity(settings.resolved_storage_identity_file)
    print_notice(f"made a new key in {settings.resolved_storage_identity_file}; keep a copy of the file elsewhere")
    return replace(keys, recipient=identity.recipient, identities=(identity, *keys.identities))
