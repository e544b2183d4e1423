"""Properties of stages 1 to 4 over generated plain texts and Markdown: text in is text out, with exact places."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.chunk import CHUNK
from tasks.contract import SOURCE, DocumentInfo, Services, StageInput
from tasks.conversion.plain.markdown import plain_to_markdown
from tasks.convert import CONVERT
from tasks.facts import FACTS
from tasks.optimization.formatting import format_markdown
from tasks.optimize import OPTIMIZE
from tasks.text.formulas import DOLLAR_FORMULA
from tests.unit.test_plain_markdown import lines_of, lines_read

_FEW = settings(max_examples=60)
_WORDS = st.sampled_from(
    [
        *("the", "rack", "bar", "31", "520", "48,000", "+", "-", "±", "<", ">", "=", "%", "€", "$5", "24 euros"),
        *("3 June 2024", "m²", "½", "10^3", "*star*", "_low_", "`code`", "[x]", "(y)", "a<b", "AT&T", "~5", "#12"),
        *("C:\\x", "1.", "2)", "•", "|", "||", "http://a.b/c_d", "ada@example.org", "Dr. Keeper", "é", "ß", "車", "−3"),
        *("–", "7-3", "x^2^", "H~2~O"),
    ]
)
_LINES = st.lists(_WORDS, min_size=1, max_size=12).flatmap(
    lambda words: st.lists(
        st.sampled_from([" ", " ", " ", "  ", "    ", "\t"]), min_size=len(words), max_size=len(words)
    ).map(lambda gaps: "".join(word + gap for word, gap in zip(words, gaps, strict=True)).rstrip())
)
_INDENTS = st.sampled_from(
    ["", "", "", "  ", "    ", "\t", "- ", "* ", "+ ", "1. ", "# ", "> ", "---\n", "===\n", "```\n"]
)
_TEXTS = st.lists(st.one_of(st.tuples(_INDENTS, _LINES).map("".join), st.just("")), min_size=1, max_size=14).map(
    "\n".join
)
_BLOCKS = st.one_of(
    st.tuples(st.sampled_from(["# ", "## ", "### "]), _LINES).map("".join),
    st.lists(_LINES, min_size=1, max_size=4).map("\n".join),
    st.lists(
        st.tuples(st.sampled_from(["- ", "* ", "+ ", "1. ", "7. ", "  - "]), _LINES).map("".join),
        min_size=1,
        max_size=4,
    ).map("\n".join),
    st.lists(_LINES, min_size=1, max_size=3).map(lambda lines: "```\n" + "\n".join(lines) + "\n```"),
    st.lists(_LINES, min_size=1, max_size=3).map(lambda lines: "\n".join("> " + line for line in lines)),
    st.lists(st.tuples(_WORDS, _WORDS), min_size=1, max_size=3).map(
        lambda rows: "| a | b |\n| --- | --- |\n" + "\n".join(f"| {a} | {b} |" for a, b in rows)
    ),
    st.sampled_from(
        ["$$\na_1 &= b \\\\\n+ c\n$$", "a  \nb", "Title\n===", "[^1]: note\n\n    more", "***", "<div>\nx\n</div>"]
    ),
)
_MARKDOWN = st.lists(_BLOCKS, min_size=1, max_size=6).map("\n\n".join)


def _stages(name: str, content: bytes) -> tuple[dict[str, str], list[str]]:
    """Return the outputs of the stages by name, and their warnings."""
    document = DocumentInfo(name=name, sha256="a" * 64, size_bytes=len(content), media_type="", source=f"/{name}")
    texts, warnings = dict[str, str](), list[str]()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / name
        source.write_bytes(content)
        files = {SOURCE: source}
        options: dict[str, dict[str, Any]] = {CHUNK.name: {"embeddings": False, "max_tokens": 40, "min_tokens": 5}}
        options[FACTS.name] = {"method": "extractive"}
        stages: list[Any] = [CONVERT, OPTIMIZE, CHUNK, FACTS]
        for stage in stages:
            made: Any = stage.run(
                StageInput(document=document, files=dict(files), services=Services(home=Path(folder))),
                stage.options(**options.get(stage.name, {})),
            )
            files[stage.name] = Path(folder) / stage.name
            files[stage.name].write_bytes(made.content)
            texts[stage.name] = made.content.decode()
            warnings += made.warnings
    return texts, warnings


def _assert_places_are_exact(texts: dict[str, str]) -> None:
    markdown = texts[OPTIMIZE.name]
    chunks = {chunk["id"]: chunk for chunk in json.loads(texts[CHUNK.name])["chunks"]}
    for chunk in chunks.values():
        assert markdown[chunk["start"] : chunk["end"]] == chunk["text"]
    facts = json.loads(texts[FACTS.name])
    mentions = [mention for entity in facts["entities"] for mention in entity["mentions"]]
    for one in [*facts["facts"], *mentions]:
        assert chunks[one["chunk_id"]]["text"][one["start"] : one["end"]] == one["quote"]


@_FEW
@given(_TEXTS)
def test_a_plain_text_comes_out_line_by_line(text: str) -> None:
    text = f"Words\n\n{text}"
    texts, warnings = _stages("a.txt", text.encode())
    body = texts[OPTIMIZE.name].partition("\n---\n\n")[2]
    assert lines_read(body) == lines_of(text)
    assert warnings == []
    _assert_places_are_exact(texts)


@_FEW
@given(_MARKDOWN)
def test_a_markdown_document_keeps_every_word_sign_and_line(text: str) -> None:
    text = f"Words\n\n{text}\n"
    texts, _ = _stages("a.md", text.encode())
    body = texts[OPTIMIZE.name].partition("\n---\n\n")[2]
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    assert _shown(parser.render(body)) == _shown(parser.render(text))
    _assert_places_are_exact(texts)


def _shown(html: str) -> str:
    return re.sub(r"\n+", "\n", html)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["", "", "> ", "> > "]), _INDENTS, _LINES), max_size=10))
def test_plain_text_of_mails_is_not_changed_by_formatting(lines: list[tuple[str, str, str]]) -> None:
    markdown = plain_to_markdown("\n".join(map("".join, lines)), quotes=True)
    formatted = format_markdown(markdown)
    assert lines_read(formatted.text) == lines_read(markdown)
    assert DOLLAR_FORMULA.findall(formatted.text) == DOLLAR_FORMULA.findall(markdown)
    assert formatted.kept_for_proof == 0
