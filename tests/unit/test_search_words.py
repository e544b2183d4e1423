"""How text is cut and folded for full-text search."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.search_index.words import (
    MAX_SEARCHABLE_CHARACTERS,
    fold_accents,
    has_words,
    is_exact,
    meaning_of,
    searchable_text,
    spelling_variants,
    stemmer_for,
    words_of,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Größe", "Grosse"),
        ("Gro\u0308ße", "Grosse"),
        ("élève façade", "eleve facade"),
        ("Łódź Đakovo Þór Øre", "Lodz Dakovo THor Ore"),
        ("o\ufb03ce ½ ２", "office 1\u20442 2"),
        ("Αθήνα", "Αθηνα"),
        ("ёлка йод", "елка йод"),
        ("が", "が"),
        ("한국어", "한국어"),
    ],
)
def test_accents_go_where_they_do_not_make_another_letter(text: str, expected: str) -> None:
    assert fold_accents(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b\\c", "a b c"),
        ("info@harbour.example", "info harbour example"),
        ("List<String>", "List String "),
        ("snake_case", "snake case"),
        ("Müller-Straße", "Muller Strasse"),
        ("3.14 v1.2", "3.14 v1.2"),
        ("end.Start", "end Start"),
        ("soft\u00adhyphen zero\u200bwidth", "softhyphen zerowidth"),
        ("東京都", " 東京 京都 "),
        ("x港y", "x 港 y"),
        ('"a b" -c or d', '"a b" -c or d'),
        ("nul\x00and\ud800half", "nul and half"),
    ],
)
def test_words_end_where_people_see_them_end(text: str, expected: str) -> None:
    assert searchable_text(text) == expected


@given(st.text(alphabet=st.characters(), max_size=200))
def test_any_text_becomes_something_that_postgres_can_store(text: str) -> None:
    result = searchable_text(text)
    assert "\x00" not in result
    result.encode()
    assert searchable_text(result).split() == result.split() or not result.isascii()


def test_length_is_bounded() -> None:
    for char in ("x", "東", "\ufdfa"):  # the last becomes 18 characters
        assert len(searchable_text(char * 200_000)) <= MAX_SEARCHABLE_CHARACTERS


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("Müller", ["Muller", "Mueller"]),
        ("Mu\u0308ller", ["Muller", "Mueller"]),
        ("Mueller", ["Mueller", "Muller"]),
        ("ship", ["ship"]),
    ],
)
def test_umlauts_are_asked_for_in_each_spelling(query: str, expected: list[str]) -> None:
    assert spelling_variants(query) == expected


def test_words_keep_how_they_were_typed() -> None:
    assert words_of("Für Müller, für AT&T!", 10) == {
        "Fur": "Für",
        "Fuer": "Für",
        "Muller": "Müller",
        "Mueller": "Müller",
        "fur": "für",
        "fuer": "für",
        "AT": "AT",
        "T": "T",
    }


def test_each_pair_of_characters_of_a_script_without_spaces_is_a_word() -> None:
    assert words_of("货物检查 of 東京", 10) == {
        "货物": "货物",
        "物检": "物检",
        "检查": "检查",
        "of": "of",
        "東京": "東京",
    }
    assert len(words_of("货物检查" * 100, 10)) == 4
    assert len(words_of("".join(map(chr, range(0x4E00, 0x4F00))), 10)) == 10


def test_the_number_of_words_is_bounded() -> None:
    assert len(words_of(" ".join(f"w{number}" for number in range(1000)), 64)) == 64


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("de", "german"),
        ("de-CH", "german"),
        ("EN_us", "english"),
        ("nb", "norwegian"),
        ("pl", "simple"),
        ("", "simple"),
    ],
)
def test_the_stemmer_follows_from_the_language_tag(language: str, expected: str) -> None:
    assert stemmer_for(language) == expected
    assert stemmer_for(None) == "simple"


@pytest.mark.parametrize(
    ("query", "exact", "meaning"),
    [
        ("plain words", False, "plain words"),
        ("well-known", False, "well-known"),
        ("a - b", False, "a - b"),
        ('5" pipe', False, "5  pipe"),
        ('"red apple" pie', True, "red apple  pie"),
        ("pie -colour", True, "pie"),
        ('pie -"red apple"', True, "pie"),
        ("-only", True, "-only"),
    ],
)
def test_operators_are_recognised(query: str, exact: bool, meaning: str) -> None:
    assert is_exact(query) is exact
    assert meaning_of(query) == meaning


@pytest.mark.parametrize("text", ["a", "7", "語", "ż", "AT&T"])
def test_a_letter_or_a_digit_is_a_word(text: str) -> None:
    assert has_words(text)
