"""Chunks: their places, sizes and headings, and what the embedding reads of them."""

from __future__ import annotations

import random
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.embedding.tokenizer import count_tokens, token_offsets
from tasks.chunking.chunks import Chunk, Tokenizer, chunks, contexts
from tasks.chunking.front_matter import read_front_matter
from tasks.chunking.packing import Limits
from tasks.chunking.pieces import MAX_CHARACTERS_PER_TOKEN

TOKENIZER = Tokenizer(count_tokens, token_offsets)
WORDS = "custody artifact ledger release carrier manifest courier depot parcel receipt".split()  # noqa: SIM905


def prose(words: int, seed: int = 0) -> str:
    chosen = random.Random(seed).choices(WORDS, k=words)
    sentences = [" ".join(chosen[start : start + 9]).capitalize() + "." for start in range(0, words, 9)]
    return " ".join(sentences)


def chunked(text: str, *, most: int = 250, least: int = 40, overlap: int = 0, merge: bool = False) -> list[Chunk]:
    limits = Limits(most=most, least=least, overlap=overlap, merge_small_sections=merge)
    return list(chunks(text, read_front_matter(text).body_start, limits, TOKENIZER))


def texts(text: str, **sizes: Any) -> list[str]:
    return [chunk.text for chunk in chunked(text, **sizes)]


# Places ---------------------------------------------------------------------------------------------------------------

PARTS = st.one_of(
    st.text(max_size=40),
    st.text(alphabet=st.characters(categories=["L", "M", "N", "P", "Z", "Cf"]), max_size=60),
    st.sampled_from(
        [
            "# Title\n",
            "\n## Part ##\n",
            "Line\n---\n",
            "\n\n",
            "\r\n",
            "\r",
            "\x0c",
            "\x85",
            "\u2028",
            "```\n",
            "- item\n",
            "| a | b |\n|---|---|\n",
            "| 1 | 2 |\n" * 30,
            "word " * 90,
            "x" * 700,
            "中文。" * 120,
            "e\u0301" * 90,
            "👩‍👩‍👧" * 40,
            "A sentence. " * 40,
            "> quote\n",
            "    code\n",
            "<!-- ",
            "-->\n",
            "\ufeff",
            "---\ntitle: A\n---\n",
            "1) x\n",
            "!?" * 90,
        ]
    ),
)


@given(
    text=st.lists(PARTS, max_size=12).map("".join),
    most=st.sampled_from([32, 50, 250]),
    overlap=st.sampled_from([0, 10, 16]),
    merge=st.booleans(),
)
def test_chunks_are_exact_bounded_and_complete(text: str, most: int, overlap: int, merge: bool) -> None:
    made = chunked(text, most=most, least=most // 4, overlap=overlap, merge=merge)
    body_start = read_front_matter(text).body_start
    covered = [False] * len(text)
    for chunk in made:
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.start >= body_start and chunk.text.strip()
        assert chunk.tokens == count_tokens([chunk.text])[0] <= most
        assert len(chunk.text) < (most + 1) * MAX_CHARACTERS_PER_TOKEN
        covered[chunk.start : chunk.end] = [True] * len(chunk.text)
    assert all(covered[place] or text[place].isspace() for place in range(body_start, len(text)))
    for before, after in pairwise(made):
        assert before.start < after.start and before.end < after.end
        assert overlap or before.end <= after.start


def test_offsets_count_characters_of_the_text_with_its_header_and_line_ends() -> None:
    text = "---\r\ntitle: Ü\r\n---\r\n# Größe\r\n\r\n😀 text\r\n"
    (chunk,) = chunked(text)
    assert (chunk.start, chunk.end) == (text.index("#"), text.index("text") + 4)
    assert chunk.text == "# Größe\r\n\r\n😀 text"


# Headings -------------------------------------------------------------------------------------------------------------


def test_a_chunk_begins_at_each_heading_and_knows_the_headings_above() -> None:
    text = f"# A\n\n{prose(60)}\n\n## B\n\n{prose(60)}\n\n### C\n\n{prose(60)}\n\n## D\n\n{prose(60)}\n"
    assert [chunk.heading_path for chunk in chunked(text)] == [("A",), ("A", "B"), ("A", "B", "C"), ("A", "D")]
    assert [chunk.text.splitlines()[0] for chunk in chunked(text)] == ["# A", "## B", "### C", "## D"]


def test_sections_of_the_same_level_never_share_a_chunk() -> None:
    text = "## A\n\nshort\n\n## B\n\nshort\n\n# C\n\nshort\n"
    assert texts(text) == ["## A\n\nshort", "## B\n\nshort", "# C\n\nshort"]


def test_a_bare_title_goes_with_its_first_section_and_is_found_under_it() -> None:
    (chunk,) = chunked("# Title\n\n## Part\n\nThe text.\n")
    assert chunk.heading_path == ("Title", "Part") and chunk.above == ()


def test_small_sections_share_a_chunk_when_asked_to() -> None:
    text = "## A\n\nshort\n\n## B\n\nshort\n\n# C\n\nshort\n"
    assert len(chunked(text, merge=True)) == 1


def test_a_heading_does_not_stand_alone_at_the_end_of_a_chunk() -> None:
    text = f"# A\n\nIntroduction.\n\n## B\n\n{prose(130)}\n\n### C\n\n{prose(150)}\n"
    for chunk in chunked(text):
        assert not chunk.text.splitlines()[-1].startswith("#")


def test_headings_lose_their_markup_in_the_path() -> None:
    (chunk,) = chunked("# The **bold** [link](http://a.b) `code` ##\n\ntext")
    assert chunk.heading_path == ("The bold link code",)


# Sizes ----------------------------------------------------------------------------------------------------------------


def test_whole_paragraphs_fill_a_chunk() -> None:
    paragraphs = [prose(60, seed) for seed in range(9)]
    made = texts("\n\n".join(paragraphs))
    assert [paragraph for text in made for paragraph in text.split("\n\n")] == paragraphs
    assert len(made) < len(paragraphs)


def test_a_long_paragraph_is_cut_after_sentences() -> None:
    assert all(text.endswith(".") for text in texts(prose(2000)))


def test_a_paragraph_without_sentences_is_cut_between_words() -> None:
    text = " ".join(WORDS * 200)
    assert [word for part in texts(text) for word in part.split()] == text.split()


def test_a_table_is_cut_between_rows() -> None:
    rows = [f"| parcel {number} | depot {number % 7} | {number * 3} kg |" for number in range(200)]
    text = "\n".join(["| what | where | weight |", "|---|---|---|", *rows])
    lines = [line for part in texts(text) for line in part.splitlines()]
    assert lines == text.splitlines()


def test_code_is_cut_between_lines_and_keeps_its_indentation() -> None:
    code = "\n".join(f"    if value[{number}] == expected:  # {prose(5)}" for number in range(80))
    parts = texts(f"```python\n{code}\n```")
    assert "\n".join(parts) == f"```python\n{code}\n```"
    assert all(part.startswith("    if") for part in parts[1:])


def test_a_list_is_cut_before_items() -> None:
    items = [f"- {prose(40, seed)}\n  - {prose(10, seed)}" for seed in range(12)]
    parts = texts("\n".join(items))
    assert all(part.startswith("- ") for part in parts) and len(parts) > 1


def test_a_combined_character_is_not_parted() -> None:
    family = "👩\u200d👩\u200d👧"
    for part in texts(family * 3000, most=50):
        assert len(part) % len(family) == 0
    for part in texts("中\u0301" * 400, most=50):
        assert part.startswith("中") and part.endswith("\u0301")


def test_no_sliver_remains_of_a_section() -> None:
    for words in range(150, 420, 15):
        assert min(count_tokens(texts(f"# A\n\n{prose(words)}\n\n{prose(8)}"))) >= 40


def test_overlap_repeats_whole_words_of_the_same_section_only() -> None:
    text = f"# A\n\n{prose(900)}\n\n# B\n\n{prose(900)}\n"
    made = chunked(text, overlap=30)
    repeated = [text[after.start : before.end] for before, after in pairwise(made) if after.start < before.end]
    assert len(repeated) >= 4
    assert all(15 <= count_tokens([part])[0] <= 30 for part in repeated)
    assert all(text[after.start - 1].isspace() for after in made[1:])
    assert any(chunk.text.startswith("# B") for chunk in made)


# Context --------------------------------------------------------------------------------------------------------------


def with_context(made: list[Chunk], title: str = "", room: int = 254) -> list[str]:
    above = contexts(made, title, count_tokens, room)
    return [f"{line}\n{chunk.text}" for line, chunk in zip(above, made, strict=True)]


def test_the_context_is_the_headings_that_the_text_does_not_show() -> None:
    made = chunked(f"# A\n\n## B\n\n{prose(400)}")
    assert contexts(made, "", count_tokens, 254)[:2] == ["", "A > B"]


def test_the_title_comes_first_unless_it_is_a_heading_too() -> None:
    made = chunked(f"# A\n\n{prose(200)}")
    assert contexts(made, "Title", count_tokens, 254) == ["Title"]
    assert contexts(made, "A", count_tokens, 254) == [""]
    assert contexts(made, "Title " * 300, count_tokens, 254) == [""]


def test_a_table_that_goes_on_is_read_with_its_header_row() -> None:
    rows = "".join(f"| {number} | Tannwald | {number * 7} |\n" for number in range(80))
    made = chunked(f"# Stations\n\n| Number | Place | Metres |\n|---|---|---|\n{rows}")
    first, *others = contexts(made, "", count_tokens, 254)
    assert first == "" and len(others) >= 2
    assert set(others) == {"Stations\n| Number | Place | Metres |"}
    assert max(count_tokens(with_context(made))) <= 254


def test_a_header_row_that_would_fill_a_chunk_is_left_out() -> None:
    header = "| " + " | ".join(WORDS * 12) + " |"
    rows = ("|" + " 1 |" * 120 + "\n") * 5
    made = chunked(f"{header}\n{'|---' * 120}|\n{rows}")
    assert {chunk.table_header for chunk in made} == {""}


def test_context_and_text_never_go_past_the_model_and_the_nearest_heading_stays() -> None:
    heading = " ".join(WORDS * 12)
    made = chunked(f"# {heading}\n\n## {heading}\n\n### Parcels\n\n{prose(900)}")
    inputs = with_context(made, title=heading)
    assert max(count_tokens(inputs)) <= 254
    below = [given for given, chunk in zip(inputs, made, strict=True) if chunk.heading_path[-1] == "Parcels"]
    assert len(below) >= 4 and all("Parcels" in given for given in below)


HOSTILE = {
    "one word": "a" * 300_000,
    "one line": "word " * 60_000,
    "no spaces": "中" * 100_000,
    "punctuation": "." * 100_000,
    "quotes": ">" * 300_000,
    "headings": "# a\n" * 20_000,
    "open fence": "```\n" + "x\n" * 100_000,
    "table": "|a|b|\n|-|-|\n" + "|c|d|\n" * 40_000,
    "wide table": "|" * 100_000 + "\n" + "|-" * 100_000,
    "spaces": " " * 300_000 + "x",
    "accents": "\u0301" * 100_000,
    "dashes": "- " * 100_000 + "x",
    "blank code": "```\n" + "\n" * 100_000 + "x",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_takes_time_in_proportion(name: str) -> None:
    started = time.process_time()
    assert chunked(HOSTILE[name])
    assert time.process_time() - started < 5  # measured 0.1 to 0.7
