"""Text in pictures: read where nothing else is there to read, marked as such, and never silently left out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from blocks.errors import InvalidOptions, NoText, TooLarge, UnreadableDocument
from tasks.contract import Services
from tasks.conversion.ocr import engine, pages
from tasks.convert import CONVERT, ConvertOptions
from tests.fidelity.case import INPUTS
from tests.unit import conversion_samples as samples

_SERVICES = Services(home=Path())


def test_pages_that_were_read_are_in_the_metadata() -> None:
    output = samples.convert(INPUTS / "scan-mixed.pdf")
    assert output.metadata["ocr_pages"] == [2]
    assert output.metadata["ocr_confidence"] > 0.9
    assert "rapidocr" in output.metadata["converter"]
    assert output.warnings == ()


def test_without_ocr_the_scanned_pages_are_named() -> None:
    output = samples.convert(INPUTS / "scan-mixed.pdf", ocr="off")
    assert output.metadata["scanned_pages"] == [2]
    assert output.warnings == ("1 scanned page not read",)
    assert "ocr_pages" not in output.metadata


def test_pages_past_the_limit_are_not_read_and_named() -> None:
    output = samples.convert(INPUTS / "scan-two-pages.tif", ocr_max_pages=1)
    assert output.metadata["ocr_pages"] == [1]
    assert output.warnings == ("1 scanned page not read",)
    assert "6:45" not in samples.split(output)[1]


def test_where_ocr_is_not_installed_the_refusal_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (engine, pages):
        monkeypatch.setattr(module, "installed", lambda: None)
    with pytest.raises(NoText, match=r"pip install waybill\[ocr\]"):
        samples.convert(INPUTS / "scan-office.png")
    with pytest.raises(InvalidOptions, match=r"pip install waybill\[ocr\]"):
        samples.convert(INPUTS / "scan-office.png", ocr="require")


def test_a_picture_without_text_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(NoText, match=r"\(PNG image\): OCR found none$"):
        samples.convert(samples.write(tmp_path / "a.png", samples.image("PNG")))


def test_a_damaged_image_is_unreadable(tmp_path: Path) -> None:
    data = (INPUTS / "scan-office.png").read_bytes()
    with pytest.raises(UnreadableDocument, match="image"):
        samples.convert(samples.write(tmp_path / "cut.png", data[:2_000]))


def test_an_image_of_too_many_pixels_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("L", (13_000, 13_000)).save(tmp_path / "large.png")
    with pytest.raises(TooLarge, match="13000 x 13000 pixels"):
        samples.convert(tmp_path / "large.png")


def test_the_key_of_the_stage_says_whether_text_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CONVERT.identity is not None
    assert CONVERT.identity(ConvertOptions(), _SERVICES) == {"ocr": engine.installed()}
    assert CONVERT.identity(ConvertOptions(ocr="off"), _SERVICES) == {}
    monkeypatch.setattr("tasks.convert.installed", lambda: None)
    assert CONVERT.identity(ConvertOptions(), _SERVICES) == {}


def test_recognition_reaches_for_no_network() -> None:
    program = (
        "import os, sys\n"
        "def refuse(event, arguments):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'socket.sendto'):\n"
        "        raise SystemExit(f'{event} {arguments}')\n"
        "sys.addaudithook(refuse)\n"
        "from pathlib import Path\n"
        "from tests.fidelity.case import INPUTS\n"
        "from tests.unit.conversion_samples import convert\n"
        "print(convert(INPUTS / 'scan-notice.gif').content.decode(), flush=True)\n"
        "os._exit(0)\n"  # a process that loaded xberg may be aborted at its end
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "signs the book at 6:45" in done.stdout
