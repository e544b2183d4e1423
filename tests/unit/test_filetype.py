"""A document's type comes from its bytes; its name decides only between kinds of text."""

from __future__ import annotations

import random
import time
import zipfile
from pathlib import Path

import pytest

from blocks.errors import (
    EmptyDocument,
    EncryptedDocument,
    SourceNotFound,
    UnreadableDocument,
    UnsupportedType,
    WaybillError,
)
from blocks.filetype import TYPES, sniff
from tests.unit import conversion_samples as samples


def kind_of(tmp_path: Path, content: str | bytes, name: str) -> str:
    return sniff(samples.write(tmp_path / "stored", content), name).extension


@pytest.mark.parametrize("wrong_name", ["letter.docx", "letter.txt", "letter", "letter.html"])
def test_a_pdf_is_a_pdf_under_any_name(tmp_path: Path, wrong_name: str) -> None:
    path = samples.pdf(tmp_path / "a.pdf", [[(11, "text")]])
    assert sniff(path, wrong_name).media_type == "application/pdf"


def test_rubbish_in_front_of_a_pdf_does_not_hide_it(tmp_path: Path) -> None:
    data = samples.pdf(tmp_path / "a.pdf", [[(11, "text")]]).read_bytes()
    assert kind_of(tmp_path, b"\r\n\x00\x01rubbish\r\n" + data, "a") == "pdf"


def test_prose_about_pdf_is_no_pdf(tmp_path: Path) -> None:
    assert kind_of(tmp_path, "Every PDF begins with %PDF-1.7 on its first line.\n", "notes.txt") == "txt"


def test_office_documents_are_told_apart_by_their_parts(tmp_path: Path) -> None:
    made = {
        "docx": samples.docx(tmp_path / "1", lambda d: d.add_paragraph("text")),
        "xlsx": samples.xlsx(tmp_path / "2", {"S": [["a"]]}),
        "pptx": samples.pptx(tmp_path / "3", [("t", "x", "")]),
        "odt": samples.opendocument(tmp_path / "4", "text", "<text:p>x</text:p>"),
        "ods": samples.opendocument(tmp_path / "5", "spreadsheet", ""),
        "odp": samples.opendocument(tmp_path / "6", "presentation", ""),
        "epub": samples.epub(tmp_path / "7"),
    }
    assert {kind: sniff(path, "upload.bin").extension for kind, path in made.items()} == {kind: kind for kind in made}


def test_a_document_with_macros_keeps_its_type(tmp_path: Path) -> None:
    types = "<Types><Override ContentType='application/vnd.ms-excel.sheet.macroEnabled.main+xml'/></Types>"
    path = samples.package(tmp_path / "a", {"xl/workbook.xml": "<x/>", "[Content_Types].xml": types})
    assert sniff(path, "a.xlsx").extension == "xlsm"


@pytest.mark.parametrize(
    ("stream", "kind"),
    [("WordDocument", "doc"), ("Workbook", "xls"), ("PowerPoint Document", "ppt"), ("__properties_version1.0", "msg")],
)
def test_compound_files_are_told_apart_by_their_streams(tmp_path: Path, stream: str, kind: str) -> None:
    assert sniff(samples.compound_file(tmp_path / "a", {stream: b"x"}), "a.bin").extension == kind


@pytest.mark.parametrize(
    "streams",
    [
        {"EncryptionInfo": b"x", "EncryptedPackage": b"x"},
        {"WordDocument": b"\xec\xa5\xc1\x00" + b"\0" * 6 + b"\x00\x01"},
        {"Workbook": b"\x09\x08\x04\x00\x00\x06\x05\x00\x2f\x00\x04\x00abcd"},
        {"PowerPoint Document": b"x", "EncryptedSummary": b"x"},
    ],
    ids=["office-open-xml", "doc", "xls", "ppt"],
)
def test_password_protected_office_files_are_recognised(tmp_path: Path, streams: dict[str, bytes]) -> None:
    with pytest.raises(EncryptedDocument, match="without a password"):
        sniff(samples.compound_file(tmp_path / "a", streams), "report.docx")


def test_password_protected_opendocument_is_recognised(tmp_path: Path) -> None:
    manifest = '<manifest:file-entry><manifest:encryption-data manifest:checksum="x"/></manifest:file-entry>'
    members: dict[str, str | bytes] = {
        "mimetype": "application/vnd.oasis.opendocument.text",
        "content.xml": b"\x93scrambled",
        "META-INF/manifest.xml": manifest,
    }
    with pytest.raises(EncryptedDocument):
        sniff(samples.package(tmp_path / "a.odt", members), "a.odt")


def test_copy_protected_books_are_recognised_and_obfuscated_fonts_are_not_mistaken_for_it(tmp_path: Path) -> None:
    members: dict[str, str | bytes] = {"mimetype": "application/epub+zip"}
    font = (
        '<e xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:E Algorithm="http://www.idpf.org/2008/embedding"/></e>'
    )
    assert sniff(samples.package(tmp_path / "a", members | {"META-INF/encryption.xml": font}), "a").extension == "epub"
    locked = '<e><EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/></e>'
    with pytest.raises(EncryptedDocument):
        sniff(samples.package(tmp_path / "b", members | {"META-INF/encryption.xml": locked}), "b")


@pytest.mark.parametrize(
    ("content", "name", "kind"),
    [
        ("<!DOCTYPE html><html><body>x</body></html>", "page.txt", "html"),
        ("<html><body>x</body></html>", "table.csv", "html"),
        ("<p>fragment</p>", "page.htm", "html"),
        ("no tags at all", "page.html", "txt"),
        ("<p align=center>logo</p>\n\n# Title\n", "README.md", "md"),
        ('<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"/>', "a", "xhtml"),
        ('<?xml version="1.0"?><!-- c --><svg xmlns="http://www.w3.org/2000/svg"/>', "a", "svg"),
        ('<?xml version="1.0"?><root/>', "a.docx", "xml"),
        ('<?xml version="1.0"?><FictionBook/>', "a", "fb2"),
        ('<?xml version="1.0"?><article xmlns="http://docbook.org/ns/docbook"/>', "a.xml", "dbk"),
        ('<!DOCTYPE article PUBLIC "-//NLM//DTD JATS v1.2//EN" "x"><article/>', "a.xml", "jats"),
        ("{\\rtf1 text}", "letter.doc", "rtf"),
        ("WEBVTT\n\n00:00.000 --> 00:01.000\nHi\n", "a.txt", "vtt"),
        ('{"cells": [{"cell_type": "markdown"}], "nbformat": 4}', "a.json", "ipynb"),
        ('{"a": 1}', "a.json", "json"),
        ('{"a": 1}', "a", "json"),
        ("From: a@b.c\nTo: d@e.f\nSubject: x\n\nhello\n", "message", "eml"),
        ("From: a@b.c\nSubject: x\n\nhello\n", "message.eml", "eml"),
        ("Subject: shopping\n\nmilk\n", "notes.eml", "txt"),
        ("# Title\n\n- [ ] task\n- [x] done\n", "notes", "md"),
        ("a,b,c\n1,2,3\n4,5,6\n7,8,9\n", "data", "csv"),
        ("a\tb\n1\t2\n3\t4\n5\t6\n", "data", "tsv"),
        ("a,b,c\n1,2,3\n4,5,6\n", "list.txt", "txt"),
        ("% comment\n\\documentclass{article}\n", "paper", "tex"),
        ("Title\n=====\n", "a.rst", "rst"),
        ("print('x')\n", "a.py", "py"),
        ("just words", "report.pdf", "txt"),
        ("Привет, мир".encode("koi8-r"), "a.txt", "txt"),
        ("Hällo wörld".encode("utf-16"), "a.txt", "txt"),
        ("Hello world, no mark".encode("utf-16-le"), "a.txt", "txt"),
        (b"MZ is how my notes begin", "a.txt", "txt"),
    ],
)
def test_kinds_of_text(tmp_path: Path, content: str | bytes, name: str, kind: str) -> None:
    assert kind_of(tmp_path, content, name) == kind


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_images_are_recognised(tmp_path: Path, kind: str) -> None:
    assert sniff(samples.write(tmp_path / "a", samples.image(kind)), "scan.pdf").family == "image"


def test_a_dbase_table_needs_its_extension(tmp_path: Path) -> None:
    header = b"\x03\x7c\x05\x06" + b"\x01\0\0\0" + b"\x41\0\x0b\0" + b"\0" * 60
    assert kind_of(tmp_path, header, "a.dbf") == "dbf"
    with pytest.raises(UnsupportedType):
        kind_of(tmp_path, header, "a.bin")


@pytest.mark.parametrize(
    ("content", "guess"),
    [
        (b"\x7fELF\x02\x01\x01\0", "Linux program"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "gzip archive"),
        (b"MZ\x90\0\x03\0\0\0", "Windows program"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "MP4 media file"),
        (b"age-encryption.org/v1\n-> X25519 x\n", "encrypted with age"),
        (bytes(range(256)) * 4, "unknown binary data"),
    ],
)
def test_a_refusal_names_the_guess_and_what_is_supported(tmp_path: Path, content: bytes, guess: str) -> None:
    with pytest.raises(UnsupportedType, match=guess) as refusal:
        kind_of(tmp_path, content, "a.pdf")
    assert "Supported: PDF, Word" in refusal.value.message


def test_an_archive_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedType, match="unpack it"):
        sniff(samples.package(tmp_path / "a.zip", {"one.txt": "text", "two.txt": "text"}), "a.zip")


@pytest.mark.parametrize("content", [b"", b" \r\n\t "])
def test_empty_files_are_told_from_unknown_ones(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(EmptyDocument):
        kind_of(tmp_path, content, "a.pdf")


def test_a_missing_file_is_our_error(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="cannot be read"):
        sniff(tmp_path / "nothing", "a.pdf")


def test_a_document_that_was_cut_off_says_so(tmp_path: Path) -> None:
    whole = samples.docx(tmp_path / "a", lambda d: d.add_paragraph("text")).read_bytes()
    with pytest.raises(UnreadableDocument, match="cut off"):
        kind_of(tmp_path, whole[: len(whole) // 2], "a.docx")
    ole = samples.compound_file(tmp_path / "b", {"WordDocument": b"x"}).read_bytes()
    with pytest.raises(UnreadableDocument, match="damaged"):
        kind_of(tmp_path, ole[:700], "b.doc")


def test_control_characters_in_a_name_do_not_reach_the_message(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedType) as refusal:
        kind_of(tmp_path, b"\x7fELF\0\0", "../../etc\n\x1b[31mname.bin")
    assert "\n" not in refusal.value.message
    assert "\x1b" not in refusal.value.message
    assert ".." not in refusal.value.message


def test_a_zip_bomb_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bomb.docx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", b" " * 200_000_000)
        archive.writestr("word/document.xml", b"<x/>")
    started = time.thread_time()
    assert sniff(path, "bomb.docx").extension == "docx"
    assert time.thread_time() - started < 2  # measured under 0.1


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE " + b"[]" * 32_000,
        b"<?xml " + b"<!--" * 15_000,
        b"%\n" + b"\n" * 65_000 + b"x",
        b"|" * 65_000,
        b"[" * 65_000,
        b"[a](" * 16_000,
        b'{"' * 30_000,
        b'{"a":' * 12_000,
        b"a: b\n" * 12_000,
        b" \t" * 32_000 + b"x",
    ],
)
def test_hostile_text_is_decided_in_no_time(tmp_path: Path, content: bytes) -> None:
    for name in ("a", "a.md", "a.xml", "a.json", "a.tex", "a.eml"):
        started = time.thread_time()
        assert kind_of(tmp_path, content, name)
        assert time.thread_time() - started < 2  # measured under 0.1


def test_damaged_bytes_always_give_a_type_or_our_error(tmp_path: Path) -> None:
    seed = 20240506
    chance = random.Random(seed)
    originals = [
        samples.pdf(tmp_path / "1", [[(11, "text")]]).read_bytes(),
        samples.docx(tmp_path / "2", lambda d: d.add_paragraph("text")).read_bytes(),
        samples.epub(tmp_path / "3").read_bytes(),
        samples.compound_file(tmp_path / "4", {"WordDocument": b"x"}).read_bytes(),
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    ]
    for _ in range(400):
        data = bytearray(chance.choice(originals))
        for _ in range(chance.choice([1, 4, 30])):
            at = chance.randrange(len(data))
            data[at : at + chance.choice([1, 1, 1, 40])] = bytes([chance.randrange(256)])
        try:
            assert kind_of(tmp_path, bytes(data), "a.docx") in TYPES, f"seed {seed}"
        except WaybillError as refusal:
            assert refusal.message
