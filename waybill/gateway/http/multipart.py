"""A ``multipart/form-data`` body as it arrives, part by part and in constant memory.

Implements RFC 7578 on `python_multipart`'s parser. Owns the limits: how many parts, how large a field. Refuses what is
no form, what ends before its last boundary, and fields that nobody asked for. Content of files is passed on in pieces
and never kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from blocks.errors import InvalidOptions
from waybill.gateway.errors import HttpError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# Our forms have six fields at most; a thousand parts are work for nothing.
MAX_PARTS = 20
# The longest field holds options or metadata; both are some kilobytes.
MAX_FIELD_BYTES = 64 * 1024
MAX_FILE_NAME_BYTES = 1024
# Fields as large and as many as they may be, their headers, and what stands before and after the parts, over which the
# parser passes without end.
MAX_AROUND_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True)
class FormField:
    """A field that has arrived whole."""

    name: str
    value: str


@dataclass(frozen=True)
class FileBegins:
    """A file's part: its content follows."""

    name: str
    filename: str


@dataclass(frozen=True)
class FileContent:
    """The next piece of the file that has begun."""

    piece: bytes = field(repr=False)


@dataclass(frozen=True)
class FileEnds:
    """The file that has begun is there."""


FormEvent = FormField | FileBegins | FileContent | FileEnds


async def form_events(request: Request, *, fields: Collection[str], files: Collection[str]) -> AsyncIterator[FormEvent]:
    """What the body of *request* holds, in its order; *fields* and *files* are the names that are known.

    Raises `HttpError` (400, 413, 415), `InvalidOptions` for a name that is not known or comes twice, and
    `ClientDisconnect` when the sender is gone.
    """
    parts = _Parts(fields, files)
    parser, total = MultipartParser(_boundary(request), parts.callbacks()), 0
    async for piece in request.stream():
        total += len(piece)
        try:
            parser.write(piece)
        except FormParserError as exc:
            raise _malformed("it breaks the form of multipart/form-data") from exc
        if total - parts.content_bytes > MAX_AROUND_BYTES:
            raise HttpError(413, "FormTooLarge", f"a form may have {MAX_AROUND_BYTES} bytes beside its file")
        for event in parts.taken():
            yield event
    if not parts.ended:
        raise _malformed("it ends before its last boundary")


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise HttpError(415, "UnsupportedMediaType", "send a form: Content-Type multipart/form-data, as 'curl -F' does")
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:  # RFC 2046 section 5.1.1
        raise _malformed("its Content-Type names no boundary")
    return boundary


class _Parts:
    """Collects what the parser finds. Its callbacks run within `MultipartParser.write`."""

    def __init__(self, fields: Collection[str], files: Collection[str]) -> None:
        self._fields = fields
        self._files = files
        self._seen: set[str] = set()
        self._count = 0
        self._found: list[FormEvent] = []
        self._headers: dict[bytes, bytes] = {}
        self._header_name = b""
        self._header_value = b""
        self._name = ""
        self._is_file = False
        self._value = bytearray()
        self.content_bytes = 0
        self.ended = False

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._part_begins,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value_piece,
            "on_header_end": self._header_ends,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_part_end": self._part_ends,
            "on_end": self._end,
        }

    def taken(self) -> list[FormEvent]:
        """What was found since the last call."""
        found, self._found = self._found, []
        return found

    def _part_begins(self) -> None:
        self._count += 1
        if self._count > MAX_PARTS:
            raise HttpError(413, "TooManyParts", f"a form has {MAX_PARTS} parts at most")
        self._headers = {}

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_value_piece(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_ends(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _headers_end(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b"").decode("latin-1"))
        if kind != b"form-data" or b"name" not in options:
            raise _malformed("a part of it has no name")
        self._name = _text(options[b"name"], "a field's name")
        # A field that is sent as a file is a field all the same: "curl -F 'options=@options.json'" does so.
        self._is_file = self._name in self._files
        if self._name not in self._files and self._name not in self._fields:
            known = ", ".join(sorted({*self._fields, *self._files}))
            raise InvalidOptions(f"there is no field {self._name[:40]!r} in this form; known are {known}")
        if self._name in self._seen:
            raise InvalidOptions(f"the field {self._name!r} is there twice")
        self._seen.add(self._name)
        if self._is_file:
            self._found.append(FileBegins(self._name, self._filename(options.get(b"filename"))))

    def _filename(self, given: bytes | None) -> str:
        if given is None:
            raise InvalidOptions(f"the field {self._name!r} wants a file: curl -F '{self._name}=@report.pdf'")
        if len(given) > MAX_FILE_NAME_BYTES:
            raise InvalidOptions(f"a file's name has {MAX_FILE_NAME_BYTES} bytes at most")
        # As browsers write a quotation mark and line breaks in it: WHATWG HTML, "multipart/form-data encoding".
        plain = given.replace(b"%22", b'"').replace(b"%0D", b"\r").replace(b"%0A", b"\n")
        return plain.decode("utf-8", "replace")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._found.append(FileContent(data[start:end]))
            self.content_bytes += end - start
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD_BYTES:
            raise HttpError(413, "FieldTooLarge", f"the field {self._name!r} may have {MAX_FIELD_BYTES} bytes")

    def _part_ends(self) -> None:
        if self._is_file:
            self._found.append(FileEnds())
        else:
            self._found.append(FormField(self._name, _text(bytes(self._value), f"the field {self._name!r}")))
        self._value.clear()

    def _end(self) -> None:
        self.ended = True


def _text(value: bytes, what: str) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError as exc:
        raise InvalidOptions(f"{what} is not UTF-8") from exc
    if "\x00" in text:
        raise InvalidOptions(f"{what} holds U+0000")
    return text


def _malformed(why: str) -> HttpError:
    return HttpError(400, "MalformedForm", f"the body is not a form that can be read: {why}")


__all__ = ["ClientDisconnect", "FileBegins", "FileContent", "FileEnds", "FormEvent", "FormField", "form_events"]
