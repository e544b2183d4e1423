"""What the page makes of text of a document: Markdown as harmless HTML, passages in pieces, words for numbers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from lxml import html

from waybill.gateway.pages import words
from waybill.gateway.pages.markdown_preview import MOST_CHARS, preview
from waybill.gateway.pages.passages import pieces_of

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](&#106;avascript:alert(1))",
    "[a](java\nscript:alert(1))",
    "[a](data:text/html;base64,PHNjcmlwdD4=)",
    "![a](data:image/svg+xml;base64,PHN2Zz4=)",
    "![a](http://evil.example/pixel.png)",
    "![a\" onload=\"alert(1)](x)",
    "[a](vbscript:x)",
    "[a](file:///etc/passwd)",
    "[a](/sign-out)",
    "[a](//evil.example)",
    "[a](https://evil.example/\"onmouseover=alert(1))",
    "[a]: javascript:alert(1)\n\n[a]",
    "<javascript:alert(1)>",
    "```html\" onclick=alert(1)\n<script>alert(1)</script>\n```",
    "<!--><script>alert(1)</script>-->",
    "| a |\n|:-:|\n| <style>*{display:none}</style> |",
    "# <b onclick=alert(1)>x</b>",
    "<https://evil.example/<script>>",
]  # fmt: skip
ALLOWED = {
    "div", "p", "h3", "h4", "h5", "h6", "a", "em", "strong", "s", "code", "pre", "ul", "ol", "li", "blockquote", "hr",
    "br", "table", "thead", "tbody", "tr", "th", "td", "span",
}  # fmt: skip


@pytest.mark.parametrize("markdown", HOSTILE)
def test_nothing_in_a_document_runs_or_loads_or_leads_into_the_page(markdown: str) -> None:
    tree = html.fragment_fromstring(preview(markdown), create_parent="div")
    for element in tree.iter():
        assert element.tag in ALLOWED, markdown
        assert set(element.attrib) <= {"href", "rel", "class", "start", "title"}, element.attrib
        if "href" in element.attrib:
            assert element.get("href", "").startswith(("http://", "https://", "mailto:"))
            assert element.get("rel") == "noopener noreferrer nofollow"


def test_the_header_in_front_of_the_text_is_left_out() -> None:
    assert preview("---\ntitle: A\n---\n\n# A\n") == "<h3>A</h3>\n"
    assert "<hr" in preview("A\n\n---\n\nB\n\n---\n")


def test_what_a_document_says_is_shown() -> None:
    shown = preview(
        "# Title\n\nA [link](https://example.org/a), **bold**.\n\n![a map](m.png)\n\n|a|b|\n|:-:|-:|\n|1|2|\n"
    )
    assert "<h3>Title</h3>" in shown and '<a href="https://example.org/a" rel="noopener' in shown
    assert "[picture: a map]" in shown and '<th class="center">a</th>' in shown and "style=" not in shown


@pytest.mark.parametrize("odd", ["[" * 10**6, "*a " * 10**6, "<" * 10**6, "- " * 10**6, ">" * 10**6, "|a" * 10**6])
def test_long_odd_text_is_bounded(odd: str) -> None:
    assert len(preview(odd)) < 50 * MOST_CHARS


def test_pieces_of_a_passage_have_its_marks_and_its_sentence() -> None:
    text = "The bridge is old. The pump was replaced in May. It works."
    sentence, marks = [19, 48], [[23, 27], [32, 40]]
    pieces = pieces_of(text, sentence, marks)
    assert "".join(piece.text for piece in pieces) == text
    assert [piece.text for piece in pieces if piece.is_mark] == ["pump", "replaced"]
    assert "".join(piece.text for piece in pieces if piece.in_sentence) == "The pump was replaced in May."


@pytest.mark.parametrize("sentence", [[0, 0], [5, 10**9], [-5, 3], [], [9, 2]])
def test_odd_positions_lose_no_text(sentence: list[int]) -> None:
    text = "<b>short</b> text"
    assert "".join(piece.text for piece in pieces_of(text, sentence, [[-1, 4], [3, 99], [7, 2]])) == text


def test_a_passage_is_shown_without_the_signs_of_markdown() -> None:
    text = "## Who\n- **From:** Ada \\<ada@example.org>, 2 * 3 = 6"
    (piece,) = pieces_of(text, [0, len(text)], [])
    assert piece.text == "Who\n- From: Ada <ada@example.org>, 2 * 3 = 6"


def test_the_marks_of_a_passage_are_where_its_words_are_shown() -> None:
    text = "| Pump | **Replaced** |\n| --- | --- |\n| [north pump](https://pump.example) | *May* 2026 |\n"
    row = text.index("| [north"), len(text) - 1
    marks = [(at, at + 4) for at in (text.index("north pump") + 6, text.index("//pump") + 2)]
    pieces = pieces_of(text, row, marks)
    assert "".join(piece.text for piece in pieces) == "Pump · Replaced\nnorth pump · May 2026"
    assert [piece.text for piece in pieces if piece.is_mark] == ["pump"]
    assert "".join(piece.text for piece in pieces if piece.in_sentence) == "north pump · May 2026"


def test_a_long_passage_is_cut_around_its_sentence() -> None:
    text = "word " * 500 + "The answer is 42." + " word" * 500
    start = text.index("The answer")
    pieces = pieces_of(text, [start, start + 17], [[start + 14, start + 16]])
    shown = "".join(piece.text for piece in pieces)
    assert shown.startswith("… ") and shown.endswith(" …") and "The answer is 42." in shown and len(shown) < 700
    assert [piece.text for piece in pieces if piece.is_mark] == ["42"]


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (563_383, "563.4 kB"), (10**15, "1.0 PB")],
)
def test_sizes_have_units(count: int, shown: str) -> None:
    assert words.size(count) == shown


def test_times_have_seconds_and_a_zone() -> None:
    assert words.moment("2026-03-01T12:00:05+01:00") == "2026-03-01 11:00:05 UTC"
    assert words.moment(None) == "not known" == words.from_now(None)
    assert words.from_now(datetime(2020, 1, 1, tzinfo=UTC)).endswith(" days ago")
    assert words.counted(1, "page") == "1 page" and words.counted(2500, "entity", "entities") == "2,500 entities"
    assert words.media_type("application/pdf") == "PDF document" == words.media_type("pdf")
    assert words.language("de-CH") == "German" and words.language("xx") == "xx"


def test_backticks_of_the_description_become_code_and_nothing_else_becomes_html() -> None:
    assert words.with_code("Name it with `file_id`.") == "Name it with <code>file_id</code>."
    assert words.with_code("`<b>` & <i>") == "<code>&lt;b&gt;</code> &amp; &lt;i&gt;"
    assert words.with_code("one ` alone <") == "one ` alone &lt;"
    assert words.with_code("") == ""
