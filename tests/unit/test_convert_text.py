"""Stage 1 on text, Markdown, code and tables: kept word for word, whatever the encoding."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from blocks.errors import EmptyDocument
from tasks.conversion.reading import clean_text
from tests.unit import conversion_samples as samples


def body_of(path: Path, **options: Any) -> str:
    return samples.split(samples.convert(path, **options))[1]


def rows_of(tmp_path: Path, content: str | bytes, name: str = "a.csv", **options: Any) -> list[str]:
    return body_of(samples.write(tmp_path / name, content), **options).split("\n")


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("Die Größe der Straße übertrifft alle Erwartungen, außer für Übermütige.", "utf-8"),
        ("Die Größe der Straße übertrifft alle Erwartungen, außer für Übermütige.", "utf-8-sig"),
        ("Die Größe der Straße übertrifft alle Erwartungen, außer für Übermütige.", "utf-16"),
        ("Die Größe der Straße übertrifft alle Erwartungen, außer für Übermütige.", "utf-16-le"),
        ("Die Größe der Straße übertrifft alle Erwartungen, außer für Übermütige.", "utf-32"),
        ("Die Größe der Straße übertrifft alle Erwartungen, außer für Übermütige.", "cp1252"),
        ("“Quoted” – and for 5 € a dash… It’s the café’s naïve résumé.", "cp1252"),
        ("Привет мир, это длинное предложение на русском языке о погоде.", "cp1251"),
        ("Привет мир, это длинное предложение на русском языке о погоде.", "koi8-r"),
        ("これは日本語の文章です。天気はとても良いです。", "shift_jis"),
        ("这是一个中文句子，天气非常好，我们去公园。", "gb18030"),
    ],
)
def test_the_encoding_is_found(tmp_path: Path, text: str, codec: str) -> None:
    path = samples.write(tmp_path / "a.txt", f"{text}\n{text}\n".encode(codec))
    assert body_of(path) == f"{text}\n{text}"


def test_a_guessed_encoding_is_told_and_can_be_overruled(tmp_path: Path) -> None:
    path = samples.write(tmp_path / "a.txt", "naïve café".encode("mac_roman"))
    assert "guessed" in samples.convert(path).warnings[0]
    assert body_of(path, encoding="mac_roman") == "naïve café"
    assert samples.convert(path, encoding="mac_roman").warnings == ()


def test_a_few_broken_bytes_do_not_change_the_encoding(tmp_path: Path) -> None:
    data = ("übermäßig schön " * 200).encode() + b"\xff\xfe end"
    output = samples.convert(samples.write(tmp_path / "a.txt", data))
    assert "übermäßig schön" in samples.split(output)[1]
    assert output.warnings == ("2 byte sequences replaced that are not valid UTF-8",)


def test_an_unknown_encoding_is_a_wrong_option(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="no known character encoding"):
        samples.convert(samples.write(tmp_path / "a.txt", "text"), encoding="utf-99")


def test_text_is_kept_with_plain_line_ends(tmp_path: Path) -> None:
    path = samples.write(
        tmp_path / "a.txt", b"  Title\r\n=====\r\rpage one\x0cpage two\n\n\n* star _x_ <b>\x00\x1b[1m!\n"
    )
    assert clean_text("a\x85b") == "a\nb"
    assert clean_text("wait\x85\nb") == "wait\x85\nb"  # the ellipsis of Windows-1252, which stage 2 repairs
    # NUL bytes would make it binary; here they come through the converter's own door.
    assert clean_text("a\x00b\x1b[1;31mc\x1b]0;title\x07d\x7f\ufeff") == "abcd"
    path.write_bytes(path.read_bytes().replace(b"\0", b""))
    assert body_of(path) == "```text\n  Title\n=====\n```\n\npage one\n\npage two\n\n\\* star \\_x\\_ \\<b>!"


def test_markdown_is_kept_as_it_is(tmp_path: Path) -> None:
    text = "# T\n\n1. a\n1. b\n\n| x |\n|--|\n| y |\n\n```\n---\n```"
    assert body_of(samples.write(tmp_path / "a.md", text)) == text


@pytest.mark.parametrize(
    ("name", "language"), [("a.py", "python"), ("a.json", "json"), ("a.yml", "yaml"), ("a.rs", "rust")]
)
def test_code_and_data_become_a_code_block(tmp_path: Path, name: str, language: str) -> None:
    assert (
        body_of(samples.write(tmp_path / name, '# one "two"\n')) == f'```{language}\n# one "two"\n```'
        or name == "a.json"
    )


def test_a_fence_inside_of_code_does_not_end_the_block(tmp_path: Path) -> None:
    body = body_of(samples.write(tmp_path / "a.py", '"""\n````\nx\n````\n"""\n'))
    assert body.startswith("`````python\n")
    assert body.endswith("\n`````")


def test_a_table(tmp_path: Path) -> None:
    assert rows_of(tmp_path, 'name,qty\n"wid|get","two\nlines"\n') == [
        "| name | qty |",
        "| --- | --- |",
        "| wid\\|get | two<br>lines |",
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    content = "\n".join(delimiter.join(row) for row in (["a", "b", "c"], ["1,5", "x y", "z"], ["2", "", "w"]))
    if delimiter == ",":
        content = content.replace("1,5", '"1,5"')
    rows = rows_of(tmp_path, content)
    assert rows[0] == "| a | b | c |"
    assert rows[2:] == ["| 1,5 | x y | z |", "| 2 |  | w |"]


def test_excels_delimiter_hint_is_followed_and_left_out(tmp_path: Path) -> None:
    assert rows_of(tmp_path, "sep=;\na;b\n1,5;2\n")[0] == "| a | b |"


def test_the_delimiter_can_be_given(tmp_path: Path) -> None:
    assert rows_of(tmp_path, "a:b\n1:2\n", csv_delimiter=":")[2] == "| 1 | 2 |"


def test_no_cell_of_a_ragged_table_is_lost(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "a,b\n1\n1,2,3,4\n\n,\n5,6\n")
    assert rows == ["| a | b |  |  |", "| --- | --- | --- | --- |", "| 1 |", "| 1 | 2 | 3 | 4 |", "| 5 | 6 |"]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("a\\|b", "a\\\\\\|b"),
        ("a\\", "a\\"),
        ("<script>x", "\\<script>x"),
        ("3 < 4", "3 < 4"),
        ("\x1bescape", "escape"),
    ],
)
def test_cells_cannot_break_out_of_their_table(tmp_path: Path, cell: str, expected: str) -> None:
    assert rows_of(tmp_path, f"head,b\n{cell},x\n")[2] == f"| {expected} | x |"


def test_an_unclosed_quote_swallows_no_rows(tmp_path: Path) -> None:
    output = samples.convert(samples.write(tmp_path / "a.csv", 'a,b\n1,"open\n' + "3,4\n" * 5_000))
    assert samples.split(output)[1].count("| 3 | 4 |") == 5_000
    assert any("quotes" in warning for warning in output.warnings)


def test_a_large_table_takes_bounded_time(tmp_path: Path) -> None:
    path = samples.write(tmp_path / "a.csv", "id,text\n" + "".join(f"{i},some words here\n" for i in range(50_000)))
    started = time.thread_time()
    output = samples.convert(path)
    assert time.thread_time() - started < 10
    assert output.content.count(b"\n") == 50_000 + 2 + 10


@pytest.mark.parametrize("name", ["a.csv", "a.txt", "a.md", "a.json"])
def test_text_without_words_is_empty(tmp_path: Path, name: str) -> None:
    with pytest.raises(EmptyDocument):
        samples.convert(samples.write(tmp_path / name, "[ , ]\n-- \n"))
