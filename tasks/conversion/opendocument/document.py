"""An OpenDocument package: its parts, its properties, and whether it is encrypted."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from blocks.errors import EncryptedDocument, UnreadableDocument
from blocks.filetype import FileType
from tasks.conversion.office.package import CoreProperties, Element, Package

_MANIFEST = "META-INF/manifest.xml"


@contextmanager
def open_document(path: Path, file_type: FileType, shown: str) -> Generator[Package]:
    """Open the package at *path*. Raises `EncryptedDocument`, `UnreadableDocument`, `TooLarge`."""
    with Package(path, file_type, shown) as package:
        manifest = optional_part(package, _MANIFEST)
        if manifest is not None and next(manifest.iter("{*}encryption-data"), None) is not None:
            raise EncryptedDocument(
                f"{shown!r} is a password-protected {file_type.label}; save it without a password and send it again"
            )
        yield package


def optional_part(package: Package, member: str) -> Element | None:
    """Return the root of a part; None if it is missing or damaged, because the document can be read without it."""
    try:
        return package.parse_optional(member)
    except UnreadableDocument:
        return None


def properties(package: Package) -> CoreProperties:
    """Return the title, date of creation and language of the document (part 3, 4.3)."""
    root = optional_part(package, "meta.xml")
    if root is None:
        return CoreProperties()
    found = {kind: next(root.iter(f"{{*}}{kind}"), None) for kind in ("title", "creation-date", "language")}
    texts = {kind: one.text if one is not None else None for kind, one in found.items()}
    return CoreProperties(title=texts["title"], created=texts["creation-date"], language=texts["language"])


def attribute(element: Element, name: str, default: str = "") -> str:
    """Return an attribute by its name without namespace; *default* if it is missing."""
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), default)
