"""Whether stored files need a storage key that is missing. Decides when a new one may be created; creates none.

A new key in place of a lost one would hide the loss: files would be stored for it, and the old one would not be looked
for. So the catalogue is asked for files that were encrypted, and an empty catalogue's storage for encrypted manifests.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

from blocks.catalog import KINDS, maintenance_queries
from blocks.custody.custody import Custody
from blocks.custody.inline_manifest import MARKED_BYTES, may_have_inline_manifest
from blocks.custody.manifest import is_manifest_path, is_sealed
from blocks.errors import BlobMissing, InvalidSettings, UnsafeKey
from blocks.keys import missing_key
from blocks.postgres import connect, execute, fetch_row, postgres_errors
from blocks.settings import Settings
from blocks.storage import Backend, kind_folder

# Of each kind. A storage that was ever used with encryption has hardly any manifest that is not encrypted.
_MANIFESTS_READ = 50
# PostgreSQL's "undefined table": the database was not migrated yet, so it has no files.
_NO_TABLE = "42P01"


def refusing_lost_key(settings: Settings, backend: Backend) -> Callable[[Path], None]:
    """Return a check for `load_storage_keys`, which is called with the path where the key was expected.

    The check raises `InvalidSettings` when files are stored for a key that is not there, `CatalogUnavailable` and
    `StorageUnavailable` when that cannot be found out. It blocks.
    """

    def check(path: Path) -> None:
        files, recipient, is_empty = _recorded(settings)
        if recipient is not None:
            raise missing_key(path, f"{files:,} stored files are encrypted for {recipient}")
        if is_empty and has_sealed_manifest(backend):
            raise missing_key(path, "the storage holds encrypted files, which 'waybill catalog rebuild' needs it for")

    return check


async def foreign_files(custody: Custody) -> int:
    """Return how many available files are encrypted, when none of them is for a key of *custody*; else 0.

    More than 0 means that the keys are those of another home, or that files were given up.
    """
    ours = [identity.recipient.text for identity in custody.keys.identities]
    if not ours:
        return 0
    async with custody.catalog.connection() as connection:
        await execute(connection, "set statement_timeout = '5s'", {})
        return int((await fetch_row(connection, maintenance_queries.FOREIGN_FILES, {"ours": ours}))["files"])


def _recorded(settings: Settings) -> tuple[int, str | None, bool]:
    """Return the number of encrypted files, a recipient that was recorded, and whether there is no row at all."""
    try:
        with connect(settings.required_database_url) as connection, postgres_errors("look for encrypted files"):
            row = connection.execute(maintenance_queries.ENCRYPTED_FILES).fetchone()
    except InvalidSettings as exc:
        if exc.context.get("sqlstate") != _NO_TABLE:
            raise
        return 0, None, True
    assert row is not None  # noqa: S101 - the statement always has one row
    return row[0], row[1], row[2]


def has_sealed_manifest(backend: Backend) -> bool:
    """Return whether the storage has encrypted files; of each kind some are looked at."""
    # First those in the headers of blobs: a storage may have no other, and all of it would be listed for one.
    return any(
        _begins(backend, path, is_so)
        for is_wanted, is_so in ((_is_blob_path, may_have_inline_manifest), (is_manifest_path, is_sealed))
        for kind in KINDS
        for path in islice(filter(is_wanted, backend.paths(kind_folder(kind))), _MANIFESTS_READ)
    )


def _is_blob_path(path: str) -> bool:
    return not is_manifest_path(path)


def _begins(backend: Backend, path: str, is_so: Callable[[bytes], bool]) -> bool:
    try:
        with backend.open(path) as stream:
            return is_so(stream.read(MARKED_BYTES))
    except (BlobMissing, UnsafeKey):
        return False  # deleted since it was listed, or no file of ours
