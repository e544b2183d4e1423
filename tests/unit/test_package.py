"""Packages of XML parts are read within bounds, and what is wrong with one is said of the document."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.errors import TooLarge, UnreadableDocument
from blocks.filetype import TYPES
from tasks.conversion.office import package as package_module
from tasks.conversion.office.package import CoreProperties, Package, Relation
from tests.unit import conversion_samples as samples

WORD = TYPES["docx"]
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_KIND = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


@pytest.fixture
def written(tmp_path: Path):
    def write(members: dict[str, str | bytes]) -> Path:
        return samples.package(tmp_path / "minutes.docx", members)

    return write


def test_relations_are_resolved_from_their_part(written):
    relations = (
        f'<Relationships xmlns="{_RELATIONS}">'
        f'<Relationship Id="r1" Type="{_KIND}/footnotes" Target="footnotes.xml"/>'
        f'<Relationship Id="r2" Type="{_KIND}/image" Target="/word/media/a%20b.png"/>'
        f'<Relationship Id="r3" Type="{_KIND}/hyperlink" Target="https://example.org" TargetMode="External"/>'
        "</Relationships>"
    )
    path = written({"word/_rels/document.xml.rels": relations, "WORD\\Footnotes.xml": "<notes/>"})
    with Package(path, WORD, path.name) as package:
        assert package.relations("word/document.xml") == {
            "r1": Relation("footnotes", "word/footnotes.xml", external=False),
            "r2": Relation("image", "word/media/a b.png", external=False),
            "r3": Relation("hyperlink", "https://example.org", external=True),
        }
        assert package.related("word/document.xml", "footnotes") == ["word/footnotes.xml"]
        assert package.related("word/document.xml", "image") == []  # no such member
        assert package.parse("word/footnotes.xml").tag == "notes"
        assert package.relations("word/footnotes.xml") == {}


def test_core_properties(written):
    core = (
        '<c xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:t="http://purl.org/dc/terms/">'
        "<dc:title>Minutes</dc:title><t:created>2024-03-09T12:00:00Z</t:created></c>"
    )
    path = written({"docProps/core.xml": core})
    with Package(path, WORD, path.name) as package:
        assert package.core_properties() == CoreProperties(title="Minutes", created="2024-03-09T12:00:00Z")


def test_all_parts_together_have_a_limit(written, monkeypatch):
    monkeypatch.setattr(package_module, "MAX_UNPACKED_BYTES", 1000)
    path = written({"a.xml": b"<a/>" + b" " * 600, "b.xml": b"<b/>" + b" " * 600})
    with Package(path, WORD, path.name) as package:
        package.parse("a.xml")
        with pytest.raises(TooLarge, match=r"'minutes\.docx' \(Word document\)"):
            package.parse("b.xml")


def test_a_part_that_is_parsed_has_a_limit(written, monkeypatch):
    monkeypatch.setattr(package_module, "MAX_PARSED_BYTES", 100)
    path = written({"a.xml": b"<a/>" + b" " * 600})
    with Package(path, WORD, path.name) as package, pytest.raises(TooLarge, match=r"its part a\.xml"):
        package.parse("a.xml")


@pytest.mark.parametrize(
    "content",
    ["<a><b></a>", "", '<!DOCTYPE a [<!ENTITY x "ha">]><a>&x;</a>', "<a>" * 5000 + "</a>" * 5000],
    ids=["not well-formed", "empty", "entities", "deep"],
)
def test_damaged_parts(written, content: str):
    path = written({"a.xml": content})
    with Package(path, WORD, path.name) as package, pytest.raises(UnreadableDocument, match=r"'minutes\.docx'"):
        package.parse("a.xml")


def test_a_missing_part_is_named(written):
    path = written({"a.xml": "<a/>"})
    with Package(path, WORD, path.name) as package:
        assert package.parse_optional("word/document.xml") is None
        with pytest.raises(UnreadableDocument, match=r"lacks its part word/document\.xml"):
            package.parse("word/document.xml")


def test_what_is_no_package(tmp_path: Path):
    path = tmp_path / "minutes.docx"
    path.write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(UnreadableDocument, match="Word document"), Package(path, WORD, path.name):
        pass


def test_recursion_of_a_reader_is_a_fault_of_the_document(written):
    path = written({"a.xml": "<a/>"})
    with pytest.raises(UnreadableDocument, match="nested too deeply"), Package(path, WORD, path.name):
        raise RecursionError
