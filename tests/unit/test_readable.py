"""What a person reads of a Markdown passage: no sign of Markdown, and every character has its place."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.text.formulas import FORMULA
from tasks.text.inline import shown
from tasks.text.readable import readable

READ = {
    "## Who\n- **From:** Ada \\<ada@example.org>, 2 * 3 = 6": "Who\n- From: Ada <ada@example.org>, 2 * 3 = 6",
    "# **H** #\nT\n===\n\n---\n1. a\n\n   b *c*": "H\nT\n\n1. a\n\n   b c",
    "| a | **b** c |\n|---|:--:|\n| x\\|y | [t](http://u 'ti') |  | 3<br>4 |\n": "a · b c\nx|y · t · 3 4",
    "| a row of *a* table | without its head |": "a row of a table · without its head",
    "`code * x`, `` a`b ``, &amp; &copy;": "code * x, a`b, & ©",
    "![a *map*](m.png) [a **link**](https://x.example/a_b 'title')!": "a map a link!",
    "<https://x.example/ä> and <b@x.example>": "https://x.example/ä and b@x.example",
    "[x](javascript:alert(1)) <script>": "x <script>",
    "> *quoted\n> lines* here\n> ```text\n> x*y*z\n> ```": "quoted\nlines here\nx*y*z",
    "x\n\n```python\na = b*c*d\n```\ny *a*\n": "x\n\na = b*c*d\ny a",
    "a = b*c*d\n```\ny *a*": "a = b*c*d\ny a",
    "$a*b*c$ \\(a\\_b\\) snake_case *x* costs $5 to $6": "$a*b*c$ \\(a\\_b\\) snake_case x costs $5 to $6",
    "~~10~~ 5": "~~10~~ 5",
    "two  \nlines\\\nand *one*": "two\nlines\nand one",
    "**open and [open](": "**open and [open](",
    "": "",
}


@pytest.mark.parametrize("markdown", READ)
def test_signs_of_markdown_are_not_shown(markdown: str) -> None:
    assert readable(markdown).text == READ[markdown]


_WORDS = st.text(alphabet="abcxyzäß日", min_size=1, max_size=4)
_FORMATS = ("{}", "*{}*", "**{}**", "__{}__", "***{}***", "`{}`", "[{}](http://{}.example/x)", "[**{}**]({} '{}')",
            "![{}]({}.png)", "\\*{}\\*", "&lt;{}&gt;", "<br>{}", "$x$ {}", "<http://x.example> {}")  # fmt: skip
_LINES = ("{}\n", "# {}\n", "## {} ##\n", "- {}\n", "12. {}\n", "> {}\n", "> - {}\n", "| {} | x |\n|---|--:|\n",
          "| *x* | {} |\n", "```\n*x*\n```\n{}\n", "---\n\n{}\n", "{}\n===\n")  # fmt: skip


@given(st.lists(st.tuples(_WORDS, st.sampled_from(_FORMATS), st.sampled_from((" ", "\n"))), min_size=1),
       st.lists(st.sampled_from(_LINES), min_size=1))  # fmt: skip
def test_a_marked_word_is_marked_where_it_is_shown(parts: list[tuple[str, str, str]], lines: list[str]) -> None:
    markdown, spans = "", list[tuple[int, int, str]]()
    for number, (word, form, between) in enumerate(parts):
        name = f"{word}{number}"
        line = lines[number % len(lines)] if between == "\n" else "{} "
        before, _, after = line.partition("{}")
        written = form.replace("{}", name)
        at = len(markdown) + len(before) + written.index(name)
        spans.append((at, at + len(name), name))
        markdown += f"{before}{written}{after}"
    shown = readable(markdown)
    for start, end, name in spans:
        assert shown.text[slice(*shown.span(start, end))] == name
    assert shown.text[slice(*shown.span(0, len(markdown)))] == shown.text


_ANY = st.one_of(
    st.text(alphabet='ab \n-*_#>`|[]()\\<&1.~!:=+\t"$', max_size=80),
    st.lists(st.sampled_from(["a", " ", "\n", *"*_`[]()!<>\\&|#", "**", "](u)", "![", "&amp;", "<br>", "```"])).map(
        "".join
    ),
    st.text(max_size=40),
)
# Signs that another character, or a blank, is shown for: entities, line breaks, ends of cells.
_STAND_FOR_OTHERS = "&<|\\\n"


@given(_ANY)
@example("|1\\")
@example("1 \n1")
def test_what_is_shown_is_in_the_text_at_its_place_and_in_order(markdown: str) -> None:
    shown = readable(markdown)
    assert len(shown.places) == len(shown.text) and shown.places == sorted(shown.places)
    for character, place in zip(shown.text, shown.places, strict=True):
        assert character == markdown[place] or markdown[place] in _STAND_FOR_OTHERS


def _as_markdown_it_reads(markdown: str) -> str:
    tokens = MarkdownIt("commonmark").parseInline(markdown)[0].children or []
    described = (child.children or [child] for child in tokens)
    return "".join("\n" if one.type.endswith("break") else one.content for some in described for one in some)


@given(st.text(alphabet="ab *_`[]()!\\\n&;lt", max_size=60).map(str.strip))
def test_inline_markdown_means_what_commonmark_says(markdown: str) -> None:
    assume(FORMULA.search(markdown) is None)
    expected = _as_markdown_it_reads(markdown)
    found = "".join(character for character, _ in shown(markdown))
    assert [line.strip() for line in found.split("\n")] == [line.strip() for line in expected.split("\n")]


@pytest.mark.parametrize(
    "odd", ["[" * 3900, "![" * 1900, "![" * 600 + "](u)" * 600, "*a " * 9000, ">" * 10**5, "|" * 10**5]
)
def test_hostile_text_is_shown(odd: str) -> None:
    shown = readable(odd)
    assert shown.places == sorted(shown.places)
