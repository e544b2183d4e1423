"""Names for people: clean, bounded, and the same after a second cleaning."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blocks.naming import (
    MAX_NAME_BYTES,
    clean_display_name,
    document_stem,
    metadata_view_name,
    report_view_name,
    stage_output_name,
)

BIDIRECTIONAL = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
NAMES = st.text(
    st.one_of(st.sampled_from('./\\:*?"<>| \x00\n\r\t\x85\u2028\u200d\u0301\u0338e=' + BIDIRECTIONAL), st.characters()),
    max_size=120,
) | st.text(st.characters(), min_size=150, max_size=300)


@given(NAMES)
@example("e\u200d\u0301.pdf")  # an accent that comes to stand behind its letter when the joiner goes
@example("a" * 195 + " . .pdf")
@example("x" * 199 + " y")
@example("é" * 300 + ".pdf")
@example("." * 300)
@example("\udcff\ud800")
@example("\u3000\u00a0")
def test_a_display_name_is_clean_bounded_and_stays_as_it_is(name: str) -> None:
    clean = clean_display_name(name)
    assert clean.strip()
    assert len(clean.encode()) <= MAX_NAME_BYTES
    assert not set(clean) & set('/\\:*?"<>|')
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for char in clean)
    assert not set(clean) & set(BIDIRECTIONAL)
    assert clean[0] not in " ." and clean[-1] not in " ."
    assert unicodedata.is_normalized("NFC", clean)
    assert clean_display_name(clean) == clean


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("report.pdf", "report.pdf"),
        ("/home/me/report.pdf", "report.pdf"),
        ("C:\\Users\\me\\report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("folder/", "folder"),
        ("a\r\nSet-Cookie: x=1", "aSet-Cookie_ x=1"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("what?.pdf", "what_.pdf"),
        (".profile", "profile"),
        ("  report.pdf. ", "report.pdf"),
        ("Bericht über Zürich.pdf", "Bericht über Zürich.pdf"),
        ("u\u0308ber.pdf", "über.pdf"),
        ("文書.docx", "文書.docx"),
        ("", "unnamed"),
        ("..", "unnamed"),
        ("/", "unnamed"),
        ("\x00", "unnamed"),
    ],
)
def test_known_names(name: str, clean: str) -> None:
    assert clean_display_name(name) == clean


def test_a_long_name_keeps_its_extension() -> None:
    clean = clean_display_name("文" * 200 + ".parquet")
    assert clean.endswith("文.parquet")
    assert MAX_NAME_BYTES - 3 <= len(clean.encode()) <= MAX_NAME_BYTES


def test_a_long_name_without_an_extension_is_cut() -> None:
    assert clean_display_name("a" * 1024) == "a" * MAX_NAME_BYTES
    assert clean_display_name("a." + "b" * 1024) == "a." + "b" * (MAX_NAME_BYTES - 2)


@pytest.mark.parametrize(
    ("name", "stem"),
    [("report.pdf", "report"), ("archive.tar.gz", "archive.tar"), ("README", "README"), (".profile", "profile")],
)
def test_the_stem_is_the_name_without_its_extension(name: str, stem: str) -> None:
    assert document_stem(name) == stem


def test_the_table_of_output_names() -> None:
    assert stage_output_name("report.pdf", ".md") == "report.md"
    assert stage_output_name("report.pdf", ".chunks.json") == "report.chunks.json"
    assert metadata_view_name("report.pdf", 3) == "report.stage3.meta.json"
    assert report_view_name("report.pdf", 3) == "report.stage3.report.json"


@given(NAMES)
def test_every_output_name_fits_into_a_file_system(name: str) -> None:
    for made in (stage_output_name(name, ".ingestion.json"), report_view_name(name, 5), metadata_view_name(name, 5)):
        assert len(made.encode()) <= 255
        assert "/" not in made and "\x00" not in made
