"""Properties of stages 1 and 2 over generated tables of text, notebooks and mails: text in is text out."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tasks.conversion.mail.flowed_text import unflowed
from tasks.conversion.reading import clean_text
from tests.unit import conversion_samples as samples

_FEW = settings(max_examples=60)
_WORDS = st.sampled_from(
    [
        *("the", "rack", "31", "520", "48,000", "+", "-", "±", "<", "=", "%", "€", "$5", "24 euros", "3 June 2024"),
        *("*star*", "_low_", "__init__", "`code`", "[x](y)", "a<b", "<b>", "AT&T", "&amp;", "~~5~~", "#12", "C:\\x\\"),
        *("1.", "•", "|", "\\|", "http://a.b/c_d", '"', "'", ";", ",", "é", "車", "−3", "0.35***", "x^2^", "![i](j)"),
    ]
)
_TEXTS = st.lists(_WORDS, min_size=1, max_size=4).map(" ".join)
_CELLS = st.one_of(_TEXTS, st.just(""), st.tuples(_TEXTS, _TEXTS).map("\n".join))
_ROWS = st.integers(2, 4).flatmap(
    # A row whose last cells are empty may be a remark below the table.
    lambda width: st.lists(
        st.tuples(st.lists(_CELLS, min_size=width, max_size=width), _TEXTS).map(lambda row: [*row[0], row[1]]),
        min_size=1,
        max_size=6,
    )
)
_LINES = st.lists(st.one_of(_TEXTS, st.just(""), _TEXTS.map("    {}".format)), min_size=1, max_size=8).map("\n".join)


def _after_stage_2(name: str, content: bytes | str, **options: Any) -> str:
    with tempfile.TemporaryDirectory() as folder:
        made = samples.convert(samples.write(Path(folder) / name, content), **options)
        return samples.split(samples.optimize(Path(folder) / "a.md", made.content.decode()))[1]


def _tokens(markdown: str) -> list[Token]:
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)


def _cells_read(markdown: str) -> list[list[str]]:
    """The cells of the tables, as a reader sees them."""
    rows: list[list[str]] = []
    for token in _tokens(markdown):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows:
            rows[-1].append(
                "".join("\n" if child.type == "html_inline" else child.content for child in token.children or ())
            )
    return rows


@_FEW
@given(_ROWS, st.sampled_from(",;\t|"))
def test_each_cell_of_a_table_is_read_as_it_was_written(rows: list[list[str]], delimiter: str) -> None:
    header = [f"Name {number}" for number in range(len(rows[0]))]
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    read = _cells_read(_after_stage_2("a.csv", file.getvalue(), csv_delimiter=delimiter))
    assert read == [header, *([" ".join(cell.split(" ")) for cell in row] for row in rows)]


@_FEW
@given(_LINES.filter(str.strip))
def test_what_a_cell_printed_is_in_a_code_block_of_its_own(text: str) -> None:
    output = {"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)}
    cell = {"cell_type": "code", "metadata": {}, "source": "show()", "outputs": [output]}
    after = {"cell_type": "markdown", "metadata": {}, "source": "After."}
    content = json.dumps({"cells": [cell, after], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    tokens = _tokens(_after_stage_2("a.ipynb", content))
    fences = [(token.info, token.content) for token in tokens if token.type == "fence"]
    assert fences == [("", "show()\n"), ("text", text.strip("\n") + "\n")]
    assert tokens[-2].content == "After."


@_FEW
@given(_LINES)
def test_a_plain_version_that_says_the_same_adds_nothing(text: str) -> None:
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "ada@example.org", "x"
    text = f"Some words here\n{text}"  # of signs alone, either version may be read
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    page = "".join(f"<p>{line}</p>\n" for line in escaped.split("\n"))
    mail.set_content(page, subtype="html")
    alone = _after_stage_2("a.eml", mail.as_bytes())
    mail.set_content(text)
    mail.add_alternative(page, subtype="html")
    assert _after_stage_2("a.eml", mail.as_bytes()) == alone


@given(st.lists(st.tuples(st.integers(0, 3), _TEXTS), min_size=1, max_size=5), st.booleans(), st.integers(1, 20))
def test_flowed_text_is_put_together_as_it_was_taken_apart(
    paragraphs: list[tuple[int, str]], deletes_space: bool, width: int
) -> None:
    flowed: list[str] = []
    for depth, text in paragraphs:
        lines = [text[at : at + width] for at in range(0, len(text), width)] if deletes_space else text.split(" ")
        soft = [line + " " for line in lines[:-1]]
        flowed += [">" * depth + " " + line for line in (*soft, lines[-1])] + [">" * depth]
    expected = "\n".join(part for depth, text in paragraphs for part in ("> " * depth + text, ("> " * depth).rstrip()))
    assert unflowed(clean_text("\n".join(flowed)), deletes_space=deletes_space) == expected
