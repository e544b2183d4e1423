"""Hostile PDF documents: damaged, locked, empty of text, or far larger than they look."""

from __future__ import annotations

import io
import random
import zlib
from pathlib import Path

from tests.corpus.hostile_case import DAMAGED, ENCRYPTED, LIMITS, HostileCase, Outcome, content, fails, succeeds
from tests.corpus.raw_formats import pdf_document, pdf_pages, pdf_stream, repeated_deflate

MARK = "The lantern was lit at dusk."
_TEXTS = (MARK, "The fog bell rang for two hours.", "The keeper wrote it all down.")
PASSWORD = "lantern"
_MIB = 1 << 20


def _plain() -> bytes:
    return pdf_document(pdf_pages(_TEXTS))


def _with_wrong_offsets() -> bytes:
    head, table, rest = _plain().partition(b"\nxref\n")
    return head + table + rest.replace(b"00000 n", b"77777 n").replace(b"00000000", b"99999999")


def _locked(user_password: str) -> bytes:
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.pdfgen.canvas import Canvas

    buffer = io.BytesIO()
    lock = StandardEncryption(user_password, ownerPassword="keeper", strength=128)
    canvas = Canvas(buffer, invariant=1, encrypt=lock)
    for text in _TEXTS:
        canvas.drawString(72, 760, text)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


def _write_locked(path: Path) -> None:
    path.write_bytes(_locked(PASSWORD))


def _write_owner_locked(path: Path) -> None:
    path.write_bytes(_locked(""))


def _write_locked_with_aes(path: Path) -> None:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(_plain())))
    writer.encrypt(PASSWORD, algorithm="AES-256")
    with path.open("wb") as file:
        writer.write(file)


def _scan() -> bytes:
    """One page that is a picture, as a scanner leaves it."""
    width, height = 165, 233
    noise = random.Random(7)
    pixels = bytes(noise.choice((0, 90, 200, 255, 255, 255)) for _ in range(width * height))
    image = b"/Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceGray /BitsPerComponent 8" % (
        width,
        height,
    )
    return pdf_document(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] "
            b"/Resources << /XObject << /Im1 4 0 R >> >> /Contents 5 0 R >>",
            pdf_stream(zlib.compress(pixels), image + b" /Filter /FlateDecode"),
            pdf_stream(b"q 595 0 0 842 0 0 cm /Im1 Do Q"),
        ]
    )


def _blank() -> bytes:
    return pdf_document(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Count 2 /Kids [3 0 R 4 0 R] >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] >>",
        ]
    )


def _page_tree_loop() -> bytes:
    objects = pdf_pages(_TEXTS[:1])
    objects[1] = b"<< /Type /Pages /Count 9 /Kids [4 0 R 2 0 R] >>"
    return pdf_document(objects)


def _page_flood() -> bytes:
    objects = pdf_pages(_TEXTS[:1])
    objects[1] = b"<< /Type /Pages /Count 100000 /Kids [%s] >>" % b" ".join([b"4 0 R"] * 100_000)
    return pdf_document(objects)


def _write_stream_bomb(path: Path) -> None:
    """A page whose content unpacks to a gigabyte of drawing operators."""
    unit = b"0 0 m 9 9 l S\n" * (_MIB // 14)
    head = b"BT /F1 12 Tf 72 760 Td (%s) Tj ET\n" % MARK.encode()
    checksum = zlib.adler32(head)
    for _ in range(1024):
        checksum = zlib.adler32(unit, checksum)
    packed = b"\x78\xda" + repeated_deflate(head, unit, 1024, b"") + checksum.to_bytes(4, "big")
    objects = pdf_pages(_TEXTS[:1])
    objects[4] = pdf_stream(packed, b"/Filter /FlateDecode")
    path.write_bytes(pdf_document(objects))


def _write_png(path: Path) -> None:
    from PIL import Image

    Image.linear_gradient("L").save(path, "PNG")


PDF_CASES: tuple[HostileCase, ...] = (
    fails(
        "truncated-pdf",
        "truncated.pdf",
        content(_plain()[: len(_plain()) // 4]),
        "cut before its first page: an upload that broke off",
        DAMAGED,
    ),
    succeeds(
        "pdf-with-garbage-xref",
        "garbage-xref.pdf",
        content(_with_wrong_offsets()),
        "every offset of the cross-reference table is wrong; a reader may rebuild it",
        MARK,
        errors=DAMAGED,
    ),
    fails("password-pdf", "password.pdf", _write_locked, "wants a password to be opened (RC4, 128 bits)", ENCRYPTED),
    HostileCase(
        name="password-pdf-aes",
        filename="password-aes.pdf",
        write=_write_locked_with_aes,
        why="wants a password to be opened (AES, 256 bits)",
        outcome=Outcome.FAILS,
        errors=ENCRYPTED,
        same_bytes=False,  # AES wants random initialisation vectors
    ),
    succeeds(
        "owner-password-pdf",
        "owner-password.pdf",
        _write_owner_locked,
        "encrypted with an empty user password: anyone may read it",
        MARK,
    ),
    fails("scanned-pdf", "scan.pdf", content(_scan()), "a picture of a page, no text", DAMAGED),
    fails("blank-pdf", "blank.pdf", content(_blank()), "two empty pages", DAMAGED),
    succeeds(
        "pdf-page-tree-loop",
        "page-tree-loop.pdf",
        content(_page_tree_loop()),
        "a page tree that contains itself",
        MARK,
        errors=DAMAGED + LIMITS,
    ),
    succeeds(
        "pdf-page-flood",
        "page-flood.pdf",
        content(_page_flood()),
        "600 kB that name one page 100,000 times",
        MARK,
        errors=DAMAGED + LIMITS,
    ),
    succeeds(
        "pdf-stream-bomb",
        "stream-bomb.pdf",
        _write_stream_bomb,
        "3 MB whose only page unpacks to 1 GB",
        MARK,
        errors=DAMAGED + LIMITS,
    ),
    fails("random-bytes-pdf", "random.pdf", content(random.Random(1).randbytes(50_000)), "noise named .pdf", DAMAGED),
    fails(
        "random-bytes-after-pdf-header",
        "random-with-header.pdf",
        content(b"%PDF-1.7\n" + random.Random(2).randbytes(50_000)),
        "noise behind the mark of a PDF",
        DAMAGED,
    ),
    succeeds("pdf-named-docx", "actually-a-pdf.docx", content(_plain()), "a PDF under a wrong name", MARK),
    fails("png-named-pdf", "actually-a-png.pdf", _write_png, "a picture named .pdf", DAMAGED),
)
