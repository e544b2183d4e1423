"""Readings of amounts, dates and sentences: what is stated, what is left without a value, what is left alone."""

from __future__ import annotations

import pytest

from benchmarks import facts as labelled
from blocks.sentences import sentence_spans
from tasks.extraction.amounts import amounts
from tasks.extraction.dates import dates
from tasks.extraction.evidence import without_overlaps
from tasks.extraction.gazetteer import Gazetteer
from tasks.extraction.passages import Passage
from tasks.extraction.rules import find_mentions, select_facts
from tasks.extraction.units import shared_signs
from tasks.extraction.whole import torn_seams


def read(text: str, language: str = "en") -> list[str]:
    """Return the mentions as "quote = value"."""
    shared = shared_signs([text], language)
    found = without_overlaps([*dates(text, language), *amounts(text, language, shared)])
    return [f"{text[one.start : one.end]} = {one.value}" for one in found]


def sentences(text: str, language: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text, language)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a loss of -$5 million", ["-$5 million = -5000000 USD"]),
        ("paid −£1,200 and EUR -350", ["−£1,200 = -1200 GBP", "EUR -350 = -350 EUR"]),
        (
            "EUR (350), (1,200) EUR, $(5) million",
            ["EUR (350) = -350 EUR", "(1,200) EUR = -1200 EUR", "$(5) million = -5000000 USD"],
        ),
        ("The rest was ($2,400) in the books", ["($2,400) = -2400 USD"]),
        ("a pass ($40) is cheap", ["$40 = 40 USD"]),
        ("net income ($2,400) fell", ["$2,400 = "]),
        ("USD-12 and EUR 500 CR", ["USD-12 = ", "EUR 500 = "]),
        ("| € 5.50- | (€10) |", ["€ 5.50- = -5.50 EUR", "(€10) = -10 EUR"]),
        ("it cost - 5 EUR", ["- 5 EUR = "]),
        ("- 5 EUR fee", ["5 EUR = 5 EUR"]),
        ("− 5 EUR at night", ["− 5 EUR = -5 EUR"]),  # a true minus is the sign of no list
        ("minus £75", ["minus £75 = -75 GBP"]),
        ("€5–€10", ["€5 = 5 EUR", "€10 = 10 EUR"]),
        ("$5 or C$6", ["$5 = ", "C$6 = 6 CAD"]),
        ("9 USD 10 EUR", ["9 USD = 9 USD", "10 EUR = 10 EUR"]),
        ("Q3 $(0.3)m, Q4 ($0.2m)", ["$(0.3)m = -300000 USD", "$0.2m = "]),
        ("$1m-2m, $1–2 million", ["$1m = ", "$1–2 million = 1000000 to 2000000 USD"]),
        ("budget 2024 EUR 6 million", ["EUR 6 million = 6000000 EUR"]),
        ("Fr. 20.–, Mo.–Fr. 8–16 Uhr", ["Fr. 20.– = 20 CHF"]),
        ("in 2023 EUR 500", ["EUR 500 = 500 EUR"]),
        ("TEUR 500, k€ 20, 5 Md€", ["TEUR 500 = 500000 EUR", "k€ 20 = 20000 EUR"]),
        ("Euro 6 diesel at Euro 2024", []),
        ("€40/month, 5 €/m²", ["€40/month = 40 EUR/month", "5 €/m² = 5 EUR/m²"]),
        ("10,00,000 INR and 5 lakh rupees", ["10,00,000 INR = 1000000 INR", "5 lakh rupees = 500000 INR"]),
        ("costs $5 and $10^6$ N", ["$5 = 5 USD"]),
    ],
)
def test_money_has_its_sign_or_no_value(text: str, found: list[str]) -> None:
    assert read(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "10^6 N, 10^6^ N, 10\\^6\\^ N, 10⁶ N",
            ["10^6 N = 1000000 N", "10^6^ N = 1000000 N", "10\\^6\\^ N = 1000000 N", "10⁶ N = 1000000 N"],
        ),
        ("2.5·10³ N, 1.5E-3 m", ["2.5·10³ N = 2500 N", "1.5E-3 m = 0.0015 m"]),
        ("1/2 m, 2½ m, 1 1/2 inch, 1/3 m", ["1/2 m = 0.5 m", "2½ m = 2.5 m", "1 1/2 inch = 1.5 inch", "1/3 m = 1/3 m"]),
        ("5 m/s², 40 m^2^, 9.81 m s⁻²", ["5 m/s² = 5 m/s²", "40 m^2^ = 40 m²", "9.81 m s⁻² = 9.81 m s⁻²"]),
        (
            "0.24 W/(m²·K), 120 kWh/a, 6 l/100 km",
            ["0.24 W/(m²·K) = 0.24 W/(m²·K)", "120 kWh/a = 120 kWh/a", "6 l/100 km = 6 l/100 km"],
        ),
        ("5 N m, 5° C", ["5 N m = 5 N m", "5° C = 5 °C"]),
        ("10–15 km, between 2 and 3 bar", ["10–15 km = 10 to 15 km", "2 and 3 bar = 2 to 3 bar"]),
        ("−5…+3 °C, 5 °C–10 °C", ["−5…+3 °C = -5 to 3 °C", "5 °C = 5 °C", "10 °C = 10 °C"]),
        ("50 ± 0.1 mm, +/- 5 %", ["50 ± 0.1 mm = 50 ± 0.1 mm", "+/- 5 % = ±5 %"]),
        ("~5 km, ≥ 5 km, &lt;5 kg", ["~5 km = ~5 km", "≥ 5 km = ≥5 km", "&lt;5 kg = <5 kg"]),
        ("5 kg<br>6 kg", ["5 kg = 5 kg", "6 kg = 6 kg"]),
        ("Weight: 5 kg; in 2024: 5 kg", ["5 kg = 5 kg", "2024 = 2024", "5 kg = 5 kg"]),
        (
            "0.5 percentage points, 25 basis points",
            ["0.5 percentage points = 0.5 percentage points", "25 basis points = 25 basis points"],
        ),
        ("minus 15 degrees, 5 °C below", ["minus 15 degrees = -15 degrees", "5 °C = "]),
        ("a 100-page report of 12-inch pipes", ["100-page = 100 page", "12-inch = 12 inch"]),
        ("12 500 kg but car 12 500 kg", ["12 500 kg = 12500 kg"]),
    ],
)
def test_quantities_are_whole(text: str, found: list[str]) -> None:
    assert sorted(read(text)) == sorted(found)


@pytest.mark.parametrize(
    "text",
    [
        *("KX-1200 V", "M8 x 40 mm", "2 x 4 mm", "3 * 5 kg", "1:50 m", "10:30 h", "9.30 h", "400/230 V", "page 12 m"),
        *("p. 12 m", "clause 4 s", "No. 5 m", "Room 12 A", "Room 3A", "4K", "the 1990s V", "47.3769° N, 8.5417° E"),
        *(
            "one in 5 people",
            "2 or 3 km",
            "1.2.3 kg",
            "007 kg",
            "12,34,5 kg",
            ".5 kg",
            "40 m^1^",
            "5 m^17x",
            "5/6 days",
        ),
        *("+44 20 7946 0958 m", "1911^2^ m", "5 h 30 min", "in 1954 K. Quill", "5 pounds"),
        *("the 2019 A-class", "8–16 h", "5° North", "from 9 to 5 h"),
    ],
)
def test_parts_of_something_else_are_no_amounts(text: str) -> None:
    assert list(amounts(text, "en")) == []


@pytest.mark.parametrize(
    ("language", "text", "found"),
    [
        (
            "en",
            "12-Mar-2024, 2024/03/12, 12.III.2024, 12 Mar '24",
            [
                "12-Mar-2024 = 2024-03-12",
                "2024/03/12 = 2024-03-12",
                "12.III.2024 = 2024-03-12",
                "12 Mar '24 = 2024-03-12",
            ],
        ),
        ("en", "March 12–14, 2024", ["March 12–14, 2024 = 2024-03-12/2024-03-14"]),
        ("en", "5 and 6 April 2024", ["5 = 2024-04-05", "6 April 2024 = 2024-04-06"]),
        ("en", "28 March – 2 April 2024", ["28 March – 2 April 2024 = 2024-03-28/2024-04-02"]),
        ("en", "2024-03-12/2024-03-14", ["2024-03-12/2024-03-14 = 2024-03-12/2024-03-14"]),
        ("en", "January–March 2024", ["January–March 2024 = 2024-01/2024-03"]),
        ("en", "12. 3. 2024", ["12. 3. 2024 = 2024-03-12"]),
        ("en", "on 08/2024 but no. 08/2024", ["08/2024 = 2024-08"]),
        ("en", "fiscal year 2023/24, in 2019–2021", ["2023/24 = 2023/2024", "2019–2021 = 2019/2021"]),
        ("en", "from 1998 to 2004, in 2019 and 2021", ["1998 = 1998", "2004 = 2004", "2019 = 2019", "2021 = 2021"]),
        ("en", "12/03/24, 31 June 2024, 2024-13-01, version 2024.03.12, may 2000", []),
        ("en", "in the 1990s, after 1200 cycles, in 1600 steps, in 1200 BC, by 2050 cars, rose from 1900 to 2050.", []),
        ("en", "by 2050 people", ["2050 people = 2050 people"]),
        ("en", "opened in 2019. A second car", ["2019 = 2019"]),
        ("fr", "en 1998 l'année et 2010 s'il, qu’en 2019 et", ["1998 = 1998", "2019 = 2019"]),
        ("fr", "du 3 au 5 mars 2024", ["3 = 2024-03-03", "5 mars 2024 = 2024-03-05"]),
        ("fr", "à 14 h 30, à 5 heures, n° 5", []),
        (
            "de",
            "3./4. Mai 2024, 12.–14.03.2024",
            ["3./4. Mai 2024 = 2024-05-03/2024-05-04", "12.–14.03.2024 = 2024-03-12/2024-03-14"],
        ),
        ("de", "die 1990er Jahre, nach 1200 Zyklen, 1 Billion Euro", ["1 Billion Euro = 1000000000000 EUR"]),
        (
            "de",
            "am\n12\\. März 2024 und am 3\\. und 4. Mai 2024",
            ["12\\. März 2024 = 2024-03-12", "3\\. = 2024-05-03", "4. Mai 2024 = 2024-05-04"],
        ),
        ("de", "II. Quartal 2024, 12.03.24", ["II. Quartal 2024 = 2024-Q2", "12.03.24 = 2024-03-12"]),
        ("it", "1° gennaio 2024, nel 1998 venne, 3° piano", ["1° gennaio 2024 = 2024-01-01", "1998 = 1998"]),
        (
            "es",
            "del 3 al 5 de marzo de 2024, en 2019 ha",
            ["3 = 2024-03-03", "5 de marzo de 2024 = 2024-03-05", "2019 = 2019"],
        ),
        ("pl", "w 2024 r., 5 tys. zł", ["2024 = 2024", "5 tys. zł = 5000 PLN"]),
    ],
)
def test_dates_are_read_in_their_usual_spellings(language: str, text: str, found: list[str]) -> None:
    assert sorted(read(text, language)) == sorted(found)


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ["Orme et al. [2004] saw it.", "Brenner Inc. USA grew.", "It was 5 p.m.", "The hall was full."]),
        ("en", ["See App. B and Fig. 3.", "It held 10^3^ N.", "J. R. Holt left.[^1]", "The rest stayed."]),
        ("de", ["Die 1. und 2. Klasse sind voll.", "Siehe Abs. 3.", "Es ist z. B. kalt.", "Am 12. 3. 2024 war es."]),
        ("de", ["Er kam am\n12\\. März 2024 an.", "Das war\n2019\\.", "Dann kam sie."]),
        ("de", ["Er zahlte 5 Mio. Euro.", "Raum 12.", "Die Fahrt."]),
        ("es", ["El Sr. Vega y la Sra. Brac.", "Luego vino."]),
        ("fr", ["Le Dr. Holt, cf. p. 12.", "L'art. 4.2 dit."]),
        ("nl", ["Volgens dhr. Bos komt er een brug.", "Zie blz. 12."]),
        ("pl", ["O godz. 9 i w 2024 r. była.", "Potem wyszedł."]),
    ],
)
def test_sentences_end_where_they_end(language: str, expected: list[str]) -> None:
    assert sentences(" ".join(expected), language) == expected


def passages(*texts: str) -> list[Passage]:
    starts = [sum(len(text) + 1 for text in texts[:at]) for at in range(len(texts))]
    return [
        Passage(id=str(at), ordinal=at, start=start, text=text, tokens=9)
        for at, (start, text) in enumerate(zip(starts, texts, strict=True))
    ]


def statements(*texts: str) -> list[str]:
    parts = passages(*texts)
    return [fact.statement for fact in select_facts(parts, find_mentions(parts, "en", Gazetteer({})), [], "en", 99)]


def test_a_sentence_that_a_chunk_tears_is_no_statement() -> None:
    parts = passages(
        "The bar weighs 5 kg in all. The wear that Orme et al.", "[2004] saw was 2.1 mm wide. It cost 40 euros."
    )
    assert torn_seams(parts, "en") == {("0", "end"), ("1", "start")}
    assert statements(*(part.text for part in parts)) == ["The bar weighs 5 kg in all."]
    whole = passages("The bar weighs 5 kg in all.", "It cost 40 euros in 2019.")
    assert torn_seams(whole, "en") == set()


def test_a_paragraph_that_goes_on_after_a_formula_is_no_statement() -> None:
    text = (
        "The load of 5 kg is then given by\n\n$$m g$$\n\nwhere the weight is 9.81 m/s² at most.\n\nThe car weighs 12 t."
    )
    assert statements(text) == ["The car weighs 12 t."]
    assert statements("Dear all,\n\nplease bring 12 kg of grease to the depot.") == [
        "please bring 12 kg of grease to the depot."
    ]


def test_a_row_that_heads_others_is_no_statement() -> None:
    table = "| Station | Track |\n| --- | --- |\n| Line 5 | Line 5 |\n| Lower | 2 |\n| Season 2024 | |\n"
    assert statements(table) == ["Station: Lower; Track: 2"]


@pytest.mark.parametrize("half", ["open", "held-out"])
def test_precision_on_the_labelled_texts_stays_above_the_bar(half: str) -> None:
    scores, _ = labelled.measure(half)
    for kind in ("date", "money", "percent", "quantity"):
        whole = labelled.Score()
        for (one, _language), score in scores.items():
            if one == kind:
                whole += score
        assert whole.precision >= labelled.PRECISION_BAR and whole.recall >= 0.97, (kind, str(whole))


def test_what_is_struck_out_is_not_stated():
    text = "The fare is ~~11.00 EUR~~ 12.50 EUR for adults from 3 June 2024."
    passage = Passage(id="1", ordinal=0, start=0, text=text, tokens=9)
    found = find_mentions([passage], "en", Gazetteer({}))
    assert [one.quote for one in found if one.mention.type == "money"] == ["12.50 EUR"]
    (fact,) = select_facts([passage], found, [], "en", 10)
    assert fact.statement == "The fare is 12.50 EUR for adults from 3 June 2024."
    assert fact.quote == text
