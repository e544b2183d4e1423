"""The YAML header of stage 1: its fields, their order, and what hostile values do to it (nothing)."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml

from tasks.conversion.header import first_heading, to_iso8601
from tests.unit import conversion_samples as samples

FIELDS = ["title", "source", "sha256", "type", "pages", "language", "created"]


def test_the_header_begins_with_our_fields_in_order(tmp_path: Path) -> None:
    path = samples.pdf(tmp_path / "report.pdf", [[(11, "Some words on a page")]] * 2, title="Annual report")
    output = samples.convert(path)
    header, _ = samples.split(output)
    assert list(header) == FIELDS
    assert header["title"] == "Annual report"
    assert header["source"] == "report.pdf"
    assert len(header["sha256"]) == 64
    assert (header["type"], header["pages"]) == ("pdf", 2)
    assert output.metadata["media_type"] == "application/pdf"


def test_what_cannot_be_known_is_null(tmp_path: Path) -> None:
    header, _ = samples.split(samples.convert(samples.write(tmp_path / "a.txt", "Hi.\n")))
    assert header["pages"] is None
    assert header["language"] is None


def test_the_title_comes_from_the_document_then_a_heading_then_the_name(tmp_path: Path) -> None:
    def fill(document: object) -> None:
        document.add_heading("The heading", 1)  # type: ignore[attr-defined]

    titled = samples.docx(tmp_path / "a.docx", fill, title="The title")
    untitled = samples.docx(tmp_path / "b.docx", fill)
    plain = samples.write(tmp_path / "meeting notes.txt", "words\n")
    titles = [samples.split(samples.convert(path))[0]["title"] for path in (titled, untitled, plain)]
    assert titles == ["The title", "The heading", "meeting notes"]


@pytest.mark.parametrize(
    "placeholder", ["untitled", "(anonymous)", "Microsoft Word - ", "PowerPoint Presentation", " "]
)
def test_placeholder_titles_are_no_titles(tmp_path: Path, placeholder: str) -> None:
    path = samples.pdf(tmp_path / "invoice 17.pdf", [[(11, "Some words on a page")]], title=placeholder)
    assert samples.split(samples.convert(path))[0]["title"] == "invoice 17"


@pytest.mark.parametrize(
    "title",
    [
        "a: b # c \"d\" 'e'",
        "line one\nline two\r\n---\nsha256: forged",
        "- dash",
        "[x, {y}] & *z !tag %d @e `f",
        "null",
        "2024-01-01",
        "Ünïcödé 日本語 🎉 \u202e",
        "\u2028separator\u0085",
        "x" * 10_000,
        "word " * 2_000,
    ],
)
def test_hostile_titles_survive_as_one_short_line(tmp_path: Path, title: str) -> None:
    source = yaml.safe_dump({"title": title}, allow_unicode=True)
    path = samples.write(tmp_path / "a.md", f"---\n{source}---\n\ntext of the document\n")
    header, body = samples.split(samples.convert(path))
    assert list(header)[:7] == FIELDS
    assert isinstance(header["title"], str)
    assert 0 < len(header["title"]) <= 200
    assert header["title"].splitlines() == [header["title"]]
    assert header["sha256"] != "forged"
    assert body == "text of the document"


def test_the_creation_date_is_the_documents_own_or_that_of_the_file(tmp_path: Path) -> None:
    own = samples.docx(tmp_path / "a.docx", lambda document: document.add_paragraph("text"))
    none = samples.write(tmp_path / "a.txt", "words\n")
    assert samples.split(samples.convert(own))[0]["created"] == "2024-03-01T10:00:00+00:00"
    assert samples.split(samples.convert(none))[0]["created"] == "2024-05-06T07:08:09+00:00"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2024-03-01T10:00:00Z", "2024-03-01T10:00:00+00:00"),
        ("2019-01-01", "2019-01-01"),
        ("2019", "2019"),
        ("2019-05", "2019-05"),
        ("Tue, 05 Mar 2024 10:00:00 +0100", "2024-03-05T10:00:00+01:00"),
        ("D:20240506070809+01'00'", "2024-05-06T07:08:09"),
        ("D:20241399", None),
        ("yesterday", None),
        ("", None),
        (None, None),
        ("9" * 5000, None),
    ],
)
def test_dates_become_iso_8601(written: str | None, expected: str | None) -> None:
    assert to_iso8601(written) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("text\n\n## A *fine* [title](http://x) #\n", "A fine title"),
        ("```\n# comment\n```\n\n# Real\n", "Real"),
        ("~~~\n# comment\n", ""),
        ("#hashtag\n", ""),
        ("# \\# escaped \\*stars\\*\n", "# escaped *stars*"),
        ("# snake_case_name\n", "snake_case_name"),
        ("# " + " " * 40_000 + "\n# " + "*a " * 20_000, "*a"),
    ],
)
def test_the_first_heading_is_found_without_its_markup(body: str, expected: str) -> None:
    assert first_heading(body)[: len(expected) or None] == expected


def test_the_language_is_found_from_the_text(tmp_path: Path) -> None:
    german = "Die Gemeinde hat im vergangenen Jahr beschlossen, den Hafen zu erweitern und neue Wege zu bauen."
    french = "La commune a décidé l'année dernière d'agrandir le port et de construire de nouveaux chemins."
    found = [
        samples.split(samples.convert(samples.write(tmp_path / "a.txt", text)))[0]["language"]
        for text in (german, french, "x = 1; y = 2", "42 17")
    ]
    assert found == ["de", "fr", None, None]


def test_an_authors_own_fields_stay_under_their_names(tmp_path: Path) -> None:
    fields = {
        "title": "Guide",
        "date": date(2023, 4, 5),
        "lang": "fr",
        "tags": ["a", "b"],
        "weight": 3,
        "source": "https://example.org/guide",
        "type": "post",
    }
    source = yaml.safe_dump(fields)
    path = samples.write(tmp_path / "a.md", f"---\n{source}...\n# Other heading\n\nDeux mots.\n")
    header, body = samples.split(samples.convert(path))
    assert (header["title"], header["created"], header["language"]) == ("Guide", "2023-04-05", "fr")
    assert (header["source"], header["type"]) == ("a.md", "md")
    assert (header["original_source"], header["original_type"]) == ("https://example.org/guide", "post")
    assert (header["tags"], header["weight"], header["date"]) == (["a", "b"], 3, date(2023, 4, 5))
    assert body.startswith("# Other heading")


@pytest.mark.parametrize(
    "bad",
    [
        "a: &x [1, 2]\nb: *x\n",
        "- just\n- a list\n",
        "a: b: c\n",
        "!!python/object/apply:os.system ['true']\n",
        "{" * 5_000 + "\n",
    ],
)
def test_a_header_that_is_no_plain_yaml_stays_as_a_code_block(tmp_path: Path, bad: str) -> None:
    output = samples.convert(samples.write(tmp_path / "a.md", f"---\n{bad}---\n\ntext\n"))
    header, body = samples.split(output)
    assert list(header) == FIELDS
    assert body.startswith("```yaml\n")
    assert bad.strip() in body
    assert "not plain YAML" in output.warnings[0]


def test_a_rule_at_the_start_is_no_header(tmp_path: Path) -> None:
    _, body = samples.split(samples.convert(samples.write(tmp_path / "a.md", "---\n\nOne rule, no header.\n")))
    assert body == "---\n\nOne rule, no header."
