"""What lies in a home's storage, read as its owner reads it: with the identity file, past catalogue and custody."""

from __future__ import annotations

from pathlib import Path

from blocks.age import parse_identities, unseal
from blocks.catalog import Artifact
from blocks.custody.manifest import is_manifest_path, manifest_path


def blobs(home: Path, folder: str = "outputs") -> list[Path]:
    """The stored files of one kind, without their manifests."""
    found = sorted((home / "artifacts" / folder).glob("*/*"))
    return [path for path in found if not is_manifest_path(path.name)]


def stored_paths(artifact: Artifact) -> list[str]:
    """The paths of what is stored of a file: its blob, and its manifest where that is beside it."""
    beside = [manifest_path(artifact.location)] if artifact.manifest == "separate" else []
    return [artifact.location, *beside]


def content(home: Path, blob: Path) -> bytes:
    """The content of one stored file, decrypted."""
    identities = parse_identities((home / "storage-identity").read_text())
    return b"".join(unseal([blob.read_bytes()], identities))


def output(home: Path, file_id: str) -> bytes:
    """The content of a stage output by its id."""
    (blob,) = (home / "artifacts" / "outputs").glob(f"*/{file_id.replace('-', '')}")
    return content(home, blob)
