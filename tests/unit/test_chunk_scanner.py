"""Blocks of Markdown: the same headings that a full CommonMark parser finds, and no line lost."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.chunking.front_matter import MAX_HEADER_CHARACTERS, read_front_matter
from tasks.text.scanner import Block, scan_blocks


def kinds(text: str) -> list[str]:
    return [block.kind for block in scan_blocks(text)]


def titles(text: str) -> list[tuple[int, str]]:
    return [(block.level, block.title) for block in scan_blocks(text) if block.kind == "heading"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# One\n## Two ##\n### C#\n", [(1, "One"), (2, "Two"), (3, "C#")]),
        ("One\n===\nTwo\nlines\n---\n", [(1, "One"), (2, "Two lines")]),
        ("   # three spaces\n", [(1, "three spaces")]),
        ("#hashtag\n\n####### seven\n\n    # code\n", []),
        ("```\n# code\n```\n# after\n", [(1, "after")]),
        ("~~~ md\n```\n# code\n~~~~\n# after\n", [(1, "after")]),
        ("<!--\n# comment\n-->\n# after\n", [(1, "after")]),
        ("<pre>\n# code\n\n# code\n</pre>\n# after\n", [(1, "after")]),
        ("- item\n\n  # in the item\n\n# after\n", [(1, "after")]),
        ("> # quoted\n\n# after\n", [(1, "after")]),
        ("text\n# after text\n", [(1, "after text")]),
        ("#\n# \n", [(1, ""), (1, "")]),
        ("***\n---\n- - -\n", []),
        ("# Mac\rtext\r\n# Windows\r\n", [(1, "Mac"), (1, "Windows")]),
    ],
)
def test_headings_are_found_where_commonmark_has_them(text: str, expected: list[tuple[int, str]]) -> None:
    assert titles(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\n\nc\n", ["paragraph", "paragraph"]),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n", ["table"]),
        ("text above\n| a | b |\n|---|:-:|\n| 1 | 2 |\n\nafter", ["paragraph", "table", "paragraph"]),
        ("a | b\n--- | ---\n1 | 2\n", ["table"]),
        ("| a | b |\n|---|\n", ["paragraph"]),
        ("- a\n- b\n\n- c\n\nafter\n", ["list", "paragraph"]),
        ("1. a\n   more\n\n   still\n2. b\nlazy\n", ["list"]),
        ("text\n1986. A year\n", ["paragraph"]),
        ("> a\nlazy\n\nb\n", ["quote", "paragraph"]),
        ("    code\n\n    more\ntext\n", ["code", "paragraph"]),
        ("text\n    not code\n", ["paragraph"]),
        ("```py\nx\n", ["code"]),
        ("``` `inline` ```\n", ["paragraph"]),
        ("<div>\ntext\n</div>\n\nafter\n", ["html", "paragraph"]),
        ('<a id="x"></a>\n# after\n', ["paragraph", "heading"]),
        ("", []),
        (" \n\t\n\u3000\n", []),
    ],
)
def test_blocks_have_their_kind(text: str, expected: list[str]) -> None:
    assert kinds(text) == expected


LINES = st.sampled_from(
    [
        "",
        "",
        "text",
        "more text",
        "# H",
        "## H ##",
        "===",
        "---",
        "- item",
        "  inside",
        "    deep",
        "1. one",
        "2) two",
        "> quote",
        "```",
        "~~~",
        "| a | b |",
        "|---|---|",
        "* * *",
        "<div>",
        "</div>",
        "<!-- x",
        "x -->",
        "<b>x</b>",
    ]
)


@given(st.lists(LINES, max_size=14).map("\n".join))
def test_every_line_that_is_not_blank_is_in_exactly_one_block(text: str) -> None:
    blocks = list(scan_blocks(text))
    assert all(before.end <= after.start for before, after in pairwise(blocks))
    assert outside(text, blocks).isspace() or not outside(text, blocks)
    assert all(text[block.end - 1 : block.end].strip() or block.kind in ("code", "html") for block in blocks)


def outside(text: str, blocks: list[Block]) -> str:
    ends = [0, *(block.end for block in blocks)]
    starts = [*(block.start for block in blocks), len(text)]
    return "".join(text[end:start] for end, start in zip(ends, starts, strict=True))


PARSER = MarkdownIt("commonmark").enable("table")
PARSER.core.ruler.disable("inline")
# What a writer of Markdown would put between blank lines. Within such blocks the two must agree in every combination.
BLOCKS = st.sampled_from(
    [
        "text",
        "two\nlines",
        "# One",
        "## Two ##",
        "Under\n===",
        "Line\n---",
        "- a\n- b",
        "- a\n\n  # inner\n- b",
        "1. a\n2. b",
        "```\n# code\n\n- x\n```",
        "~~~\ncode\n~~~",
        "    # indented",
        "> quote\n> # inner",
        "> lazy\nline",
        "***",
        "a|b\n-|-\n1|2",
        "text\n| a |\n|---|\n| b |",
        "<div>\n# html\n</div>",
        "<!-- c\n\n# c -->",
        "<b>bold</b>\ntext",
        "[x](y)\n# T",
        "- x\n***",
    ]
)


@given(st.lists(BLOCKS, max_size=10).map("\n\n".join))
def test_headings_agree_with_a_full_parser(text: str) -> None:
    expected = [
        (token.map[0], int(token.tag[1]))
        for token in PARSER.parse(text)
        if token.type == "heading_open" and token.level == 0 and token.map
    ]
    found = [(text.count("\n", 0, block.start), block.level) for block in scan_blocks(text) if block.kind == "heading"]
    assert found == expected


@pytest.mark.parametrize(
    ("text", "body", "fields"),
    [
        ("---\ntitle: A\npages: 3\n---\nbody", "body", {"title": "A", "pages": "3"}),
        ("\ufeff---\r\ntitle: A\r\n---\r\nbody", "body", {"title": "A"}),
        ("---\ntitle: 'A: b'\ncreated: 2024-01-01\n...\nbody", "body", {"title": "A: b", "created": "2024-01-01"}),
        ("---\ntitle: null\nlanguage: ~\nsource: ''\n---\nbody", "body", {}),
        ("---\n---\nbody", "body", {}),
        ("---\ntitle: !!python/object/apply:os.system [x]\nauthor: x\n---\nbody", "body", {}),
        ('---\ntitle: "a\\ud800\\0b"\n---\n', "", {"title": "a b"}),
        ("---\n- no\n- mapping\n---\nbody", None, {}),
        ("---\ntitle: 'open\n---\nbody", None, {}),
        ("---\ntitle: A\n", None, {}),
        ("---\n" + "[" * 9000 + "\n---\nbody", None, {}),
        ("---\nx: " + "y" * MAX_HEADER_CHARACTERS + "\n---\nbody", None, {}),
        ("----\ntitle: A\n---\n", None, {}),
        ("text\n---\ntitle: A\n---\n", None, {}),
    ],
)
def test_a_header_is_read_or_left_to_the_text(text: str, body: str | None, fields: dict[str, str]) -> None:
    header = read_front_matter(text)
    assert header.fields == fields
    assert text[header.body_start :] == (text.lstrip("\ufeff") if body is None else body)


def test_pages_are_a_number_or_unknown() -> None:
    values = {"3": 3, "'12'": 12, "-1": None, "many": None, "[1]": None, "9" * 50: None, "١٢": None}
    assert {value: read_front_matter(f"---\npages: {value}\n---\n").pages for value in values} == values


def test_a_text_that_begins_inside_a_code_block_is_read_as_such() -> None:
    text = "# no heading\n31    520\n```\n# Heading\n"
    found = [(block.kind, block.is_layout) for block in scan_blocks(text, inside="```text")]
    assert found == [("code", True), ("heading", False)]
    assert [block.kind for block in scan_blocks("```\nText\n", inside="```python")] == ["code", "paragraph"]


def test_further_paragraphs_of_a_footnote_are_text() -> None:
    text = "[^1]: One\n\n    Two\n\n    Three\n\nText\n\n    code\n"
    assert kinds(text) == ["paragraph", "paragraph", "paragraph", "paragraph", "code"]
