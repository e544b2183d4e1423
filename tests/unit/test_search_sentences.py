"""Which sentence of a passage answers, and where a passage has sentences at all."""

from __future__ import annotations

import pytest

from blocks.search_index.marks import Mark, merged
from blocks.search_index.sentences import (
    MAX_COMPARED_OF_PASSAGE,
    best_sentence,
    sentences_of,
    worth_comparing,
)
from blocks.search_index.words import word_spans


def texts(passage: str, language: str | None = "en") -> list[str]:
    return [passage[one.start : one.end] for one in sentences_of(passage, language)]


def marks(passage: str, *words: str) -> list[Mark]:
    return [
        Mark(start=start, end=end, term=words.index(passage[start:end]))
        for start, end in word_spans(passage)
        if passage[start:end] in words
    ]


@pytest.mark.parametrize(
    ("passage", "expected"),
    [
        ("One. Two!\nstill two? Three", ["One.", "Two!\nstill two?", "Three"]),
        ("# A title\n\nA text. More.", ["A title", "A text.", "More."]),
        ("- first\n- second\n  goes on\n\n3. third", ["first", "second\n  goes on", "third"]),
        ("| a | b |\n| --- | --- |\n| 1 | 2 |", ["| a | b |", "| 1 | 2 |"]),
        ("```\nx = 1. Y\ny = 2\n```\nAfter.", ["x = 1. Y", "y = 2", "After."]),
        ("> quoted. Again.\n\n---\n\nplain", ["quoted.", "Again.", "plain"]),
        ("Dr. Ames came at 5 p.m. and left. Then he wrote.", ["Dr. Ames came at 5 p.m. and left.", "Then he wrote."]),
        ("船が着いた。山に登る。", ["船が着いた。", "山に登る。"]),
        ("One.\r\n\r\nTwo.\r\n", ["One.", "Two."]),
        ("\n \n", []),
        ("", []),
    ],
)
def test_sentences_of_markdown(passage: str, expected: list[str]) -> None:
    assert texts(passage) == expected


def test_headings_are_known_and_answer_nothing() -> None:
    passage = "# Lamp rules\n\nThe keeper trims it. A lamp burns all night."
    found = sentences_of(passage, "en")
    assert [one.is_heading for one in found] == [True, False, False]
    start, end = best_sentence(passage, found, marks(passage, "Lamp", "rules", "lamp"))
    assert passage[start:end] == "A lamp burns all night."


def test_a_rare_word_counts_more_than_one_of_every_sentence() -> None:
    passage = "The lamp is old and the lamp is bright. Then the lamp broke. Every lamp costs money, also this lamp."
    start, end = best_sentence(passage, sentences_of(passage, "en"), marks(passage, "lamp", "broke"))
    assert passage[start:end] == "Then the lamp broke."


def test_meaning_decides_where_words_do_not() -> None:
    passage = "It was cold. Wages are due monthly. Bananas are yellow."
    found = sentences_of(passage, "en")
    assert best_sentence(passage, found, []) == found[0].span
    similarities = {found[0].span: 0.1, found[1].span: 0.6, found[2].span: 0.2}
    assert best_sentence(passage, found, [], similarities) == found[1].span


def test_a_passage_without_sentences_is_its_own() -> None:
    assert best_sentence("...", [], []) == (0, 3)
    assert best_sentence("", sentences_of("", None), []) == (0, 0)


def test_sentences_with_words_of_the_question_are_compared_first() -> None:
    passage = " ".join(f"Sentence number {number}." for number in range(30)) + " The lamp broke."
    found = sentences_of(passage, "en")
    compared = worth_comparing(found, marks(passage, "lamp"))
    assert len(compared) == MAX_COMPARED_OF_PASSAGE
    assert compared[0] == found[-1].span
    assert worth_comparing(found[:1], []) == []


def test_marks_that_overlap_become_one() -> None:
    given = [Mark(start=start, end=start + 2, term=0) for start in (4, 0, 1, 7)]
    assert merged(given) == [(0, 3), (4, 6), (7, 9)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The lamp's 3.5 kg (old)", ["The", "lamp", "s", "3", "5", "kg", "old"]),
        ("Gro\u0308ße e\u0301cole", ["Gro\u0308ße", "e\u0301cole"]),
        ("Kran\u00adken-haus_tor", ["Kran\u00adken", "haus", "tor"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("第3章ABC", ["第", "3", "章", "ABC"]),
        ("船が着いた。山", ["船が着いた", "山"]),
        ("…🚢 \u0301", []),
    ],
)
def test_words_and_where_they_are(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in word_spans(text)] == expected
