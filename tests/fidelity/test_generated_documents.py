"""Text in, text out: over generated documents of each format, stages 1 and 2 lose, add and move no word and no sign."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fidelity.written import FORMATS, words_of, words_read
from tests.unit import conversion_samples as samples
from tools.sample_writers.markup import Block, Heading, Items, Paragraph, Table

# What Markdown, numbers and programs give a meaning of their own.
_SIGNS = (
    *(
        "+",
        "-",
        "*",
        "#",
        ">",
        "|",
        "=",
        "--",
        "---",
        "===",
        "***",
        "__",
        "~~",
        "~~~",
        "```",
        "`x`",
        "\\",
        "&",
        "$",
        "^",
    ),
    *(
        "1.",
        "2)",
        "12.",
        "- 3 %",
        "+ 3 %",
        "-5",
        "±0.5",
        "−7",
        "1,234.50",
        "1.234,50",
        "31 520 kg",
        "$5",
        "$6",
        "€",
        "½",
    ),
    *(
        "10³",
        "m²",
        "<b>",
        "</p>",
        "<!--",
        "<br>",
        "&amp;",
        "&#65;",
        "[x]",
        "[ ]",
        "[a]:",
        "[1]",
        "[^1]",
        "](u)",
        "![i]",
    ),
    *("_a_", "__init__", "snake_case", "*b*", "**c**", "~d~", "a|b", "a\\b", "C:\\new", "\\*", "\\\\", "{x}", "{{y}}"),
    *(
        "http://a.b/c_d",
        "<http://x.y>",
        "a@b.c",
        "(c)",
        "...",
        "“q”",
        "l’eau",
        "Ärger",
        "東京",
        "дом",
        "fi",
        "!",
        "x-y",
    ),
)
_WORDS = st.one_of(st.sampled_from(["the", "car", "of", "31", "520", "kg", "and", "bridge"]), st.sampled_from(_SIGNS))
_TEXTS = st.lists(_WORDS, min_size=1, max_size=8).map(" ".join)
# A document without letters has no words, and is refused.
_FIRST = st.builds(Paragraph, text=_TEXTS.map(lambda text: f"The {text}"))
_BLOCKS: st.SearchStrategy[Block] = st.one_of(
    st.builds(Paragraph, text=_TEXTS),
    st.builds(Heading, level=st.integers(1, 3), text=_TEXTS),
    st.builds(Items, texts=st.lists(_TEXTS, min_size=1, max_size=3).map(tuple), numbered=st.booleans()),
    st.builds(
        Table,
        header=st.tuples(_TEXTS, _TEXTS),
        rows=st.lists(st.tuples(_TEXTS, _TEXTS), min_size=1, max_size=3).map(tuple),
    ),
)
_DOCUMENTS = st.builds(lambda first, rest: [first, *rest], _FIRST, st.lists(_BLOCKS, max_size=5))


@pytest.mark.parametrize("extension", FORMATS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(blocks=_DOCUMENTS)
def test_no_word_and_no_sign_is_lost_added_or_moved(extension: str, blocks: list[Block]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        converted = samples.convert(samples.write(Path(folder) / f"a.{extension}", FORMATS[extension](blocks)))
        assert words_read(samples.split(converted)[1]) == words_of(blocks)
        optimised = samples.optimize(Path(folder) / "a.md", converted.content.decode())
        assert words_read(samples.split(optimised)[1]) == words_of(blocks)
    assert converted.warnings == ()
