"""Properties of stage 2 over generated Markdown: it is idempotent, and it changes neither words nor meaning."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.optimization.formatting import format_markdown
from tasks.optimization.proof import words
from tests.unit import conversion_samples as samples

_FRAGMENTS = [
    *("# H\n", "## H 2 ##\n", "text words here\n", "a*b*c **d** _e_ f_g_h\n", "Title\n===\n", "- a\n", "  - d\n"),
    *("* x\n", "+ y\n\n", "1. one\n", "2. two\n", "7) seven\n", "1.  wide\n\n    more\n", "10. ten\n11. eleven\n"),
    *("1. a\n1. b\n", "> quote\n", "> > nested\n", "> - l\n", "```\ncode\n\n\n  x\n```\n", "~~~py\nz\n~~~\n", "```\n"),
    *("    indented\n", "   three\n", "| a | b |\n| --- | :-: |\n| 1 | 2 |\n", "a | b\n--|--\n1 | 2 | 3\n", "---\n"),
    *("***\n", "===\n", "\n", "\n\n\n", '[l]: http://x "t"\n', "[l]\n", "[t][l] ![i](u)\n", "[^1]: note\n", "x[^1]\n"),
    *("<div>\n", "</div>\n", "<!-- c\n\n d -->\n", "<b>h</b>\n", "&amp; &lt; &nbsp;\n", "a  \nb\n", "a\\\nb\n"),
    *("\\# no\n", "infor-\nmation\n", "information infor- mation\n", "schÃ¶n\n", "a\u00adb \u200b\n", "\t- tab\n"),
    *("- [ ] t\n", "- [x] u\n", "http://a.b/c_d\n", "<http://x.y>\n", "#\n", "-\n", "1.\n", ">\n", "``` a`b\n"),
    *("`code` ``c`d``\n", "*  *\n", "__a__b\n", "~~s~~\n", "日本語\n", "- \n\n  x\n", "e\u0301\n", "a\tb\n", "|\n"),
    *(
        "+ 3 %\n",
        "31    520 kg\n",
        "$x_{i}^{*}$ costs $5 to $6\n",
        "$$\na\n+ b\n$$\n",
        "\\$x_1\\$ \\(a_b\\)\n",
        "± 5 – -3\n",
    ),
    *(
        "[^2]: note\n\n    more *x*\n",
        "10^3^ H~2~O\n",
        "a\n10\n20\n",
        "| $|x|$ | b |\n|--|--|\n",
        "* \\* x\n",
        "x  ~~y  z~~\n",
    ),
    *("Page 1\n\n", "Page 2\n\n", "Page 3\n\n", "ACME\n\n", "\x0c", "<a\n", "\\\n", "  \n", "_ _\n", "\u2028"),
]
_MARKDOWN = st.one_of(
    st.lists(st.sampled_from(_FRAGMENTS), max_size=14).map("".join),
    st.text(alphabet='ab \n\n-*_#>`|[]()\\<&1.~!:=+\t"x', max_size=60),
    st.text(max_size=40),
)
_HEADERS = st.sampled_from(["", "---\ntitle: x\n---\n\n", "---\ntitle: x\ntype: pdf\npages: 3\n---\n\n"])
_QUICK = settings(max_examples=150)


@_QUICK
@given(header=_HEADERS, body=_MARKDOWN)
def test_optimising_the_optimised_text_changes_nothing(header: str, body: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.md"
        once = samples.optimize(path, (header + body).encode("utf-8", "replace").decode()).content
        assert samples.optimize(path, once.decode()).content == once


@_QUICK
@given(body=_MARKDOWN)
def test_formatting_loses_no_word(body: str) -> None:
    text = body.encode("utf-8", "replace").decode()
    before, after = words(text), words(format_markdown(text).text)
    numbers = {word for word in before | after if word.isdigit()}  # lists numbered 1. 1. 1. are counted up
    assert {w: n for w, n in before.items() if w not in numbers} == {w: n for w, n in after.items() if w not in numbers}


@_QUICK
@given(
    body=st.lists(
        st.sampled_from([f for f in _FRAGMENTS if not re.search(r"[\x0c\u2028]|\$[$|]", f)]), max_size=14
    ).map("".join)
)
def test_formatting_keeps_the_meaning(body: str) -> None:
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    before, after = html.render(body), html.render(format_markdown(body).text)
    assert _trimmed(after) == _trimmed(before)


def _trimmed(html: str) -> str:
    """Return *html* without what nobody sees at the end of a piece: blanks, and empty lines of an open code block."""
    return re.sub(r"\s+</code>", "</code>", re.sub(r" +$", "", html, flags=re.MULTILINE))
