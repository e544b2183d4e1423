"""Word documents that are damaged, odd or written by other programs are read as far as they can be."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.errors import TooLarge, UnreadableDocument
from blocks.filetype import TYPES
from tasks.conversion.office import package as package_module
from tasks.conversion.reading import Reading
from tasks.conversion.word.reader import read_word
from tests.corpus.word_package import W, in_list, levels, paragraph, root, write_word
from tests.unit import conversion_samples as samples

SUBSTANCE = paragraph("The pump stands still.")


def read(path: Path) -> Reading:
    return read_word(path, TYPES["docx"], path.name)


def body_of(tmp_path: Path, body: str, **parts: str) -> str:
    return read(write_word(tmp_path / "a.docx", body, parts)).body.strip()


@pytest.mark.parametrize("kind", ["styles", "numbering", "footnotes", "comments"])
def test_a_damaged_part_costs_that_part_alone(tmp_path: Path, kind: str) -> None:
    note = '<w:p><w:r><w:footnoteReference w:id="1"/><w:commentReference w:id="1"/></w:r></w:p>'
    reading = read(write_word(tmp_path / "a.docx", SUBSTANCE + in_list("item") + note, {kind: "<w:broken"}))
    assert "The pump stands still." in reading.body and "item" in reading.body
    assert "1 part of the file that could not be read" in reading.warnings


def test_a_damaged_main_part_fails(tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument):
        read(write_word(tmp_path / "a.docx", "<w:p>"))


def test_numbers_that_are_none_count_as_absent(tmp_path: Path) -> None:
    numbering = levels("decimal %1.", "lowerLetter %2)").replace('w:start w:val="1"', 'w:start w:val="many"')
    odd = '<w:numPr><w:ilvl w:val="deep"/><w:numId w:val="1"/></w:numPr><w:outlineLvl w:val="x"/>'
    table = '<w:tbl><w:tr><w:tc><w:tcPr><w:gridSpan w:val="1e9"/></w:tcPr><w:p/></w:tc></w:tr></w:tbl>'
    assert "pump" in body_of(tmp_path, SUBSTANCE + paragraph("odd", odd) + table, numbering=numbering)


def test_the_strict_form_of_the_standard_is_the_same_document(tmp_path: Path) -> None:
    body, numbering = in_list("first") + in_list("second"), levels("decimal %1.")
    usual = body_of(tmp_path, body, numbering=numbering)
    parts = samples.members(tmp_path / "a.docx")
    strict_name = b"http://purl.oclc.org/ooxml/wordprocessingml/main"
    renamed = {name: content.replace(W.encode(), strict_name) for name, content in parts.items()}
    strict = samples.package(tmp_path / "strict.docx", renamed)
    assert read(strict).body.strip() == usual == "1. first\n2. second"


def test_a_field_that_never_ends_hides_no_text(tmp_path: Path) -> None:
    begun = '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>REF x</w:instrText></w:r>'
    assert body_of(tmp_path, paragraph(begun) + SUBSTANCE) == "The pump stands still."


def test_a_style_that_is_based_on_itself_ends(tmp_path: Path) -> None:
    circle = '<w:style w:type="paragraph" w:styleId="S"><w:name w:val="S"/><w:basedOn w:val="S"/></w:style>'
    assert body_of(tmp_path, paragraph("x", '<w:pStyle w:val="S"/>'), styles=root("styles", circle)) == "x"


@pytest.mark.parametrize(
    ("identifier", "name"),
    [("berschrift2", "Überschrift 2"), ("2", "标题 2"), ("Titre2", "Titre 2"), ("Heading2", ""), ("x", "heading 2")],
)
def test_headings_without_an_outline_level_are_known_by_name(tmp_path: Path, identifier: str, name: str) -> None:
    style = f'<w:style w:type="paragraph" w:styleId="{identifier}"><w:name w:val="{name}"/></w:style>' if name else ""
    body = paragraph("Brakes", f'<w:pStyle w:val="{identifier}"/>')
    assert body_of(tmp_path, body, styles=root("styles", style)) == "## Brakes"


def test_switches_of_two_styles_cancel_each_other(tmp_path: Path) -> None:
    styles = root(
        "styles",
        '<w:style w:type="paragraph" w:styleId="P"><w:rPr><w:b/></w:rPr></w:style>'
        '<w:style w:type="character" w:styleId="C"><w:rPr><w:b/></w:rPr></w:style>',
    )
    run = '<w:r><w:rPr><w:rStyle w:val="C"/></w:rPr><w:t xml:space="preserve"> light</w:t></w:r>'
    heavy = "<w:r><w:t>heavy</w:t></w:r>"
    assert body_of(tmp_path, paragraph(heavy + run, '<w:pStyle w:val="P"/>'), styles=styles) == "**heavy** light"


def test_hidden_text_of_a_style_is_left_out(tmp_path: Path) -> None:
    styles = root("styles", '<w:style w:type="paragraph" w:styleId="H"><w:rPr><w:vanish/></w:rPr></w:style>')
    shown = '<w:r><w:t>gone</w:t></w:r><w:r><w:rPr><w:vanish w:val="0"/></w:rPr><w:t>kept</w:t></w:r>'
    assert body_of(tmp_path, paragraph(shown, '<w:pStyle w:val="H"/>'), styles=styles) == "kept"


@pytest.mark.parametrize(
    ("restart", "expected"), [("", "1."), ('<w:lvlRestart w:val="0"/>', "3."), ('<w:lvlRestart w:val="1"/>', "1.")]
)
def test_a_level_begins_anew_unless_it_says_otherwise(tmp_path: Path, restart: str, expected: str) -> None:
    numbering = levels("upperRoman §%1", "decimal %2.").replace(
        '<w:lvlText w:val="%2."/>', f'{restart}<w:lvlText w:val="%2."/>'
    )
    items = [in_list("A"), in_list("a", level=1), in_list("b", level=1), in_list("B"), in_list("c", level=1)]
    assert body_of(tmp_path, "".join(items), numbering=numbering).endswith(f"§II B\n\n{expected} c")


def test_numbers_that_markdown_would_change_are_text(tmp_path: Path) -> None:
    numbering = levels("decimal %1.").replace(
        "</w:numbering>",
        '<w:num w:numId="2"><w:abstractNumId w:val="7"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="9"/>'
        "</w:lvlOverride></w:num></w:numbering>",
    )
    body = body_of(tmp_path, in_list("a") + in_list("b") + in_list("c", number=2), numbering=numbering)
    assert body == "1. a\n2. b\n\n9\\. c"


def test_a_document_of_many_pages_takes_time_in_proportion(tmp_path: Path) -> None:
    body = body_of(tmp_path, "".join(in_list(f"clause {n}") for n in range(3_000)), numbering=levels("decimal %1."))
    assert body.endswith("3000. clause 2999") and body.count("\n") == 2_999


def test_documents_inside_count_against_the_limit_of_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = write_word(tmp_path / "inner.docx", paragraph("x" * 40_000))
    outer = write_word(tmp_path / "outer.docx", '<w:altChunk r:id="aFChunk"/>' * 5, {"aFChunk": ""})
    parts = samples.members(outer) | {"word/inside.docx": inner.read_bytes()}
    named = {name: content.replace(b"aFChunk.xml", b"inside.docx") for name, content in parts.items()}
    renamed = samples.package(tmp_path / "renamed.docx", named)
    assert read(renamed).body.count("x" * 40_000) == 5
    monkeypatch.setattr(package_module, "MAX_UNPACKED_BYTES", 100_000)
    with pytest.raises(TooLarge):
        read(renamed)
