"""The published test vectors of the age format; see README.md beside this file."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from zipfile import ZipFile

_ARCHIVE = Path(__file__).with_name("vectors.zip")


@dataclass
class Vector:
    """One age file, with what opens it and how that must end."""

    name: str
    file: bytes = b""
    expect: str = ""
    payload_sha256: str | None = None
    file_key: bytes = b""
    identities: list[str] = field(default_factory=list)
    passphrases: list[str] = field(default_factory=list)
    armored: bool = False


@lru_cache(maxsize=1)
def all_vectors() -> tuple[Vector, ...]:
    """Every vector, by name."""
    with ZipFile(_ARCHIVE) as archive:
        return tuple(_parse(name, archive.read(name)) for name in sorted(archive.namelist()))


def _parse(name: str, content: bytes) -> Vector:
    facts, _, file = content.partition(b"\n\n")
    vector = Vector(name, file)
    for line in facts.decode("utf-8").split("\n"):
        key, _, value = line.partition(": ")
        if key == "expect":
            vector.expect = value
        elif key == "payload":
            vector.payload_sha256 = value
        elif key == "file key":
            vector.file_key = bytes.fromhex(value)
        elif key == "identity":
            vector.identities.append(value)
        elif key == "passphrase":
            vector.passphrases.append(value)
        elif key == "armored":
            vector.armored = value == "yes"
        elif key == "compressed":
            assert value == "zlib"
            vector.file = zlib.decompress(vector.file)
        else:
            assert key == "comment", f"{name} has an unknown key {key}"
    return vector
