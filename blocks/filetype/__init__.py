"""The type of a file, found in its content: the check that every document passes before anything is stored; pure.

Start at `sniff`. It reads within bounds: at most `HEAD_BYTES` from the start, a little from the end, and the directory
of containers (`zip_container`, `compound_file`). Nothing is unpacked, so hostile bytes cost no more than others. A name
never decides between a text and a binary type; it only decides between kinds of text that look the same (`text`).
Refuses what no converter reads (`types` is the list), with the reason for people.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import BinaryIO

from blocks.errors import EmptyDocument, SourceNotFound, UnsupportedType
from blocks.filetype import compound_file, text, zip_container
from blocks.filetype.types import TYPES, FileType, by_extension, supported_summary
from blocks.naming import clean_display_name

__all__ = ["HEAD_BYTES", "TYPES", "FileType", "by_extension", "sniff", "sniff_content"]

# Enough to see past licence comments and mail headers; one read of it takes well under a millisecond.
HEAD_BYTES = 64 << 10
# Notebooks put their format number last.
_TAIL_BYTES = 4 << 10
# PDF readers accept up to 1,024 bytes of rubbish in front of the header (PDF 1.7 implementation note 13).
_PDF_HEADER_WINDOW_BYTES = 1024

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "png"),
    (0, b"\xff\xd8\xff", "jpg"),
    (0, b"GIF87a", "gif"),
    (0, b"GIF89a", "gif"),
    (0, b"II*\0", "tiff"),
    (0, b"MM\0*", "tiff"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "jp2"),
    (8, b"WEBP", "webp"),
    (4, b"ftypheic", "heic"),
    (4, b"ftypheix", "heic"),
    (4, b"ftypmif1", "heic"),
    (4, b"ftypavif", "avif"),
    (0, b"SQLite format 3\0", "sqlite"),
    (0, b"\xffWPC", "wpd"),
)
# Types that people send by mistake, so that the refusal can name them.
_REFUSED: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x1f\x8b", "gzip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "7-Zip archive"),
    (0, b"Rar!\x1a\x07", "RAR archive"),
    (0, b"\xfd7zXZ\0", "xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard archive"),
    (0, b"\x7fELF", "Linux program"),
    (0, b"\xca\xfe\xba\xbe", "Java class or macOS program"),
    (0, b"\xcf\xfa\xed\xfe", "macOS program"),
    (0, b"\0asm", "WebAssembly module"),
    (0, b"\x93NUMPY", "NumPy array"),
    (0, b"\x80\x04\x95", "Python pickle"),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM video"),
    (0, b"\0\1\0\0\0", "TrueType font"),
    (0, b"%!PS", "PostScript file"),
    (0, b"age-encryption.org/v1\n", "file encrypted with age"),
    (0, b"-----BEGIN AGE ENCRYPTED FILE-----", "file encrypted with age"),
    (0, b"-----BEGIN PGP MESSAGE-----", "file encrypted with PGP"),
)
# The same, but a text may begin with these letters: they count only if the content is not text.
_REFUSED_UNLESS_TEXT: tuple[tuple[int, bytes, str], ...] = (
    (0, b"BZh", "bzip2 archive"),
    (257, b"ustar", "tar archive"),
    (0, b"!BDN", "Outlook data file (PST)"),
    (0, b"MZ", "Windows program"),
    (0, b"PAR1", "Parquet file"),
    (0, b"RIFF", "RIFF media file"),
    (0, b"OggS", "Ogg media file"),
    (0, b"fLaC", "FLAC audio"),
    (0, b"ID3", "MP3 audio"),
    (4, b"ftyp", "MP4 media file"),
    (0, b"wOFF", "web font"),
    (0, b"wOF2", "web font"),
    (0, b"OTTO", "OpenType font"),
    (0, b"8BPS", "Photoshop image"),
)
_DBF_VERSIONS = frozenset(b"\x02\x03\x30\x31\x32\x43\x63\x83\x8b\xcb\xf5\xfb")


def sniff(path: Path, name: str) -> FileType:
    """Return the type of the file at *path* by its content; *name* is the sender's name for it.

    Reads at most some 1.5 MiB of the file, in practice 64 KiB. Raises `EmptyDocument`, `EncryptedDocument`,
    `UnreadableDocument` (a container that was cut off), `UnsupportedType` and `SourceNotFound`.
    """
    try:
        with path.open("rb") as file:
            return sniff_content(file, name)
    except OSError as exc:
        shown = clean_display_name(name)
        raise SourceNotFound(f"{shown!r} cannot be read: {exc.strerror}; check that the file is there") from exc


def sniff_content(file: BinaryIO, name: str) -> FileType:
    """Return the type of content that is open and seekable, like `sniff`. Raises the errors of *file* as they are."""
    shown = clean_display_name(name)
    extension = PurePosixPath(shown).suffix.lower().lstrip(".")
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if not head or (len(head) == size and not head.strip()):
        raise EmptyDocument(f"{shown!r} is empty ({size} bytes, only white space); send it again")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return zip_container.identify(file, size, extension, shown)
    if head.startswith(compound_file.MAGIC):
        return compound_file.identify(file, shown)
    file.seek(max(0, size - _TAIL_BYTES))
    return _identify(head, file.read(_TAIL_BYTES), extension, shown)


def _identify(head: bytes, tail: bytes, extension: str, shown: str) -> FileType:
    signed = _label_of(head, _SIGNATURES)
    if signed is not None:
        return TYPES[signed]
    if _is_pdf(head):
        return TYPES["pdf"]
    refused = _label_of(head, _REFUSED)
    if refused is None:
        encoding = text.text_encoding(head)
        if encoding is not None:
            return text.identify(head, tail, encoding, extension)
        if _is_bmp(head):
            return TYPES["bmp"]
        if extension == "dbf" and _is_dbf(head):
            return TYPES["dbf"]
    guessed = refused or _label_of(head, _REFUSED_UNLESS_TEXT) or "unknown binary data"
    hint = "; unpack it and send the files in it" if guessed.endswith("archive") else ""
    raise UnsupportedType(
        f"{shown!r} has a type that no converter reads ({guessed}){hint}. Supported: {supported_summary()}",
        guessed=guessed,
    )


def _label_of(head: bytes, signatures: tuple[tuple[int, bytes, str], ...]) -> str | None:
    return next((label for at, magic, label in signatures if head.startswith(magic, at)), None)


def _is_pdf(head: bytes) -> bool:
    at = head.find(b"%PDF-", 0, _PDF_HEADER_WINDOW_BYTES)
    if at < 0:
        return False
    # Prose about PDF may mention the header; a PDF has it at the very start or holds bytes that no text has.
    return not head[:at].strip(b"\xef\xbb\xbf \t\r\n\0") or b"\0" in head[:at] or text.text_encoding(head) is None


def _is_bmp(head: bytes) -> bool:
    """Return whether a BITMAPFILEHEADER begins *head*: "BM", reserved zeros at 6, a plausible pixel offset at 10."""
    return head.startswith(b"BM") and head[6:10] == b"\0\0\0\0" and 14 < int.from_bytes(head[10:14], "little") < 70_000


def _is_dbf(head: bytes) -> bool:
    """Return whether a dBase header begins *head*: version, date of last change, a header length of at least 33."""
    if len(head) < 33 or head[0] not in _DBF_VERSIONS:
        return False
    return 1 <= head[2] <= 12 and 1 <= head[3] <= 31 and int.from_bytes(head[8:10], "little") >= 33
