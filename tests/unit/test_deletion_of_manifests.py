"""A row whose location is another file's manifest, which only SQL writes, takes nothing of that file."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from blocks.custody.deletion import delete_many_stored, delete_stored
from blocks.custody.manifest import manifest_path
from blocks.storage.local import LocalBackend


def test_the_manifest_of_another_file_stays(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    manifest = manifest_path(f"uploads/ab/{uuid4().hex}")
    goes = f"uploads/cd/{uuid4().hex}"
    for path in (manifest, goes, manifest_path(goes)):
        backend.publish(path, [b"x"])
    found = delete_many_stored(backend, [manifest, goes])
    assert (found.failed, list(found.unusable)) == ({}, [manifest])
    delete_stored(backend, manifest, file_id=uuid4())
    assert list(backend.paths("uploads/")) == [manifest]
