"""Markdown written by the readers: text means itself, marks work, lists and notes keep their places."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.conversion.markdown_writer import Body, Notes, Run, code_span, escape, escape_line_starts, inline, table

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
SIGNS = st.text(st.sampled_from(list("ab1 *_~`[]()<>!#+-=|.:&;\\\n\"'$^")), max_size=40)


def as_read(markdown: str) -> str:
    """Return the text that a reader of *markdown* sees: its one paragraph, line breaks as line feeds."""
    tokens = PARSER.parse(markdown)
    assert [token.type for token in tokens] in (["paragraph_open", "inline", "paragraph_close"], []), markdown
    return "".join(_seen(child) for token in tokens for child in token.children or ())


def _seen(token: Any) -> str:
    return "\n" if token.type in ("hardbreak", "softbreak") else token.content


def collapsed(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return "\n".join(lines).strip()


@given(SIGNS)
def test_text_means_itself(text: str):
    lines = "\n".join(line for line in text.split("\n") if line.strip())
    body = Body()
    body.paragraph(inline([Run(text=lines)]))
    assert collapsed(as_read(str(body))) == collapsed(lines)


@example([Run(text="~", struck=True)])
@example([Run(text=":", italic=True), Run(text="~", italic=True, struck=True)])
@example([Run(text="~a", struck=True), Run(text="b~", struck=True, bold=True)])
@given(st.lists(st.builds(Run, text=SIGNS, bold=st.booleans(), italic=st.booleans(), struck=st.booleans())))
def test_formats_lose_no_sign(runs: list[Run]):
    text = "".join(run.text for run in runs)
    if "\n\n" in text.replace(" ", "") or not text.strip():
        return
    body = Body()
    body.paragraph(inline(runs))
    assert "".join(as_read(str(body)).split()) == "".join(text.split())


def test_runs_of_one_format_are_joined():
    assert inline([Run(text="Rack ", bold=True), Run(text="bar", bold=True), Run(text=" wear")]) == "**Rack bar** wear"


def test_white_space_stays_outside_of_marks():
    assert inline([Run(text="a"), Run(text=" b ", bold=True), Run(text="c")]) == "a **b** c"


def test_formats_nest():
    runs = [Run(text="a ", bold=True), Run(text="b", bold=True, italic=True), Run(text=" c", bold=True)]
    assert inline(runs) == "**a *b* c**"


def test_emphasis_that_could_not_be_closed_is_left_out():
    assert inline([Run(text="(a)", bold=True), Run(text="b")]) == "(a)b"


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([Run(text="10"), Run(text="3", position="raised"), Run(text=" N")], "10^3^ N"),
        ([Run(text="H"), Run(text="2", position="lowered"), Run(text="O")], "H~2~O"),
        ([Run(text="the 1"), Run(text="st", position="raised"), Run(text=" car")], "the 1st car"),
        ([Run(text="1"), Run(text="a", position="raised")], "1^a^"),
        ([Run(text="a"), Run(text="one long remark", position="raised")], "aone long remark"),
        (
            [Run(text="see "), Run(text="rules", link="https://example.org/a b")],
            "see [rules](<https://example.org/a b>)",
        ),
        ([Run(text="mean "), Run(text="$a_1*b$", markdown=True)], "mean $a_1*b$"),
        ([Run(text="one\ntwo")], "one\\\ntwo"),
        ([Run(text="as in [1; 2]")], "as in \\[1; 2]"),  # both brackets escaped would be a displayed formula
        ([Run(text="a [b]", link="https://example.org")], "[a \\[b\\]](https://example.org)"),
        ([Run(text="bold\n", bold=True), Run(text="next")], "**bold**\\\nnext"),
    ],
)
def test_inline(runs: list[Run], expected: str):
    assert inline(runs) == expected


@pytest.mark.parametrize("text", ["snake_case", "5 - 3", "a & b", "2 < 3", "#4", "-5 degrees", "x=1", "~5 kg", "1.5 m"])
def test_text_without_markup_is_not_escaped(text: str):
    assert escape_line_starts(escape(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+ 3 %", "\\+ 3 %"),
        ("1986. A year", "1986\\. A year"),
        ("# no heading", "\\# no heading"),
        ("> 5 mm", "\\> 5 mm"),
        ("a\n---", "a\n\\---"),
        ("a\n====", "a\n\\===="),
        ("a | b\n--|--", "a | b\n\\--|--"),
    ],
)
def test_line_starts_are_escaped(text: str, expected: str):
    assert escape_line_starts(text) == expected


def test_a_table_has_equal_rows():
    assert table([["a", "b"], ["1\\\n2"], ["x|y", "z"]]) == "| a | b |\n| --- | --- |\n| 1<br>2 |  |\n| x\\|y | z |"
    assert table([]) == ""


def test_lists_keep_their_numbers_and_their_nesting():
    body = Body()
    body.paragraph("Before")
    body.item("4.", "Lift")
    body.item("-", "slowly", level=1)
    body.item("-", "gently", level=1)
    body.item("5.", "Ring")
    body.continuation("Twice.")
    body.paragraph("After")
    assert str(body) == "Before\n\n4. Lift\n   - slowly\n   - gently\n5. Ring\n\n   Twice.\n\nAfter\n"


def test_headings():
    body = Body()
    body.heading(9, "C #")
    body.heading(2, "two\\\nlines")
    assert str(body) == "###### C \\#\n\n## two lines\n"


def test_notes_are_numbered_by_their_marks():
    notes = Notes()
    marks = [notes.mark("footnote", "7"), notes.mark("endnote", "1"), notes.mark("footnote", "2")]
    marks.append(notes.mark("footnote", "7"))
    notes.define("footnote", "2", "Second.\n\nMore of it.")
    notes.define("footnote", "7", "First.")
    assert [mark.text for mark in marks] == ["[^1]", "[^e1]", "[^2]", "[^1]"]
    assert list(notes.definitions()) == ["[^1]: First.", "[^2]: Second.\n\n    More of it.", "[^e1]:"]
    assert notes.without_text() == 1
    assert notes.marked() == [("footnote", "7"), ("endnote", "1"), ("footnote", "2")]


def test_code_with_backticks():
    assert code_span("a `b` c") == "``a `b` c``"
    assert code_span("`x`") == "`` `x` ``"
