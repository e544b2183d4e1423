"""The rules that find mentions: what they take, what they leave, and where exactly it stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.sentences import sentence_spans
from tasks.chunking.summary import summarise
from tasks.conversion.ocr.pages import ReadPage
from tasks.extraction.amounts import amounts
from tasks.extraction.dates import dates
from tasks.extraction.evidence import Mention, locate, without_overlaps
from tasks.extraction.gazetteer import Gazetteer
from tasks.extraction.names import acronyms, names
from tasks.extraction.numbers import normal_number
from tasks.extraction.references import references
from tasks.text.key_phrases import key_phrases
from tasks.text.prose import mention_spans, plain_text, prose_spans
from tasks.text.tables import table_rows


def told(text: str, mentions: Iterable[Mention]) -> list[tuple[str, str, str]]:
    return [(one.type, text[one.start : one.end], one.value) for one in without_overlaps(mentions)]


# Amounts and dates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "It cost $3.5 million.", ("money", "$3.5 million", "3500000 USD")),
        ("en", "about €1,234.50 a day", ("money", "€1,234.50", "1234.50 EUR")),
        ("en", "CHF 1'200.50 was paid", ("money", "CHF 1'200.50", "1200.50 CHF")),
        ("en", "US$ 5bn in all", ("money", "US$ 5bn", "5000000000 USD")),
        ("en", "NZ$20", ("money", "NZ$20", "20 NZD")),
        ("en", "grew by 12.5%", ("percent", "12.5%", "12.5 %")),
        ("en", "3 per cent", ("percent", "3 per cent", "3 %")),
        ("en", "at −18 °C.", ("quantity", "−18 °C", "-18 °C")),
        ("en", "1,234 kg", ("quantity", "1,234 kg", "1234 kg")),
        ("en", "a 100-page report", ("quantity", "100-page", "100 page")),
        ("en", "1 234 567 users", ("quantity", "1 234 567 users", "1234567 users")),
        ("de", "1.234,5 Mio. Euro", ("money", "1.234,5 Mio. Euro", "1234500000 EUR")),
        ("de", "1.234 kg", ("quantity", "1.234 kg", "1234 kg")),
        ("de", "12,5 Prozent", ("percent", "12,5 Prozent", "12.5 %")),
        ("fr", "1,85 million de francs", ("money", "1,85 million de francs", "1850000 francs")),
        ("fr", "468\u202f500 personnes", ("quantity", "468\u202f500 personnes", "468500 personnes")),
        ("ru", "5 млн рублей", ("money", "5 млн рублей", "5000000 RUB")),
        ("zh", "增长12.5%", ("percent", "12.5%", "12.5 %")),
        ("ja", "売上は300円", ("money", "300円", "300 JPY")),
    ],
)
def test_amounts_are_found_and_brought_to_one_form(language: str, text: str, expected: tuple[str, str, str]) -> None:
    assert told(text, amounts(text, language)) == [expected]


@pytest.mark.parametrize("text", ["version 1.2.3", "in 1998", "room 12", "x86 CPUs", "abc12 kg", "3D", "10th", "5 try"])
def test_a_number_without_a_unit_is_no_amount(text: str) -> None:
    assert told(text, amounts(text, "en")) == []


@pytest.mark.parametrize(
    ("written", "language", "number"),
    [
        ("1,234", "en", "1234"),
        ("1,234", "de", "1.234"),
        ("1.234", "en", "1.234"),
        ("1.234", "de", "1234"),
        ("1,234,567", "de", "1234567"),
        ("1.234.567,89", "en", "1234567.89"),
        ("0,125", "en", "0.125"),
        ("12,5", "en", "12.5"),
        ("1'200", "en", "1200"),
        ("٣", "ar", "3"),
    ],
)
def test_numbers_are_read_as_their_language_writes_them(written: str, language: str, number: str) -> None:
    assert normal_number(written, language) == number


@pytest.mark.parametrize(
    ("language", "text", "found", "value"),
    [
        ("en", "on 2024-03-12.", "2024-03-12", "2024-03-12"),
        ("en", "March 5, 2023", "March 5, 2023", "2023-03-05"),
        ("en", "the 5th of May 2021", "5th of May 2021", "2021-05-05"),
        ("en", "12 Dec. 1999", "12 Dec. 1999", "1999-12-12"),
        ("en", "in June\n2020", "June\n2020", "2020-06"),
        ("en", "Q3 2024", "Q3 2024", "2024-Q3"),
        ("en", "since 1998,", "1998", "1998"),
        ("en", "3/4/2024", "3/4/2024", ""),
        ("en-US", "3/4/2024", "3/4/2024", "2024-03-04"),
        ("en-GB", "3/4/2024", "3/4/2024", "2024-04-03"),
        ("en", "13/4/2024", "13/4/2024", "2024-04-13"),
        ("de", "Am 3. März 2024", "3. März 2024", "2024-03-03"),
        ("de", "1.2.2024", "1.2.2024", "2024-02-01"),
        ("fr", "le 1er avril 2020", "1er avril 2020", "2020-04-01"),
        ("es", "el 3 de marzo de 2024", "3 de marzo de 2024", "2024-03-03"),
        ("it", "il 3 marzo 2024", "3 marzo 2024", "2024-03-03"),
        ("pt", "3 de março de 2024", "3 de março de 2024", "2024-03-03"),
        ("nl", "3 maart 2024", "3 maart 2024", "2024-03-03"),
        ("pl", "3 marca 2024", "3 marca 2024", "2024-03-03"),
        ("ru", "12 марта 2024 года", "12 марта 2024", "2024-03-12"),
        ("tr", "3 Mart 2024", "3 Mart 2024", "2024-03-03"),
        ("zh", "2024年3月12日", "2024年3月12日", "2024-03-12"),
        ("ja", "2023年5月", "2023年5月", "2023-05"),
        ("xx", "3 March 2024", "3 March 2024", "2024-03-03"),
        ("../../etc", "3 March 2024", "3 March 2024", "2024-03-03"),
    ],
)
def test_dates_are_found_in_many_languages(language: str, text: str, found: str, value: str) -> None:
    assert told(text, dates(text, language.lower())) == [("date", found, value)]


@pytest.mark.parametrize(
    "text", ["the Sun", "2024-13-01", "1.2.3", "5 times", "in 2020%", "32.1.2024", "0/0/2024", "may"]
)
def test_what_only_looks_like_a_date_is_none(text: str) -> None:
    assert told(text, dates(text, "en")) == []


# References -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        ("Write to Jane.Doe@example.co.uk.", "email", "Jane.Doe@example.co.uk"),
        ("See https://example.com/a_(b).", "url", "https://example.com/a_(b)"),
        ("(http://x.org/y?z=1)", "url", "http://x.org/y?z=1"),
        ("[text](http://a.b/c)", "url", "http://a.b/c"),
        ("www.example.de/x, and", "url", "www.example.de/x"),
        ("as shown [3, 5–7].", "citation", "[3, 5–7]"),
        ("(Smith et al., 2020)", "citation", "(Smith et al., 2020)"),
        ("(Müller & Sørensen, 2019, p. 5)", "citation", "(Müller & Sørensen, 2019, p. 5)"),
        ("doi 10.1000/xyz-1.", "citation", "10.1000/xyz-1"),
        ("RFC 3339", "citation", "RFC 3339"),
    ],
)
def test_references_end_where_people_mean_them_to(text: str, kind: str, found: str) -> None:
    assert [(one, quote) for one, quote, _ in told(text, references(text))] == [(kind, found)]


@pytest.mark.parametrize(
    "text",
    ["[1](http://)", "[2019, 2020]", "[0, 18]", "[4]: note", "a@b", "@name", "x[1]", "[x]", "http://", "(see 2020)"],
)
def test_link_signs_and_handles_are_no_references(text: str) -> None:
    assert told(text, references(text)) == []


# Names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "They met Dr. Jane A. Smith there.", ("person", "Jane A. Smith")),
        ("en", "President Barack Obama's visit", ("person", "Barack Obama")),
        ("en", "bought by Acme Widgets, Inc. in", ("organisation", "Acme Widgets, Inc")),
        ("en", "Johnson & Johnson Corp rose", ("organisation", "Johnson & Johnson Corp")),
        ("en", "at the University of the Arts", ("organisation", "University of the Arts")),
        ("en", "The United Nations met.", ("name", "United Nations")),
        ("en", "for the\nWorld Bank", ("organisation", "World Bank")),
        ("en", "We like Prefect.", ("word", "Prefect")),
        ("de", "mit der Siemens AG", ("organisation", "Siemens AG")),
        ("de", "Kanzlerin Angela Merkel", ("person", "Angela Merkel")),
        ("fr", "selon M. Pellouchet", ("person", "Pellouchet")),
        ("ru", "Там живёт Владимир Петров.", ("name", "Владимир Петров")),
    ],
)
def test_names_are_found_by_the_way_they_are_written(language: str, text: str, expected: tuple[str, str]) -> None:
    assert [(kind, quote) for kind, quote, _ in told(text, names(text, language))] == [expected]


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The house is big. In March it snowed."),
        ("en", "THIS IS A WARNING IN CAPITALS"),
        ("en", "`SomeClass OtherClass` is code"),
        ("en", "see Table 3 and a_Name"),
        ("de", "Das Haus steht am See."),
        ("zh", "机器学习"),
    ],
)
def test_capitals_alone_make_no_name(language: str, text: str) -> None:
    assert told(text, names(text, language)) == []


def test_a_person_of_an_organisation_is_both() -> None:
    text = "Frau Müller von der Siemens AG"
    assert [quote for _, quote, _ in told(text, names(text, "de"))] == ["Müller", "Siemens AG"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The World Health Organization (WHO) met.", [("WHO", "World Health Organization")]),
        ("two APIs of the BBC", [("APIs", ""), ("BBC", "")]),
        ("R&D is fun", [("R&D", "")]),
        ("Part IV of 16 GB", []),
        ("DO NOT TOUCH THE WIRE", []),
        ("A in SOME_NAME or X-RAY", []),
    ],
)
def test_acronyms_bring_the_words_they_stand_for(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(quote, value) for _, quote, value in told(text, acronyms(text))] == expected


def test_a_gazetteer_finds_whole_words_in_any_case_and_the_longest_first() -> None:
    names_by_type = {"product": ["Waybill", "Way", "Prefect Cloud"], "city": ["İstanbul", "北京", " ", ""]}
    text = "WAYBILL wayside way prefect cloud İSTANBUL 在北京市"
    found = [(kind, value) for kind, _, value in told(text, Gazetteer(names_by_type).find(text))]
    products = [("product", "Waybill"), ("product", "Way"), ("product", "Prefect Cloud")]
    assert found == [*products, ("city", "İstanbul"), ("city", "北京")]
    assert list(Gazetteer({}).find(text)) == []


# Places ---------------------------------------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.text(max_size=120),
    st.lists(
        st.sampled_from(
            [
                "$5 ",
                "12 kg",
                "Dr. ",
                "Aa ",
                "of ",
                "May 2020",
                " 3/4/2020 ",
                "İ",
                "http://a.b)",
                "x@y.zz ",
                "[1]",
                "WHO ",
            ]
        ),
        max_size=20,
    ).map("".join),
)


@given(TEXTS, st.sampled_from(["en", "de", "fr", "zh", "tr", ""]))
def test_mentions_lie_in_the_text_in_order_and_apart(text: str, language: str) -> None:
    found = without_overlaps(
        [*references(text), *amounts(text, language), *dates(text, language), *names(text, language), *acronyms(text)]
    )
    assert all(0 <= one.start < one.end <= len(text) for one in found)
    assert all(before.end <= after.start for before, after in pairwise(found))


@given(TEXTS, st.sampled_from(["en", "de", "zh", "ar", "xx"]))
def test_sentences_hold_all_of_a_text_but_white_space(text: str, language: str) -> None:
    spans = sentence_spans(text, language)
    assert "".join("".join(text[start:end] for start, end in spans).split()) == "".join(text.split())
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)


def test_sentences_do_not_end_at_line_ends_or_abbreviations() -> None:
    text = "Dr. Smith went to\nWashington D.C. on Jan. 5. He paid 3.5 million (approx. 2 %). Really?"
    assert [text[start:end][-8:] for start, end in sentence_spans(text)] == [" Jan. 5.", "x. 2 %).", "Really?"]


def test_sentences_of_unusual_characters_are_kept() -> None:
    text = "∯ȸ&ᓰ& Hello. World. Next one."
    assert [text[start:end] for start, end in sentence_spans(text)] == ["∯ȸ&ᓰ& Hello.", "World.", "Next one."]


def test_a_long_text_has_all_its_sentences() -> None:
    assert len(sentence_spans("One sentence more. " * 5000)) == 5000


def test_prose_is_paragraphs_items_and_quotes_without_their_signs() -> None:
    text = "# Title\n\nA text.\n\n- [x] one\n- two\n  lines\n\n> said\n\n```\ncode\n```\n\n| a |\n|---|\n| b |\n"
    assert [text[start:end].strip() for start, end in prose_spans(text)] == ["A text.", "one", "two\n  lines", "> said"]


def test_a_layout_is_read_cell_by_cell() -> None:
    text = "```text\nCar   Mass\n31\t520 kg   410 kg\nDate:    3 June\nStaff ......  7,6\n│ a │ b │\n```\n\n"
    text += "> said\n>\n> ```text\n> 31    520\n> ```\n> more\n"
    assert [text[start:end].strip() for start, end in prose_spans(text)] == [
        *("Car", "Mass", "31", "520 kg", "410 kg", "Date:    3 June", "Staff", "7,6", "a", "b"),
        *("> said\n>", "31", "520", "> more"),
    ]
    assert [
        part.strip()
        for start, end in mention_spans("A 31    520 kg B\n\n    code\n")
        for part in ["A 31    520 kg B\n\n    code\n"[start:end]]
    ] == ["A 31", "520 kg B"]
    inside = "31    520 kg\n```\nText."
    assert [inside[start:end] for start, end in prose_spans(inside, "```text")] == ["31", "520 kg", "Text."]


@pytest.mark.parametrize(
    ("quote", "text", "found"),
    [
        ("a b", "x a b y", "a b"),
        (" a b ", "x a\n  b y", "a\n  b"),
        ("(a+) b", "x (a+)\tb", "(a+)\tb"),
        ("a b", "x ab y", None),
        ("", "x", None),
        (" \n", "x y", None),
    ],
)
def test_a_quote_is_found_or_it_is_none(quote: str, text: str, found: str | None) -> None:
    span = locate(quote, text)
    assert (text[slice(*span)] if span else None) == found


# Words ----------------------------------------------------------------------------------------------------------------


def test_plain_text_has_the_words_without_the_markup() -> None:
    markdown = (
        '**Bold** _it_ `code_x` [link](http://a.b "t") ![im](x.png) snake_case 2*3 &amp; <b>x</b> \\* <https://x.y>'
    )
    assert plain_text(markdown) == "Bold it code_x link im snake_case 2*3 & x * https://x.y"


@pytest.mark.parametrize(
    ("markdown", "plain"),
    [
        ("\\*a\\* \\<b> \\[c](d) \\`e\\` 5* f* _g", "*a* <b> [c](d) `e` 5* f* _g"),
        ("`**kept**` and `a_b_ <i>`", "**kept** and a_b_ <i>"),
        ("$x_{i}^{*}$ costs $5 to $6", "$x_{i}^{*}$ costs $5 to $6"),
        ("10^6^ m^3^ of H~2~O[^1] ~5 km", "10^6 m^3 of H2O ~5 km"),
        ("[^2]: A note. **b *i* b**", "A note. b i b"),
        ("?a=1&copy=2 &copy; \\&amp;", "?a=1&copy=2 © &amp;"),
        ("a < b > c <5 and 6> x<y, z>w", "a < b > c <5 and 6> x<y, z>w"),
    ],
)
def test_plain_text_keeps_signs_that_are_no_markup(markdown: str, plain: str) -> None:
    assert plain_text(markdown) == plain


def test_key_phrases_stand_in_the_text() -> None:
    text = (
        "The storage keeps artifacts. An artifact has one row. The storage, rows and keys are apart. Storage is safe."
    )
    phrases = key_phrases(text, "en", 5)
    assert phrases[0].score == 1 and all(phrase.text in text for phrase in phrases)
    assert {phrase.text.lower() for phrase in phrases} >= {"storage", "artifacts"}


def test_chinese_key_phrases_are_written_together() -> None:
    text = "机器学习是人工智能的一个子集。机器学习使用神经网络。"
    assert any("学习" in phrase.text for phrase in key_phrases(text, "zh", 5))


def test_japanese_key_phrases_are_words_and_no_endings() -> None:
    text = "鉄道は1931年に開通しました。鉄道のグリースを使います。グリースは沢を汚しません。"
    assert [phrase.text for phrase in key_phrases(text, "ja", 2)] == ["グリース", "鉄道"]


@pytest.mark.parametrize(
    ("text", "header", "rows"),
    [
        ("| a | b |\n|---|---|\n| 1 | **2** |\n", "", [("| 1 | **2** |", "a: 1; b: 2")]),
        ("a | b\n-|-\n1 | \n", "", [("1 |", "a: 1")]),
        ("| 1 | 2 | 3 |\n| 4 |\n", "| a | b |", [("| 1 | 2 | 3 |", "a: 1; b: 2; 3"), ("| 4 |", "a: 4")]),
        ("| x \\| y |\n", "| a |", [("| x \\| y |", "a: x | y")]),
        ("| 1 | 2 |\n", "", []),
        ("|  |  |\n|---|---|\n| Net: | 99.50 € |\n", "", [("| Net: | 99.50 € |", "Net: 99.50 €")]),
        ("text\n\n| 1 |\n", "| a |", []),
    ],
)
def test_rows_of_tables_have_their_place_and_the_names_of_their_columns(
    text: str, header: str, rows: list[tuple[str, str]]
) -> None:
    assert [(text[row.start : row.end], str(row)) for row in table_rows(text, header)] == rows


HOSTILE = ["A" * 50_000, "A " * 25_000, "Aa of " * 8000, "a@" * 25_000, "http://" * 7000, "[1," * 16_000, "1 " * 25_000]
HOSTILE += ["|" * 50_000, "|a|\n|-|\n" + "|b" * 20_000, "\\|" * 20_000]
HOSTILE += ["$5 " * 16_000, "1.1," * 12_000, "1 may " * 8000, "10.1234/" * 6000, "http://" + ")" * 50_000, " " * 50_000]
HOSTILE += ["*_`" * 16_000, "<!--" * 12_000, "[](" * 16_000, "(Aa, " * 10_000, "Aa'" * 16_000, "1 123 " * 8000]
READERS: list[Callable[[str], object]] = [
    lambda text: list(amounts(text, "en")),
    lambda text: list(dates(text, "en")),
    lambda text: list(names(text, "en")),
    lambda text: list(acronyms(text)),
    lambda text: list(references(text)),
    plain_text,
    sentence_spans,
    lambda text: list(table_rows(text, "| a |")),
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:7])
def test_hostile_text_takes_time_in_proportion(text: str) -> None:
    for read in READERS:
        started = time.thread_time()
        read(text)
        assert time.thread_time() - started < 2  # measured up to 0.3


def test_key_phrases_of_monotonous_text_take_little_time() -> None:
    started = time.thread_time()
    key_phrases("word " * 200_000, "en", 20)  # 17 s if all of it were read
    assert time.thread_time() - started < 2


def test_the_mark_of_ocr_is_no_text_of_the_document() -> None:
    mark = ReadPage(1, "Pier C closes.", 0.97).marked()
    for spans in (prose_spans, mention_spans):
        assert [mark[start:end].strip() for start, end in spans(mark)] == ["Pier C closes."]
    assert summarise(mark, 0, "en") == "Pier C closes."
