"""What public libraries find in the labelled texts; run by `benchmarks.facts` with the Python of a peer's environment.

Reads documents as JSON (language, text) from standard input and writes, for each, the finds by type as
``[start, end, value]``, or null for a language that the library does not know. Dates are ISO 8601, money is
``NUMBER CODE``, a quantity is ``NUMBER UNIT``. Each library is used as its documentation shows, with the language given
where it takes one.
"""

# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
from __future__ import annotations

import json
import re
import sys
import warnings
from typing import Any

Found = dict[str, list[list[Any]]]
LANGUAGES = {"en": "English", "de": "German", "es": "Spanish", "fr": "French", "it": "Italian", "nl": "Dutch"}


def _placed(text: str, quotes: list[tuple[str, str]]) -> list[list[Any]]:
    """Return place and value of quotes that are in *text* in this order."""
    found: list[list[Any]] = []
    at = 0
    for quote, value in quotes:
        start = text.find(quote, at)
        if start < 0:
            start = text.find(quote)
        if start >= 0:
            found.append([start, start + len(quote), value])
            at = start + len(quote)
    return found


def dateparser(language: str, text: str) -> Found | None:
    from dateparser.search import search_dates

    dates = search_dates(text, languages=[language]) or []
    return {"date": _placed(text, [(quote, value.isoformat()) for quote, value in dates])}


def datefinder(language: str, text: str) -> Found | None:
    import datefinder as library

    if language != "en":
        return None
    return {"date": [[*place, value.isoformat()] for value, place in library.find_dates(text, index=True)]}


def price_parser(language: str, text: str) -> Found | None:
    # It reads one price from a short text, so it is given every group of words around a sign or code of a currency.
    from price_parser import Price

    codes = {"$": "USD", "€": "EUR", "£": "GBP", "zł": "PLN", "US$": "USD"}
    found: list[list[Any]] = []
    for part in re.finditer(
        r"(?:[-−(]?\s?(?:US\$|[$€£]|EUR|USD|GBP|CHF|JPY)\s?[-−(]?[\d.,' \u00a0]*\d\)?)"
        r"|(?:[-−(]?\d[\d.,' \u00a0]*\s?(?:[$€£]|EUR|USD|GBP|CHF|JPY|PLN|zł|euros?|Euro))",
        text,
    ):
        price = Price.fromstring(part[0])
        if price.amount is not None:
            currency = price.currency or ""
            found.append([part.start(), part.end(), f"{price.amount} {codes.get(currency, currency)}"])
    return {"money": found}


def quantulum3(language: str, text: str) -> Found | None:
    from quantulum3 import parser

    if language != "en":
        return None
    found: Found = {"money": [], "quantity": [], "percent": []}
    for one in parser.parse(text):
        entity, start, end = one.unit.entity.name, *one.span
        if entity == "currency":
            found["money"].append([start, end, f"{one.value} {getattr(one.unit, 'code', '') or _code(one.unit.name)}"])
        elif one.unit.name == "percentage":
            found["percent"].append([start, end, f"{one.value} %"])
        elif entity != "dimensionless":
            found["quantity"].append([start, end, f"{one.value} {one.unit.name}"])
    return found


def _code(name: str) -> str:
    words = {"dollar": "USD", "euro": "EUR", "pound": "GBP", "yen": "JPY", "franc": "CHF"}
    return next((code for word, code in words.items() if word in name.lower()), name)


def recognizers(language: str, text: str) -> Found | None:
    import recognizers_date_time
    import recognizers_number_with_unit as units
    from recognizers_text import Culture

    if language not in LANGUAGES or not hasattr(Culture, LANGUAGES[language]):
        return None
    culture = getattr(Culture, LANGUAGES[language])
    found: Found = {"date": [], "money": [], "quantity": []}
    for one in recognizers_date_time.recognize_datetime(text, culture):
        values = (one.resolution or {}).get("values") or []
        stamps = {value.get("timex", "") for value in values}
        if len(stamps) == 1 and re.match(r"\d{4}", stamp := stamps.pop()):
            found["date"].append([one.start, one.end + 1, stamp])
    for one in units.recognize_currency(text, culture):
        resolution = one.resolution or {}
        code = resolution.get("isoCurrency") or _code(resolution.get("unit") or "")
        found["money"].append([one.start, one.end + 1, f"{resolution.get('value')} {code}"])
    for one in units.recognize_dimension(text, culture):
        resolution = one.resolution or {}
        found["quantity"].append([one.start, one.end + 1, f"{resolution.get('value')} {resolution.get('unit')}"])
    return found


def pysbd(language: str, text: str) -> Found | None:
    import pysbd as library

    segmenter = library.Segmenter(language=language, clean=False)
    return {"sentence": _by_paragraph(text, segmenter.segment)}


def syntok(language: str, text: str) -> Found | None:
    from syntok import segmenter

    def split(part: str) -> list[str]:
        found: list[str] = []
        for paragraph in segmenter.process(part):
            for sentence in paragraph:
                found.append(part[sentence[0].offset : sentence[-1].offset + len(sentence[-1].value)])
        return found

    return {"sentence": _by_paragraph(text, split)} if language in ("en", "de", "es") else None


def sentencex(language: str, text: str) -> Found | None:
    from sentencex import segment

    return {"sentence": _by_paragraph(text, lambda part: list(segment(language, part)))}


def blingfire(language: str, text: str) -> Found | None:
    import blingfire as library

    return {"sentence": _by_paragraph(text, lambda part: library.text_to_sentences(part).split("\n"))}


def _by_paragraph(text: str, split: Any) -> list[list[Any]]:
    """Return the places of sentences; without tables, which have none."""
    found: list[list[Any]] = []
    for part in re.finditer(r"[^\n]+", text):
        if part[0].startswith("|"):
            continue
        quotes = [(quote.strip(), "") for quote in split(part[0].strip("\n")) if quote.strip()]
        found += [[start + part.start(), end + part.start(), value] for start, end, value in _placed(part[0], quotes)]
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    find = globals()[sys.argv[1].replace("-", "_")]
    answers = [find(document["language"], document["text"]) for document in json.load(sys.stdin)]
    print(json.dumps(answers))
