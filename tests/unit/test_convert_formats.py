"""Stage 1 on real files of each binary and markup format."""

from __future__ import annotations

import io
import json
import socket
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.unit import conversion_samples as samples


def body_of(path: Path, **options: Any) -> str:
    return samples.split(samples.convert(path, **options))[1]


def test_pdf_headings_and_text(tmp_path: Path) -> None:
    lines = [f"Sentence {i} tells of harbour lights, old maps and the price of number {i * 7}." for i in range(12)]
    page = [(24, "The harbour"), (16, "Lights"), *((10, line) for line in lines[:6])]
    path = samples.pdf(tmp_path / "a.pdf", [page, [(16, "Maps"), *((10, line) for line in lines[6:])]])
    body = body_of(path)
    assert "# The harbour" in body
    assert "## Lights" in body
    assert all(line in " ".join(body.split()) for line in lines)


def test_a_pdf_that_was_cut_off_says_what_may_be_missing(tmp_path: Path) -> None:
    data = samples.pdf(tmp_path / "a.pdf", [[(11, "Words on the first page")]] * 3).read_bytes()
    output = samples.convert(samples.write(tmp_path / "cut.pdf", data[: data.rfind(b"xref")]))
    assert "Words on the first page" in samples.split(output)[1]
    assert any("ends early" in warning for warning in output.warnings)


def test_word_headings_lists_tables_and_signs(tmp_path: Path) -> None:
    def fill(document: Any) -> None:
        document.add_heading("Intro", 1)
        document.add_paragraph("Fish & <chips> for 2_000 people")
        document.add_paragraph("first", style="List Bullet")
        table = document.add_table(2, 2)
        for index, text in enumerate(("a|b", "c", "1", "2")):
            table.cell(index // 2, index % 2).text = text
        document.add_picture(io.BytesIO(samples.image("PNG")))
        document.sections[0].header.paragraphs[0].text = "RUNNING HEAD"

    body = body_of(samples.docx(tmp_path / "a.docx", fill))
    assert "# Intro" in body
    assert "Fish & \\<chips> for 2_000 people" in body
    assert "- first" in body
    assert "| a\\|b | c |\n| --- | --- |\n| 1 | 2 |" in body
    assert body.count("RUNNING HEAD") == 1
    assert "media/image" not in body  # a picture inside of the document cannot be linked to


def test_excel_sheets_become_tables(tmp_path: Path) -> None:
    path = samples.xlsx(tmp_path / "a.xlsx", {"Sales": [["name", "qty"], ["wid|get", 3]], "Other": [["x"], [4.5]]})
    header, body = samples.split(samples.convert(path))
    assert header["pages"] == 2
    assert "## Sales\n\n| name | qty |\n| --- | --- |\n| wid\\|get | 3 |" in body
    assert "## Other" in body


def test_speaker_notes_stand_with_their_slide(tmp_path: Path) -> None:
    slides = [("First", "Body A", "Say this.\nAnd that."), ("Second", "Body B", ""), ("Third", "Body C", "Bow.")]
    path = samples.pptx(tmp_path / "a.pptx", slides)
    header, body = samples.split(samples.convert(path))
    assert header["pages"] == 3
    order = ["## First", "Body A", "**Speaker notes:**", "Say this.", "And that.", "## Second", "## Third", "Bow."]
    assert [body.index(part) for part in order] == sorted(body.index(part) for part in order)
    assert "Speaker notes" not in body_of(path, include_speaker_notes=False)


def test_opendocument_files(tmp_path: Path) -> None:
    text = samples.opendocument(
        tmp_path / "a.odt", "text", '<text:h text:outline-level="2">Head</text:h><text:p>An odt paragraph.</text:p>'
    )
    header, body = samples.split(samples.convert(text))
    assert (header["title"], header["created"]) == ("The title", "2022-02-03T04:05:06")
    assert body == "## Head\n\nAn odt paragraph."
    cell = '<table:table-cell office:value-type="string"><text:p>A</text:p></table:table-cell>'
    sheet = samples.opendocument(
        tmp_path / "a.ods",
        "spreadsheet",
        f'<table:table table:name="S1"><table:table-row>{cell * 2}</table:table-row></table:table>',
    )
    assert "| A | A |" in body_of(sheet)
    slides = samples.opendocument(
        tmp_path / "a.odp",
        "presentation",
        '<draw:page draw:name="p1"><draw:frame><draw:text-box><text:p>Slide text</text:p></draw:text-box></draw:frame>'
        "</draw:page>",
    )
    assert "Slide text" in body_of(slides)


def test_books(tmp_path: Path) -> None:
    header, body = samples.split(samples.convert(samples.epub(tmp_path / "a.epub")))
    assert (header["title"], header["created"], header["language"]) == ("The book", "2019-01-01", "en")
    assert body == "# Chapter 1\n\nOnce upon a time."


def test_a_notebook_keeps_text_code_and_output_without_terminal_colours(tmp_path: Path) -> None:
    error = {"output_type": "error", "ename": "E", "evalue": "bad", "traceback": ["\x1b[0;31mred\x1b[0m text"]}
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Study\n", "Some *words*."]},
        {"cell_type": "code", "metadata": {}, "execution_count": 1, "outputs": [error], "source": ["print('x')"]},
    ]
    notebook = {"cells": cells, "metadata": {"kernelspec": {"language": "python"}}, "nbformat": 4, "nbformat_minor": 5}
    header, body = samples.split(samples.convert(samples.write(tmp_path / "a.ipynb", json.dumps(notebook))))
    assert header["title"] == "Study"
    assert header["pages"] is None
    assert "```python\nprint('x')\n```" in body
    assert "red text" in body
    assert "\x1b" not in body


def test_a_database_becomes_tables(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("create table fish (name text, weight real)")
        connection.execute("insert into fish values ('cod', 2.5)")
    connection.close()
    assert body_of(tmp_path / "a.db") == "## fish\n\n| name | weight |\n| --- | --- |\n| cod | 2.5 |"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.rtf", r"{\rtf1\ansi Hello \b bold\b0  \u252?ber}", "Hello **bold** über"),
        ("a.rst", "Title\n=====\n\nSome *text*.\n", "# Title\n\nSome *text*."),
        ("a.org", "* Head\nText /it/\n", "# Head\n\nText *it*"),
        ("a.adoc", "= Title\n\nText *bold*\n", "# Title\n\nText **bold**"),
        ("a.tex", "\\documentclass{a}\n\\begin{document}\n\\section{S}\nText.\n\\end{document}\n", "# S\n\nText."),
        ("a.typ", "= Title\n\nSome _emph_ text.\n", "# Title\n\nSome *emph* text."),
        ("a.dj", "# Title\n\nSome *strong* text.\n", "# Title\n\nSome **strong** text."),
        (
            "a.dbk",
            '<article xmlns="http://docbook.org/ns/docbook"><title>T</title><para>Para</para></article>',
            "# T\n\nPara",
        ),
        ("a.opml", '<?xml version="1.0"?><opml><body><outline text="A"/></body></opml>', "# A"),
        (
            "a.fb2",
            '<?xml version="1.0"?><FictionBook><body><section><p>Text</p></section></body></FictionBook>',
            "Text",
        ),
        (
            "a.vtt",
            "WEBVTT\n\n00:00.000 --> 00:01.000\nHello *there*\n",
            "WEBVTT\n\n```text\n00:00.000 --> 00:01.000\nHello *there*\n```",
        ),
    ],
)
def test_markup_formats(tmp_path: Path, name: str, content: str, expected: str) -> None:
    assert body_of(samples.write(tmp_path / name, content)) == expected


def test_what_a_reader_drops_without_saying_so_is_a_warning(tmp_path: Path) -> None:
    output = samples.convert(samples.write(tmp_path / "a.dj", "Load 10^3^ N"))
    assert output.warnings == ("raised digits, marks of notes and first numbers of lists may be lost",)
    output = samples.convert(Path(__file__).parent / "lease.doc")
    assert output.warnings == ("tables, marks of notes and raised digits may be lost; save it as docx to keep them",)


def test_the_same_bytes_give_the_same_markdown(tmp_path: Path) -> None:
    path = samples.pptx(tmp_path / "a.pptx", [("First", "Body A", "Notes")])
    assert samples.convert(path).content == samples.convert(path).content


def test_nothing_outside_of_the_document_is_read_or_asked_for(tmp_path: Path) -> None:
    secret = samples.write(tmp_path / "secret.txt", "SECRET-7731")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        page = (
            f'<link rel="stylesheet" href="{address}/c"><img src="{address}/i" alt="x"><iframe src="{address}/f">text'
        )
        made = {
            "a.html": f"<html><body>words {page}</body></html>",
            "a.dbk": f'<!DOCTYPE a [<!ENTITY e SYSTEM "{secret}"><!ENTITY f SYSTEM "{address}/e">]>'
            '<article xmlns="http://docbook.org/ns/docbook"><para>words &e; &f;</para></article>',
            "a.adoc": f"words\n\ninclude::{secret}[]\n",
            "a.rst": f"words\n\n.. include:: {secret}\n",
            "a.tex": f"\\documentclass{{a}}\n\\begin{{document}}\nwords \\input{{{secret}}}\n\\end{{document}}\n",
        }
        for name, content in made.items():
            body = body_of(samples.write(tmp_path / name, content))
            assert "words" in body
            assert "SECRET-7731" not in body
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # a connection would wait in the backlog
            server.accept()


def test_nothing_is_written_beside_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.chdir(home)
    samples.convert(samples.pdf(tmp_path / "a.pdf", [[(11, "Some words on a page")]]))
    samples.convert(samples.docx(tmp_path / "a.docx", lambda document: document.add_paragraph("text")))
    assert list(home.iterdir()) == []
