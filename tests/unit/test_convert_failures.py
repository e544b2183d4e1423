"""What cannot be converted fails for one clear reason, and never passes as an empty success."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from blocks.errors import EncryptedDocument, NoText, TooLarge, UnreadableDocument, UnsupportedType, WaybillError
from tasks.convert import CONVERT, ConvertOptions
from tests.unit import conversion_samples as samples


def test_a_scan_needs_ocr(tmp_path: Path) -> None:
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "scan.pdf"), invariant=1)
    canvas.drawImage(ImageReader(io.BytesIO(samples.image("PNG"))), 0, 0, 500, 700)
    canvas.save()
    with pytest.raises(NoText, match="OCR"):
        samples.convert(tmp_path / "scan.pdf")
    with pytest.raises(NoText, match="OCR"):
        samples.convert(samples.write(tmp_path / "scan.png", samples.image("PNG")))


def test_an_office_document_without_text_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(NoText):
        samples.convert(samples.docx(tmp_path / "a.docx", lambda document: None))


@pytest.mark.parametrize(("user", "owner", "opens"), [("secret", "owner", False), ("", "owner", True)])
def test_an_encrypted_pdf_is_told_apart_from_one_that_only_forbids_printing(
    tmp_path: Path, user: str, owner: str, opens: bool
) -> None:
    from pypdf import PdfWriter

    writer = PdfWriter(clone_from=str(samples.pdf(tmp_path / "a.pdf", [[(11, "Some words on a page")]])))
    writer.encrypt(user, owner, algorithm="RC4-128")
    writer.write(str(tmp_path / "locked.pdf"))
    if opens:
        assert "Some words" in samples.split(samples.convert(tmp_path / "locked.pdf"))[1]
    else:
        with pytest.raises(EncryptedDocument, match="without a password"):
            samples.convert(tmp_path / "locked.pdf")


def test_a_damaged_pdf_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match=r"'bad\.pdf' could not be read as PDF document"):
        samples.convert(samples.write(tmp_path / "bad.pdf", b"%PDF-1.7\n" + random.Random(3).randbytes(2_000)))


def test_an_office_document_whose_text_is_missing_is_unreadable(tmp_path: Path) -> None:
    types = "<Types><Override ContentType='x.wordprocessingml.document.main+xml'/></Types>"
    with pytest.raises(UnreadableDocument):
        samples.convert(samples.package(tmp_path / "a.docx", {"[Content_Types].xml": types}))


def test_a_bomb_is_too_large(tmp_path: Path) -> None:
    samples.docx(tmp_path / "a.docx", lambda document: document.add_paragraph("text"))
    with zipfile.ZipFile(tmp_path / "a.docx", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/media/big.bin", b"\0" * 600_000_000)
    with pytest.raises(TooLarge):
        samples.convert(tmp_path / "a.docx")


def test_an_unknown_type_is_refused_here_too(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedType):
        samples.convert(samples.write(tmp_path / "a.pdf", b"\x7fELF\0\0"))


@pytest.mark.parametrize(
    "notes",
    [b"<broken", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", b"<a>" * 5_000 + b"</a>" * 5_000],
    ids=["damaged", "with entities", "nested too deeply"],
)
def test_speaker_notes_that_cannot_be_read_do_not_fail_the_slides(tmp_path: Path, notes: bytes) -> None:
    original = samples.pptx(tmp_path / "a.pptx", [("Title", "Body", "Notes")])
    damaged = samples.members(original) | {"ppt/notesSlides/notesSlide1.xml": notes}
    output = samples.convert(samples.package(tmp_path / "b.pptx", damaged))
    assert "## Title" in samples.split(output)[1]
    assert any("speaker notes" in warning for warning in output.warnings)


def test_damaged_documents_give_text_or_our_error(tmp_path: Path) -> None:
    seed = 77
    chance = random.Random(seed)
    originals = {
        "a.docx": samples.docx(tmp_path / "1", lambda document: document.add_paragraph("some text")).read_bytes(),
        "a.xlsx": samples.xlsx(tmp_path / "2", {"S": [["some", "text"]]}).read_bytes(),
        "a.epub": samples.epub(tmp_path / "3").read_bytes(),
        "a.html": b"<html><body><table><tr><td>some text</table></body></html>",
        "a.eml": b"From: a@b.c\nTo: d@e.f\nSubject: =?utf-8?Q?x?=\n\nsome text\n",
        "a.rtf": rb"{\rtf1\ansi{\fonttbl{\f0 Arial;}}\f0 some text \par}",
    }
    for _ in range(120):
        name = chance.choice(list(originals))
        data = bytearray(originals[name])
        for _ in range(chance.choice([1, 3, 12])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            output = samples.convert(samples.write(tmp_path / name, bytes(data)))
        except WaybillError:
            continue
        header, _ = samples.split(output)
        assert header["source"] == name, f"seed {seed}"


def test_options_describe_themselves_and_refuse_what_they_do_not_know() -> None:
    schema = ConvertOptions.model_json_schema()
    assert all("description" in field for field in schema["properties"].values())
    with pytest.raises(ValidationError):
        ConvertOptions.model_validate({"password": "secret"})
    with pytest.raises(ValidationError, match="cannot stand between"):
        ConvertOptions.model_validate({"csv_delimiter": '"'})
    assert (CONVERT.number, CONVERT.name, CONVERT.suffix) == (1, "markdown-conversion", ".md")
