"""Small real documents of many formats, and a way to run stages 1 and 2 on them."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from tasks.contract import SOURCE, DocumentInfo, Services, StageInput, StageOutput
from tasks.convert import CONVERT
from tasks.optimize import OPTIMIZE

WRITTEN = datetime(2024, 3, 1, 10, 0)  # noqa: DTZ001 - Office properties have no zone
MODIFIED = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


def convert(path: Path, name: str | None = None, **options: Any) -> StageOutput:
    """Stage 1 on the file at *path* under *name*."""
    data = path.read_bytes()
    document = DocumentInfo(
        name=name or path.name,
        sha256=hashlib.sha256(data).hexdigest(),
        size_bytes=len(data),
        media_type="application/octet-stream",
        source=str(path),
        modified_at=MODIFIED,
    )
    given = StageInput(document=document, files={SOURCE: path}, services=Services(home=path.parent))
    return CONVERT.run(given, CONVERT.options(**options))


def optimize(path: Path, markdown: str, **options: Any) -> StageOutput:
    """Stage 2 on *markdown*, which is written to *path*."""
    path.write_text(markdown, encoding="utf-8")
    document = DocumentInfo(name="a.md", sha256="0" * 64, size_bytes=0, media_type="text/markdown", source="a.md")
    given = StageInput(document=document, files={"markdown-conversion": path}, services=Services(home=path.parent))
    return OPTIMIZE.run(given, OPTIMIZE.options(**options))


def split(output: StageOutput) -> tuple[dict[str, Any], str]:
    """The header's fields and the body of a stage's output."""
    opening, header, body = f"\n{output.content.decode()}".split("\n---\n", 2)
    assert opening == ""
    return yaml.safe_load(header), body.strip("\n")


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def docx(path: Path, fill: Callable[[Any], None], title: str = "") -> Path:
    import docx as library

    document = library.Document()
    document.core_properties.title = title
    document.core_properties.created = WRITTEN
    fill(document)
    document.save(str(path))
    return path


def xlsx(path: Path, sheets: dict[str, list[list[Any]]]) -> Path:
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(str(path))
    return path


def pptx(path: Path, slides: list[tuple[str, str, str]]) -> Path:
    """Slides as (title, text, speaker notes); without notes where they are empty."""
    import pptx as library

    deck: Any = library.Presentation()
    for title, text, notes in slides:
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = text
        if notes:
            slide.notes_slide.notes_text_frame.text = notes
    deck.save(str(path))
    return path


def pdf(path: Path, pages: list[list[tuple[int, str]]], title: str = "") -> Path:
    """Pages of (font size, line)."""
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path), invariant=1)
    canvas.setTitle(title)
    for lines in pages:
        height = 780
        for size, line in lines:
            canvas.setFont("Helvetica-Bold" if size > 12 else "Helvetica", size)
            canvas.drawString(72, height, line)
            height -= int(size * 1.5)
        canvas.showPage()
    canvas.save()
    return path


def package(path: Path, members: Mapping[str, str | bytes]) -> Path:
    """A ZIP file with these members; ``mimetype`` is stored, the others are compressed."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            method = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            archive.writestr(name, content, compress_type=method)
    return path


def members(path: Path) -> dict[str, bytes]:
    """The contents of a ZIP file by name."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


_OFFICE = "urn:oasis:names:tc:opendocument:xmlns:"


def opendocument(path: Path, kind: str, body: str) -> Path:
    """An OpenDocument file of *kind* (text, spreadsheet, presentation) with this content of its body element."""
    names = " ".join(
        f'xmlns:{prefix}="{_OFFICE}{prefix if prefix != "draw" else "drawing"}:1.0"'
        for prefix in ("office", "text", "table", "draw")
    )
    meta = (
        f'<office:document-meta xmlns:office="{_OFFICE}office:1.0" xmlns:meta="{_OFFICE}meta:1.0" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><office:meta><dc:title>The title</dc:title>'
        "<meta:creation-date>2022-02-03T04:05:06</meta:creation-date></office:meta></office:document-meta>"
    )
    inner = f"<office:body><office:{kind}>{body}</office:{kind}></office:body>"
    content = f"<office:document-content {names}>{inner}</office:document-content>"
    return package(
        path,
        {
            "mimetype": f"application/vnd.oasis.opendocument.{kind}",
            "content.xml": content,
            "meta.xml": meta,
            "META-INF/manifest.xml": f'<manifest:manifest xmlns:manifest="{_OFFICE}manifest:1.0"/>',
        },
    )


def epub(path: Path, chapter: str = "<h1>Chapter 1</h1><p>Once upon a time.</p>") -> Path:
    container = (
        '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="c.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    book = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The book</dc:title><dc:language>en</dc:language>'
        '<dc:date>2019-01-01</dc:date></metadata><manifest><item id="c" href="c.xhtml" '
        'media-type="application/xhtml+xml"/></manifest><spine><itemref idref="c"/></spine></package>'
    )
    page = f'<html xmlns="http://www.w3.org/1999/xhtml"><body>{chapter}</body></html>'
    members = {"mimetype": "application/epub+zip", "META-INF/container.xml": container, "c.opf": book, "c.xhtml": page}
    return package(path, members)


def compound_file(path: Path, streams: dict[str, bytes]) -> Path:
    """An OLE compound file of version 3 ([MS-CFB]) with these streams, each padded to 4,096 bytes (a large one)."""
    free, end, fat_mark = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
    data, fat, entries = bytearray(), [fat_mark, end], [("Root Entry", 5, end, 0)]
    for name, content in streams.items():
        padded = content.ljust(4096, b"\0")
        padded += b"\0" * (-len(padded) % 512)
        first, count = len(fat), len(padded) // 512
        fat += [*range(first + 1, first + count), end]
        entries.append((name, 2, first, len(padded)))
        data += padded
    directory = b"".join(
        (name.encode("utf-16-le").ljust(64, b"\0"))
        + struct.pack("<HBB3L16xL8x8xLQ", len(name) * 2 + 2, kind, 1, free, free, free, 0, start, size)
        for name, kind, start, size in entries[:4]
    ).ljust(512, b"\0")
    header = bytes.fromhex("d0cf11e0a1b11ae1") + struct.pack(
        "<16xHHHHH6xLLLLLLLLL", 62, 3, 0xFFFE, 9, 6, 0, 1, 1, 0, 4096, end, 0, end, 0
    )
    header += struct.pack("<109L", 0, *[free] * 108)
    table = struct.pack("<128L", *(fat + [free] * (128 - len(fat))))
    path.write_bytes(header.ljust(512, b"\0") + table + directory + bytes(data))
    return path


def image(kind: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "white").save(buffer, kind)
    return buffer.getvalue()
