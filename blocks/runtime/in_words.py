"""Sizes, counts, times, languages and long texts as people read them; pure."""

from __future__ import annotations

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")
_LANGUAGES = {
    "ar": "Arabic", "bg": "Bulgarian", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "et": "Estonian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi",
    "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean",
    "lt": "Lithuanian", "lv": "Latvian", "nb": "Norwegian", "nl": "Dutch", "nn": "Norwegian", "no": "Norwegian",
    "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian",
    "sr": "Serbian", "sv": "Swedish", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip


def size(count: int | None) -> str:
    """Return a number of bytes with its unit: ``563.4 kB``."""
    if count is None:
        return "not known"
    number, unit = float(count), 0
    while number >= 999.95 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    if unit == 0:
        return "1 byte" if count == 1 else f"{count} bytes"
    return f"{number:.1f} {_UNITS[unit]}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return *number* with its noun: ``1 document``, ``2,500 documents``, ``2 entities``."""
    several = many or (f"{one[:-1]}ies" if one.endswith("ty") else f"{one}s")
    return f"{number:,} {one if number == 1 else several}"


def how_long(seconds: float) -> str:
    """Return an estimated time: ``40 s``, ``3 min``, ``2 h 10 min``."""
    if seconds < 99.5:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def how_often(per_second: float, one: str) -> str:
    """Return a rate in the unit that suits it: ``25 documents/s``, ``1.4 documents/s``, ``3.2 documents/min``."""
    if per_second < 0.5:
        return f"{60 * per_second:.1f} {one}s/min"
    return f"{per_second:,.0f} {one}s/s" if per_second >= 9.95 else f"{per_second:.1f} {one}s/s"


def shortened(text: str, most: int) -> str:
    """Return *text* in at most *most* characters; of a longer one the beginning and an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def first_and_more(first: str, count: int) -> str:
    """Return the name of *count* things of which *first* is one: ``report.pdf``, ``report.pdf and 2 more``."""
    return first if count == 1 else f"{first} and {count - 1} more"


def language(code: str | None) -> str:
    """Return the English name of a language by its code; the code itself where it has none here."""
    return _LANGUAGES.get((code or "").partition("-")[0], code or "not known")
