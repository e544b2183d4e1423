"""Hostile office documents: zip bombs, entities, paths that climb, missing parts, locked packages."""

from __future__ import annotations

import io
import random
import zlib
from pathlib import Path

from tests.corpus.hostile_case import DAMAGED, ENCRYPTED, LIMITS, HostileCase, content, fails, succeeds
from tests.corpus.raw_formats import (
    ENCRYPTED_FLAG,
    STORED,
    Member,
    compound_file,
    member,
    repeated_member,
    zip_archive,
)

MARK = "The tide gauge stood at four metres."
# In a document that reads files of the machine, this would be in the text: the first line of /etc/passwd.
_PASSWD = "root:x:0"
ESCAPED_NAME = "waybill-escaped.txt"
"""The file that an archive with climbing paths would leave outside of its folder."""

_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_XML = '<?xml version="1.0" encoding="UTF-8"?>'
_MIB = 1 << 20


def _types(part: str, kind: str) -> Member:
    return member(
        "[Content_Types].xml",
        f'{_XML}<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/{part}" ContentType="application/vnd.openxmlformats-officedocument.{kind}.main+xml"/>'
        "</Types>",
    )


def _relations(part: str) -> Member:
    return member(
        "_rels/.rels",
        f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="{part}"/></Relationships>',
    )


_DOCX_HEAD = (_types("word/document.xml", "wordprocessingml.document"), _relations("word/document.xml"))


def _paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def _document(body: str, doctype: str = "") -> str:
    return f"{_XML}{doctype}<w:document {_W}><w:body>{body}</w:body></w:document>"


def _docx(document: str | None, *others: Member) -> bytes:
    main = [] if document is None else [member("word/document.xml", document)]
    return zip_archive([*_DOCX_HEAD, *main, *others])


def _bomb_member(times: int) -> Member:
    """About 2.2 kB for each MiB that it unpacks to: half of it short paragraphs, half of it one paragraph of dots."""
    unit = (_paragraph("tide") * (_MIB // 2 // len(_paragraph("tide"))) + _paragraph("." * (_MIB // 2))).encode()
    head, tail = _document(_paragraph(MARK)).encode().split(b"</w:body>")
    return repeated_member("word/document.xml", head, unit, times, b"</w:body>" + tail)


def _write_bomb(path: Path) -> None:
    path.write_bytes(zip_archive([*_DOCX_HEAD, _bomb_member(1100)]))


def _write_lying_bomb(path: Path) -> None:
    bomb = _bomb_member(1100)
    lie = Member(name=bomb.name, data=bomb.data, crc=bomb.crc, size=4096)
    path.write_bytes(zip_archive([*_DOCX_HEAD, lie]))


def _write_nested_bomb(path: Path) -> None:
    inner = zip_archive([repeated_member(f"{number}.txt", b"", bytes(_MIB), 1024, b"") for number in range(2)])
    middle = zip_archive([member(f"{number}.zip", inner) for number in range(8)])
    path.write_bytes(_docx(_document(_paragraph(MARK)), member("word/embeddings/oleObject1.zip", middle)))


def _laughs() -> str:
    entities = "".join(f'<!ENTITY l{level} "{f"&l{level - 1};" * 10}">' for level in range(1, 10))
    return f'<!DOCTYPE lol [<!ENTITY l0 "ha">{entities}]>'


def _deep_tables() -> str:
    depth = 20_000
    return "<w:tbl><w:tr><w:tc>" * depth + _paragraph(MARK) + "</w:tc></w:tr></w:tbl>" * depth


def _climbing_docx() -> bytes:
    names = (
        f"../../../{ESCAPED_NAME}",
        f"/tmp/{ESCAPED_NAME}",
        f"..\\..\\{ESCAPED_NAME}",
        f"word/../../{ESCAPED_NAME}",
    )
    return _docx(_document(_paragraph(MARK)), *(member(name, "escaped") for name in names))


def _scrambled_docx() -> bytes:
    """The way zip tools lock an archive: the flag is set and the bytes are noise."""
    noise = random.Random(4).randbytes(900)
    locked = Member(
        name="word/document.xml", data=noise, crc=zlib.crc32(noise), size=888, method=STORED, flags=ENCRYPTED_FLAG
    )
    return zip_archive([*_DOCX_HEAD, locked])


def _locked_package() -> bytes:
    """MS-OFFCRYPTO 2.3.4.10: a package encrypted with a password is a compound file of two streams."""
    information = (
        b"\4\0\4\0\x40\0\0\0"
        + (
            f'{_XML}<encryption xmlns="http://schemas.microsoft.com/office/2006/encryption">'
            '<keyData saltSize="16" blockSize="16" keyBits="256" hashSize="64" cipherAlgorithm="AES" '
            'cipherChaining="ChainingModeCBC" hashAlgorithm="SHA512" saltValue="AAAAAAAAAAAAAAAAAAAAAA=="/>'
            "</encryption>"
        ).encode()
    )
    package = (16_000).to_bytes(8, "little") + random.Random(5).randbytes(16_000)
    return compound_file({"EncryptionInfo": information, "EncryptedPackage": package})


def _write_pptx_without_text(path: Path) -> None:
    from pptx import Presentation

    from tools.sample_writers.archive import repack

    presentation = Presentation()
    for _ in range(3):
        presentation.slides.add_slide(presentation.slide_layouts[6])
    buffer = io.BytesIO()
    presentation.save(buffer)
    path.write_bytes(repack(buffer.getvalue()))


def _wide_workbook() -> bytes:
    """Two cells in opposite corners of a sheet with 17 thousand million places."""
    spreadsheet = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    sheet = (
        f'{_XML}<worksheet xmlns="{spreadsheet}"><dimension ref="A1:XFD1048576"/><sheetData>'
        f'<row r="1"><c r="A1" t="inlineStr"><is><t>{MARK}</t></is></c></row>'
        '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData></worksheet>'
    )
    workbook = (
        f'{_XML}<workbook xmlns="{spreadsheet}" xmlns:r="{_OFFICE}"><sheets>'
        '<sheet name="Tides" sheetId="1" r:id="rId1"/></sheets></workbook>'
    )
    relations = (
        f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">'
        f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>'
    )
    return zip_archive(
        [
            _types("xl/workbook.xml", "spreadsheetml.sheet"),
            _relations("xl/workbook.xml"),
            member("xl/workbook.xml", workbook),
            member("xl/_rels/workbook.xml.rels", relations),
            member("xl/worksheets/sheet1.xml", sheet),
        ]
    )


def _climbing_epub() -> bytes:
    container = (
        f'{_XML}<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="../../../../etc/passwd" media-type="application/oebps-package+xml"/>'
        "</rootfiles></container>"
    )
    kind = b"application/epub+zip"
    mimetype = Member(name="mimetype", data=kind, crc=zlib.crc32(kind), size=len(kind), method=STORED)
    return zip_archive([mimetype, member("META-INF/container.xml", container)])


_EXTERNAL = '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]>'

OFFICE_CASES: tuple[HostileCase, ...] = (
    fails("password-docx", "password.docx", content(_locked_package()), "encrypted as a whole by Word", ENCRYPTED),
    fails(
        "zip-encrypted-docx",
        "zip-encrypted.docx",
        content(_scrambled_docx()),
        "its main part is encrypted by a zip tool",
        ENCRYPTED + DAMAGED,
    ),
    fails("zip-bomb-docx", "zip-bomb.docx", _write_bomb, "2.4 MB that unpack to 1.1 GB", DAMAGED + LIMITS),
    fails(
        "lying-zip-bomb-docx",
        "lying-zip-bomb.docx",
        _write_lying_bomb,
        "1.1 GB behind a header that says 4,096 bytes",
        DAMAGED + LIMITS,
    ),
    succeeds(
        "nested-zip-bomb-docx",
        "nested-zip-bomb.docx",
        _write_nested_bomb,
        "a short text, and an attached archive of archives of 16 GB",
        MARK,
        errors=DAMAGED + LIMITS,
    ),
    fails(
        "billion-laughs-docx",
        "billion-laughs.docx",
        content(_docx(_document(_paragraph("&l9;"), _laughs()))),
        "entities that unfold to 2 GB",
        DAMAGED + LIMITS,
    ),
    succeeds(
        "external-entity-docx",
        "external-entity.docx",
        content(_docx(_document(_paragraph(MARK) + _paragraph("&x;"), _EXTERNAL))),
        "asks for /etc/passwd",
        MARK,
        errors=DAMAGED,
        never=_PASSWD,
    ),
    succeeds(
        "deep-tables-docx",
        "deep-tables.docx",
        content(_docx(_document(_deep_tables()))),
        "20,000 tables, each in a cell of the one before",
        MARK,
        errors=DAMAGED + LIMITS,
    ),
    succeeds(
        "climbing-docx",
        "climbing.docx",
        content(_climbing_docx()),
        "member names that lead out of the folder into which a careless reader unpacks",
        MARK,
        errors=DAMAGED,
    ),
    fails("docx-without-document", "no-document.docx", content(_docx(None)), "its main part is missing", DAMAGED),
    fails(
        "docx-with-cut-document",
        "cut-document.docx",
        content(_docx(_document(_paragraph(MARK))[:-40])),
        "its main part ends in the middle of a tag",
        DAMAGED,
    ),
    fails(
        "truncated-docx",
        "truncated.docx",
        content(_docx(_document(_paragraph(MARK)))[:-200]),
        "the directory at its end is gone",
        DAMAGED,
    ),
    fails(
        "random-bytes-docx", "random.docx", content(random.Random(6).randbytes(50_000)), "noise named .docx", DAMAGED
    ),
    fails("pptx-without-text", "no-text.pptx", _write_pptx_without_text, "three empty slides", DAMAGED),
    succeeds(
        "wide-xlsx",
        "wide.xlsx",
        content(_wide_workbook()),
        "two cells in opposite corners of the largest possible sheet",
        MARK,
        errors=DAMAGED + LIMITS,
    ),
    fails(
        "climbing-epub",
        "climbing.epub",
        content(_climbing_epub()),
        "names /etc/passwd as its package",
        DAMAGED,
        never=_PASSWD,
    ),
)
