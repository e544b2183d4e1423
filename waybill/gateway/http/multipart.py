"""A ``multipart/form-data`` body as a stream of events, in constant memory.

Implements RFC 7578 on `python_multipart`'s parser. Owns the limits on parts and fields. Refuses bodies that are not a
form, that end before their last boundary, and unknown fields. A file's content is yielded in pieces and never kept.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from blocks.errors import InvalidOptions
from waybill.gateway.errors import HttpError
from waybill.gateway.http.form_names import disposition, file_name

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

# Our forms have at most seven fields; a thousand parts would be work for nothing.
MAX_PARTS = 20
# The longest field holds options or metadata; both are some kilobytes.
MAX_FIELD_BYTES = 64 * 1024
MAX_FILE_NAME_BYTES = 1024
# Such a name three times, with each byte percent-encoded.
MAX_DISPOSITION_BYTES = 9 * MAX_FILE_NAME_BYTES
# The largest fields with their headers, and the text before and after the parts, which the parser skips without limit.
MAX_AROUND_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True)
class FormField:
    """A complete field."""

    name: str
    value: str


@dataclass(frozen=True)
class FileBegins:
    """The start of a file; its content follows."""

    filename: str


@dataclass(frozen=True)
class FileContent:
    """The next piece of the current file."""

    piece: bytes = field(repr=False)


@dataclass(frozen=True)
class FileEnds:
    """The current file is complete."""


FormEvent = FormField | FileBegins | FileContent | FileEnds


async def form_events(
    request: Request, *, fields: Collection[str], files: Collection[str], most_files: int | None = None
) -> AsyncIterator[FormEvent]:
    """Yield the parts of the body of *request* in order; *fields* and *files* are the known names.

    With *most_files* each of the *files* may be sent several times, and so many altogether. Raises `HttpError` (400,
    413, 415), `InvalidOptions` for an unknown or repeated name, and `ClientDisconnect`.
    """
    parts = _Parts(fields, files, most_files)
    parser, received_bytes = MultipartParser(_boundary(request), parts.callbacks()), 0
    async for piece in request.stream():
        received_bytes += len(piece)
        try:
            parser.write(piece)
        except FormParserError as exc:
            raise _malformed("it violates the format of multipart/form-data") from exc
        if received_bytes - parts.content_bytes > MAX_AROUND_BYTES:
            raise HttpError(
                413, "FormTooLarge", f"a form may have at most {MAX_AROUND_BYTES} bytes in addition to its file"
            )
        for event in parts.take():
            yield event
    if not parts.ended:
        raise _malformed("it ends before its last boundary")


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise HttpError(
            415, "UnsupportedMediaType", "send a form with 'Content-Type: multipart/form-data', as 'curl -F' does"
        )
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:  # RFC 2046 section 5.1.1
        raise _malformed("its Content-Type has no valid boundary")
    return boundary


class _Parts:
    """Collects events in the callbacks that `MultipartParser.write` calls."""

    def __init__(self, fields: Collection[str], files: Collection[str], most_files: int | None) -> None:
        self._fields = fields
        self._files = files
        self._repeats_files = most_files is not None
        self._most_parts = MAX_PARTS + (most_files or 0)
        self._seen: set[str] = set()
        self._count = 0
        self._events: list[FormEvent] = []
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
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value_piece,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def take(self) -> list[FormEvent]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events

    def _part_begin(self) -> None:
        self._count += 1
        if self._count > self._most_parts:
            raise HttpError(413, "TooManyParts", f"a form may have at most {self._most_parts} parts")
        self._headers = {}

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_value_piece(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _headers_finished(self) -> None:
        header = self._headers.get(b"content-disposition", b"")
        if len(header) > MAX_DISPOSITION_BYTES:
            raise InvalidOptions(f"a Content-Disposition may have at most {MAX_DISPOSITION_BYTES} bytes")
        kind, options = disposition(header)
        if kind != b"form-data" or b"name" not in options:
            raise _malformed("one of its parts has no name")
        self._name = _text(options[b"name"], "a field's name")
        # Decided by the name: a field that is sent as a file ("curl -F 'options=@options.json'") is still a field.
        self._is_file = self._name in self._files
        if self._name not in self._files and self._name not in self._fields:
            known = ", ".join(sorted({*self._fields, *self._files}))
            raise InvalidOptions(f"unknown field {self._name[:40]!r} in this form; known fields are {known}")
        if self._name in self._seen and not (self._is_file and self._repeats_files):
            raise InvalidOptions(f"the field {self._name!r} is sent twice; send it once")
        self._seen.add(self._name)
        if self._is_file:
            self._events.append(FileBegins(self._filename(file_name(options))))

    def _filename(self, name: str | None) -> str:
        if name is None:
            raise InvalidOptions(f"the field {self._name!r} must be a file: curl -F '{self._name}=@report.pdf'")
        if len(name.encode("utf-8", "replace")) > MAX_FILE_NAME_BYTES:
            raise InvalidOptions(f"a file name may have at most {MAX_FILE_NAME_BYTES} bytes")
        return name

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._events.append(FileContent(data[start:end]))
            self.content_bytes += end - start
            return
        self._value += data[start:end]
        if len(self._value) > MAX_FIELD_BYTES:
            raise HttpError(413, "FieldTooLarge", f"the field {self._name!r} may have at most {MAX_FIELD_BYTES} bytes")

    def _part_end(self) -> None:
        if self._is_file:
            self._events.append(FileEnds())
        else:
            self._events.append(FormField(self._name, _text(bytes(self._value), f"the field {self._name!r}")))
        self._value.clear()

    def _end(self) -> None:
        self.ended = True


def _text(value: bytes, what: str) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError as exc:
        raise InvalidOptions(f"{what} must be UTF-8") from exc
    if "\x00" in text:
        raise InvalidOptions(f"{what} must not contain U+0000")
    return text


def _malformed(why: str) -> HttpError:
    return HttpError(400, "MalformedForm", f"the body is not a valid form: {why}")
