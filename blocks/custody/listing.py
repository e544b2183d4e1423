"""The stored objects of custody, folder by folder, for comparisons with the catalogue.

Memory stays flat: the blobs of a folder come together, and there are 4,352 folders of each kind at most.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby

from blocks.catalog import KINDS
from blocks.custody.manifest import MANIFEST_SUFFIX, is_manifest_path
from blocks.runtime.threads import in_thread
from blocks.storage import Backend, StoredObject, is_file_path, kind_folder


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """What is stored of one file: its blob, its manifest, or both. `path` is that of the blob."""

    path: str
    blob: StoredObject | None
    manifest: StoredObject | None

    @property
    def objects(self) -> list[StoredObject]:
        return [one for one in (self.blob, self.manifest) if one is not None]

    @property
    def bytes(self) -> int:
        return sum(one.size for one in self.objects)

    def is_older_than(self, age: timedelta) -> bool:
        """Whether all of it was last written before that time. True where the storage reports no ages."""
        return all(one.age is None or one.age >= age for one in self.objects)


@dataclass(frozen=True, kw_only=True)
class StoredFolder:
    """What is stored in a folder such as ``outputs/3f``; `foreign` has names that Waybill does not give."""

    name: str
    files: dict[str, StoredFile] = field(default_factory=dict[str, StoredFile])
    foreign: list[StoredObject] = field(default_factory=list[StoredObject])


async def stored_folders(backend: Backend) -> AsyncGenerator[StoredFolder]:
    """Yield each folder in which anything is stored, once. Close it where it may be left early.

    Raises `StorageUnavailable` when the storage cannot be listed to the end.
    """
    for kind in KINDS:
        # The listing holds folders open, and may be left in the middle.
        with closing(_grouped(backend.objects(kind_folder(kind)))) as folders:
            while (folder := await in_thread(lambda _, folders=folders: next(folders, None))) is not None:
                yield folder


def _grouped(objects: Iterator[StoredObject]) -> Generator[StoredFolder]:
    for name, inside in groupby(objects, key=lambda one: "/".join(one.path.split("/")[:2])):
        yield _folder(name, inside)


def _folder(name: str, objects: Iterable[StoredObject]) -> StoredFolder:
    blobs: dict[str, StoredObject] = {}
    manifests: dict[str, StoredObject] = {}
    foreign: list[StoredObject] = []
    for one in objects:
        path = one.path.removesuffix(MANIFEST_SUFFIX)
        if not is_file_path(path):
            foreign.append(one)
        elif is_manifest_path(one.path):
            manifests[path] = one
        else:
            blobs[path] = one
    files = {
        path: StoredFile(path=path, blob=blobs.get(path), manifest=manifests.get(path))
        for path in sorted(blobs.keys() | manifests.keys())
    }
    return StoredFolder(name=name, files=files, foreign=foreign)
