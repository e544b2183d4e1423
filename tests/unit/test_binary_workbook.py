"""Excel 97-2003 workbooks: what is wrong with one is said of the document, and within bounds."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from blocks.errors import EncryptedDocument, UnreadableDocument, UnsupportedType, WaybillError
from tasks.conversion.workbook import reader
from tests.corpus.raw_formats import compound_file
from tests.fidelity.case import INPUTS
from tests.unit import conversion_samples as samples

SAMPLE = INPUTS / "excel97-number-formats.xls"
BEGIN_OF_FILE = bytes.fromhex("09 08 10 00 00 06 05 00 00 00 00 00 00 00 00 00 00 00 00 00")
FILE_PASS = bytes.fromhex("2f 00 06 00 00 00 34 12 78 56")


def test_a_workbook_has_its_title_and_date():
    header, _ = samples.split(samples.convert(SAMPLE))
    assert (header["title"], header["created"], header["pages"]) == ("Readings", "2024-03-01T00:00:00", 1)


def test_a_locked_workbook(tmp_path: Path):
    path = samples.write(tmp_path / "locked.xls", compound_file({"Workbook": BEGIN_OF_FILE + FILE_PASS + bytes(5_000)}))
    with pytest.raises(EncryptedDocument, match=r"locked\.xls"):
        samples.convert(path)


def test_any_damage_has_our_error_in_time(tmp_path: Path):
    chance, whole = random.Random(7), SAMPLE.read_bytes()
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 5, 40))):
            data[chance.randrange(512, len(data))] = chance.randrange(256)
        path = samples.write(tmp_path / "damaged.xls", bytes(data))
        try:
            samples.convert(path)
        except WaybillError as error:
            assert isinstance(error, UnreadableDocument | UnsupportedType | EncryptedDocument), error


def test_what_our_reader_cannot_read_is_read_without_formats(monkeypatch: pytest.MonkeyPatch):
    from tasks.conversion.workbook import binary

    def refuse(*_: object) -> None:
        raise UnreadableDocument("damaged")

    monkeypatch.setattr(binary, "read_binary", refuse)
    output = samples.convert(SAMPLE)
    assert "0.255" in output.content.decode()
    assert output.warnings == (reader._WITHOUT_FORMATS,)
