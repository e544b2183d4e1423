"""Stage 2: what is repaired, what is left alone, and the proof that no word goes missing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tasks.contract import StageOutput
from tasks.optimization import formatting
from tasks.optimization.formatting import format_markdown
from tasks.optimization.proof import words
from tasks.optimize import OPTIMIZE, OptimizeOptions
from tests.unit import conversion_samples as samples

HEADER = "---\ntitle: 'T: x'\nsource: a.pdf\nsha256: abc\ntype: pdf\npages: 4\nlanguage: en\ncreated: null\n---\n\n"


@pytest.fixture
def improve(tmp_path: Path) -> Any:
    def run(markdown: str, **options: Any) -> StageOutput:
        return samples.optimize(tmp_path / "a.md", markdown, **options)

    return run


def text_of(output: StageOutput) -> str:
    return output.content.decode()


def test_the_header_is_kept_byte_for_byte(improve: Any) -> None:
    odd = "---\ntitle:   'schÃ¶n'\nb: [1,   2]\n---\n\n"
    assert text_of(improve(odd + "text\n")) == odd + "text\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Title\n=====\n\ntext\n", "# Title\n\ntext\n"),
        ("*   a\n*   b\n", "* a\n* b\n"),
        ("1. a\n1. b\n1. c\n", "1. a\n2. b\n3. c\n"),
        ("1999. a\n2005. b\n", "1999. a\n2005. b\n"),
        ("9. a\n10. b\n11. c\n", "9. a\n10. b\n11. c\n"),
        ("a\n\n\n\n\nb\n", "a\n\nb\n"),
        ("- - -\n", "***\n"),
        ("a  \nb\n", "a\\\nb\n"),
        ("~~~py\nx\n\n\n\ny\n~~~\n", "```py\nx\n\n\n\ny\n```\n"),
        ("|a|b|\n|:-|-:|\n|1|2\\|3|4|\n", "| a | b |\n| :--- | ---: |\n| 1 | 2\\|3 | 4 |\n"),
        ("[x] and [y][x]\n\n[x]: http://a.b 'T'\n[unused]: http://c.d\n", None),
        ("text[^1]\n\n[^1]: A footnote of several words\n", None),
        ("[^1]: Word\n", None),
        ("<div>\n\n*x*\n\n</div>\n", None),
        ("- a\n\n* b\n", None),
        ("snake_case 2*3*4 [link](http://a.b/c_d)\n", None),
        ("+ 3 % in the north\n+ 4 % in the south\n", None),
        ("* a\n  + b\n  + c\n", None),
        ("31    520 kg\t410 kg *a*  b\n", None),
        ("Inline $x_{i}^{*}$ and \\(a_b\\), price $5 to $9.\n", None),
        ("$$\na &= b \\\\\n+ c\n= d\n$$\n", None),
        ("- a $\\frac{a_1}{b_2}$\n  $$x_1$$\n", None),
        ("| a | b |\n| --- | --- |\n| $x_{1}*y$ | 2   3 |\n", None),
        ("\\$x_1\\$ is no formula, 10\\^3\\^ not raised\n", None),
        ("[^1]: First of two paragraphs\n\n    *Second* paragraph\n\n    - with a list\n", None),
        ("[^1]: Word\n\n    and a paragraph\n", None),
        ("31\n520 kg\n===\n", None),
        ("\\begin{equation}\na_1 &= b*c \\\\\nx^{2}_{i}\n\\end{equation}\n", None),
        ("[[Wiki_page|Link]] and ^[a note *here*]\n", None),
        (":::note\n\ntext\n\n- a\n:::\n", None),
        ("overall `over- all` of it\n", None),
    ],
)
def test_normal_form(improve: Any, before: str, after: str | None) -> None:
    assert text_of(improve(before)) == (before if after is None else after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("schÃ¶n fÃ¼r â€œalleâ€\x9d\n", "schön für “alle”\n"),
        ("ﬁne ﬂow\n", "fine flow\n"),
        ("infor\u00admation zero\u200bwidth\n", "information zerowidth\n"),
        ("e\u0301\n", "é\n"),
        ("“curly” ＡＢＣ &amp; 1ˢᵗ\n", "“curly” ＡＢＣ & 1ˢᵗ\n"),
        ("می\u200cخواهم\n", "می\u200cخواهم\n"),
    ],
)
def test_wrong_decodings_are_repaired_and_spelling_is_not_touched(improve: Any, before: str, after: str) -> None:
    assert text_of(improve(before)) == after


def test_plain_text_has_its_form_from_stage_1(improve: Any) -> None:
    text = "Title\n\\=====\ninformation infor-\nmation __x__\n\n```text\n31   520\n```\n"
    header = HEADER.replace("type: pdf", "type: txt")
    output = improve(f"{header}{text}schÃ¶n\n")
    assert text_of(output) == f"{header}{text}schön\n"
    assert output.warnings == ()


def test_repairs_can_be_switched_off(improve: Any) -> None:
    assert "schÃ¶n" in text_of(improve("schÃ¶n\n", repair_encoding=False))


def test_cut_words_are_joined_only_where_the_whole_word_stands_elsewhere(improve: Any) -> None:
    text = (
        "All information counts. The infor- mation and the infor-\nmation of pre- and post-war times, well-\nknown.\n"
    )
    output = improve(text)
    assert (
        text_of(output)
        == "All information counts. The information and the information of pre- and post-war times, well-\nknown.\n"
    )
    assert output.metadata["joined_words"] == 2
    assert "infor- mation" in text_of(improve(text, join_hyphenated_words=False))


@pytest.mark.parametrize(
    "text",
    [
        "`infor- mation` information\n\n```\ninfor- mation\n```\n",
        "# The infor-\nmation of information\n",
        "Infor- Mation information\n",
        "infor- mation, infor-mation, information\n",
    ],
)
def test_doubtful_cuts_stay(improve: Any, text: str) -> None:
    assert improve(text.replace("`infor- mation` ", "")).metadata["joined_words"] == 0


def pages(head: str, foot: str, count: int = 4) -> str:
    bodies = [f"Paragraph {word} of the report." for word in ("one", "two", "three", "four", "five", "six")]
    return "\n\n".join(f"{head}\n\n{bodies[n]}\n\n{foot.format(n + 1)}" for n in range(count)) + "\n"


@pytest.mark.parametrize("foot", ["Page {}", "{}", "- {} -", "{} / 4", "Seite {} von 4", "p. {}"])
def test_running_heads_and_page_numbers_of_a_pdf_go(improve: Any, foot: str) -> None:
    output = improve(HEADER + pages("ACME confidential", foot))
    body = text_of(output).removeprefix(HEADER)
    assert body.count("ACME confidential") == 1  # its words stay in the document
    assert body.split("\n\n")[1:] == [f"Paragraph {word} of the report." for word in ("one", "two", "three")] + [
        "Paragraph four of the report.\n"
    ]
    assert output.metadata["removed_running_lines"] == 3 + 4


@pytest.mark.parametrize(
    "text",
    [
        HEADER + pages("Exercise {}", "Done").replace("Done", "Answer:").format(1, 2, 3, 4),
        HEADER + pages("## Summary", "- item"),
        HEADER + "yes\n\nyes\n\nyes\n\nyes\n",
        HEADER + "7\n\n3\n\n9\n\n1\n",
        HEADER.replace("pages: 4", "pages: 2") + pages("ACME", "Page {}", 2),
        HEADER.replace("type: pdf", "type: docx") + pages("ACME", "Page {}"),
        HEADER + "```\n" + pages("ACME", "Page {}") + "```\n",
        pages("ACME", "Page {}"),
    ],
    ids=["labels", "headings", "equal lines", "loose numbers", "two pages", "word", "code", "no header"],
)
def test_what_may_be_content_stays(improve: Any, text: str) -> None:
    output = improve(text)
    assert output.metadata["removed_running_lines"] == 0
    assert words(text_of(output)) == words(text)


def test_a_piece_that_would_lose_words_stays_as_it_was(improve: Any) -> None:
    quote = "> [b]: http://lost.example\n> [b] text"  # the formatter drops definitions inside of quotes
    output = improve(f"Title\n=====\n\n{quote}\n\n*  list\n")
    assert text_of(output) == f"# Title\n\n{quote}\n\n* list\n"
    assert output.metadata["guard"] == "kept-original"
    assert output.metadata["words_before"] == output.metadata["words_after"]
    assert output.metadata["pieces"] == 3
    assert output.warnings == ("1 passage left unformatted to keep its words",)


def test_deeply_nested_lists_keep_every_item(improve: Any) -> None:
    nested = "".join(f"{'  ' * level}- level{level}\n" for level in range(25))
    output = improve(nested)
    assert words(text_of(output)) == words(nested)


@pytest.mark.parametrize(
    "hostile",
    [
        "> " * 5_000 + "deep\n",
        "- " * 3_000 + "deep\n",
        "[" * 60_000 + "words\n",
        "![" * 30_000 + "words\n",
        "*a " * 30_000 + "\n",
        "*_" * 40_000 + "words\n",
        "`a ``" * 20_000 + "\n",
        "<a " * 30_000 + "\n",
        "- a\n" * 20_000,
        "| a | b |\n| - | - |\n" + "| x | y |\n" * 20_000,
        "| " * 50_000 + "\n",
        "word" * 100_000 + "\n",
        "&amp;" * 20_000 + "\n",
    ],
    ids=range(13),
)
def test_hostile_markdown_takes_bounded_time_and_keeps_its_words(improve: Any, hostile: str) -> None:
    started = time.thread_time()
    output = improve(hostile)
    assert time.thread_time() - started < 15
    assert words(text_of(output)) == words(hostile)


def test_large_texts_get_the_repairs_only(improve: Any) -> None:
    output = improve("Title\n=====\n\n\n\n\nschÃ¶n\n", max_format_bytes=10)
    assert text_of(output) == "Title\n=====\n\nschön\n"
    assert output.metadata["guard"] == "skipped"
    assert "max_format_bytes" in output.warnings[0]


def test_an_empty_body_stays_empty(improve: Any) -> None:
    assert text_of(improve("")) == ""
    assert text_of(improve("---\ntitle: x\n---\n")) == "---\ntitle: x\n---\n"


def test_failures_of_the_formatter_leave_the_text_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> tuple[str, str]:
        raise RecursionError

    monkeypatch.setattr(formatting._Formatter, "_render", fail)
    formatted = format_markdown("*  a\n\nb\n")
    assert formatted.text == "*  a\n\nb\n"
    assert formatted.kept_for_proof == 2


def test_words_are_counted_without_markup_case_and_spelling_of_entities() -> None:
    assert words("**Snake_case** &amp; caf&eacute; 1.") == {"snake": 1, "case": 1, "café": 1, "1": 1}


def test_options_describe_themselves() -> None:
    schema = OptimizeOptions.model_json_schema()
    assert all("description" in field for field in schema["properties"].values())
    assert (OPTIMIZE.number, OPTIMIZE.name, OPTIMIZE.suffix) == (2, "markdown-optimizer", ".opt.md")
