"""Documents that are zip packages of XML parts: Office Open XML, OpenDocument, EPUB.

Owns how a package is read within bounds: no more than `MAX_UNPACKED_BYTES` of all parts together, whatever their
directory claims; no entity is expanded; nothing outside the package is fetched. Its errors name the document. Relations
between parts are those of ECMA-376 part 2, 9.3.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from io import BufferedIOBase, RawIOBase
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar, cast
from urllib.parse import unquote

from blocks.errors import EncryptedDocument, TooLarge, UnreadableDocument
from blocks.filetype import FileType

T = TypeVar("T")

# What xberg allows for a document as well; the largest real ones have a tenth of it.
MAX_UNPACKED_BYTES = 500_000_000
# A part that is parsed as a whole takes ten times its size in memory.
MAX_PARSED_BYTES = 200_000_000
# Zip's flag for an encrypted member (APPNOTE 4.4.4).
_ENCRYPTED_FLAG = 0x1

_RELATIONSHIP = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"
_DUBLIN_CORE = "{http://purl.org/dc/elements/1.1/}"
_DUBLIN_CORE_TERMS = "{http://purl.org/dc/terms/}"

# Documents in the strict form of Office Open XML name everything anew; they are read by the usual names.
_STRICT = b"http://purl.oclc.org/ooxml/"
_STRICT_NAMESPACE = re.compile(rb"""(xmlns(?::[\w.-]+)?\s*=\s*["'])http://purl\.oclc\.org/ooxml/(\w+)/""")

Element = Any  # lxml has no types
_etree: Any = import_module("lxml.etree")
# Huge trees are allowed, because the bytes are limited and entities stay closed.
_PARSER_OPTIONS = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "huge_tree": True,
    "remove_comments": True,
    "remove_pis": True,
}
_DAMAGE: tuple[type[Exception], ...] = (
    *(zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError),
    _etree.XMLSyntaxError,
)


@dataclass(frozen=True)
class Relation:
    """Where a part points to: a member's name, or an address if it is `external`. `kind` is the type's last word."""

    kind: str
    target: str
    external: bool


@dataclass(frozen=True)
class CoreProperties:
    """What the document says of itself (ECMA-376 part 2, 11); None where it says nothing."""

    title: str | None = None
    created: str | None = None
    language: str | None = None


class Package:
    """An open package. Use it as a context manager; what is damaged inside raises `UnreadableDocument` there too."""

    def __init__(self, source: Path | IO[bytes], file_type: FileType, shown: str) -> None:
        self._source = source
        self._label = file_type.label
        self._shown = shown
        self._left = MAX_UNPACKED_BYTES
        self._left_out: dict[str, None] = {}
        self._names: dict[str, str] = {}

    def __enter__(self) -> Package:
        with self._translated():
            self._zip = zipfile.ZipFile(self._source)
        # Part names are compared without case, and some writers begin them with a slash.
        self._names = {_normal(name): name for name in self._zip.namelist()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._zip.close()
        if isinstance(error, RecursionError):
            raise UnreadableDocument(
                f"{self._shown!r} ({self._label}) is nested too deeply to be read; simplify it and send it again"
            ) from error

    def __contains__(self, member: str) -> bool:
        return _normal(member) in self._names

    def members(self) -> list[str]:
        """Return the names of the members in the order of the package."""
        return list(self._names.values())

    def check_size(self) -> None:
        """Raise `TooLarge` if all members together, also those that are never read, claim to unpack to too much."""
        if sum(member.file_size for member in self._zip.infolist()) > MAX_UNPACKED_BYTES:
            raise self._too_large(f"it unpacks to more than {MAX_UNPACKED_BYTES // 1_000_000} MB")

    def read(self, member: str) -> bytes:
        """Return a member's bytes. Raises `UnreadableDocument`, `TooLarge`, `EncryptedDocument`."""
        with self.open(member) as part:
            return part.read()

    @contextmanager
    def open(self, member: str) -> Generator[IO[bytes]]:
        """Open a member for reading; what is read counts. Raises what `read` raises, also from inside the block."""
        with self._translated():
            name = self._names.get(_normal(member))
            if name is None:
                raise UnreadableDocument(f"{self._shown!r} ({self._label}) lacks its part {member}; save it again")
            if self._zip.getinfo(name).flag_bits & _ENCRYPTED_FLAG:
                raise EncryptedDocument(f"{self._shown!r} is a password-protected {self._label}; save it without one")
            with self._zip.open(name) as part:
                yield cast("IO[bytes]", _Counted(part, self))

    def parse(self, member: str) -> Element:
        """Return the root element of an XML part. Raises what `read` raises."""
        data = self.read(member)
        if len(data) > MAX_PARSED_BYTES:
            raise self._too_large(f"its part {member} has more than {MAX_PARSED_BYTES // 1_000_000} MB")
        if _STRICT in data:
            data = _STRICT_NAMESPACE.sub(rb"\1http://schemas.openxmlformats.org/\2/2006/", data)
        with self._translated():
            root = _etree.fromstring(data, _parser())
        self._refuse_entities(root)
        return root

    def iterate(self, member: str, *names: str) -> Generator[Element]:
        """Yield the elements of an XML part with the local *names* as they end, in any namespace.

        What was read stays in memory until the caller clears it. Raises what `read` raises.
        """
        tags = [f"{{*}}{name}" for name in names]
        checked = False
        with self.open(member) as part:
            for _event, element in _etree.iterparse(part, events=("end",), tag=tags, **_PARSER_OPTIONS):
                if not checked:  # the declarations stand in front of the first element
                    self._refuse_entities(element)
                    checked = True
                yield element

    def _refuse_entities(self, element: Element) -> None:
        declared = element.getroottree().docinfo.internalDTD
        if declared is not None and next(declared.iterentities(), None) is not None:
            # They would stay closed, so text would be missing; real programs write none.
            raise UnreadableDocument(f"{self._shown!r} ({self._label}) declares entities, which are not expanded")

    def parse_optional(self, member: str) -> Element | None:
        """Return the root element of an XML part, or None if the package has no such part."""
        return self.parse(member) if member in self else None

    def relations(self, part: str = "") -> dict[str, Relation]:
        """Return the relations of *part* (of the package itself without one) by id; empty when it has none."""
        folder, name = posixpath.split(part)
        root = self.parse_optional(posixpath.join(folder, "_rels", f"{name}.rels"))
        if root is None:
            return {}
        return {one.get("Id", ""): _relation(one, folder) for one in root.iter(_RELATIONSHIP)}

    def related(self, part: str, kind: str) -> list[str]:
        """Return the members that *part* points to by relations of *kind* ("footnotes", "slide") and that exist."""
        found = self.relations(part).values()
        return [one.target for one in found if one.kind == kind and not one.external and one.target in self]

    def attempt(self, what: str, read: Callable[[], T]) -> T | None:
        """Return what *read* returns; None, and a warning, if that part of the package is damaged.

        *what* names it in the warning: "comments".
        """
        try:
            return read()
        except UnreadableDocument:
            self._left_out[f"{what} could not be read and were left out"] = None
            return None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What `attempt` left out, each once."""
        return tuple(self._left_out)

    def core_properties(self) -> CoreProperties:
        """Return the title, date of creation and language of an Office Open XML document."""
        member = next(iter(self.related("", "core-properties")), "docProps/core.xml")
        root = self.parse_optional(member)
        if root is None:
            return CoreProperties()
        return CoreProperties(
            title=root.findtext(f"{_DUBLIN_CORE}title"),
            created=root.findtext(f"{_DUBLIN_CORE_TERMS}created"),
            language=root.findtext(f"{_DUBLIN_CORE}language"),
        )

    @property
    def unpacked_bytes(self) -> int:
        """How much was unpacked so far."""
        return MAX_UNPACKED_BYTES - self._left

    def count(self, size_bytes: int) -> None:
        """Count what was unpacked. Raises `TooLarge` beyond the limit of all parts together."""
        self._left -= size_bytes
        if self._left < 0:
            raise self._too_large(f"it unpacks to more than {MAX_UNPACKED_BYTES // 1_000_000} MB")

    def _too_large(self, why: str) -> TooLarge:
        return TooLarge(f"{self._shown!r} ({self._label}) is larger than a document may be: {why}")

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except _DAMAGE as error:
            raise UnreadableDocument(
                f"{self._shown!r} could not be read as {self._label} ({type(error).__name__}); "
                "check that it opens and send it again"
            ) from error


class _Counted(RawIOBase):
    """A member whose bytes count as they are read."""

    def __init__(self, part: IO[bytes], package: Package) -> None:
        self._part = cast(BufferedIOBase, part)
        self._package = package

    def read(self, size: int = -1, /) -> bytes:
        if size >= 0:
            data = self._part.read(size)
            self._package.count(len(data))
            return data
        pieces: list[bytes] = []
        while piece := self._part.read(1 << 20):
            self._package.count(len(piece))
            pieces.append(piece)
        return b"".join(pieces)


def local_name(element: Element) -> str:
    """Return an element's name without its namespace: Office Open XML has two sets of them."""
    return str(element.tag).rpartition("}")[2]


def _parser() -> Any:
    return _etree.XMLParser(**_PARSER_OPTIONS)


def _relation(relationship: Element, folder: str) -> Relation:
    external = relationship.get("TargetMode") == "External"
    target = relationship.get("Target", "")
    if not external:
        target = posixpath.normpath(posixpath.join("/", folder, unquote(target))).lstrip("/")
    return Relation(kind=relationship.get("Type", "").rpartition("/")[2], target=target, external=external)


def _normal(name: str) -> str:
    return name.replace("\\", "/").lstrip("/").casefold()
