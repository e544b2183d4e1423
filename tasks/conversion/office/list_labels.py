"""Numbers of lists in every number format of Word: 7, vii, Seven, 七 (ECMA-376 part 1, 17.18.59); pure.

What is not known, and numbers that a system cannot write, become decimal, as in the programs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tasks.conversion.office.numerals import numeral

# A number of a damaged document must not become a text of a million letters.
_MAX_REPEATED = 30

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ORDINAL_ONES = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}

_RUSSIAN = "абвгдежзиклмнопрстуфхцчшщыэюя"
_HEBREW = "אבגדהוזחטיכלמנסעפצקרשת"
_ARABIC = "أبتثجحخدذرزسشصضطظعغفقكلمنهوي"
_ABJAD = "أبجدهوزحطيكلمنسعفصقرشتثخذضظغ"
_THAI = "กขคงจฉชซฌญฎฏฐฑฒณดตถทธนบปผฝพฟภมยรลวศษสหฬอฮ"
_HINDI_CONSONANTS = "कखगघङचछजझञटठडढणतथदधनपफबभमयरलवशषसह"
_HINDI_VOWELS = "अआइईउऊऋएऐओऔ"
_GANADA = "가나다라마바사아자차카타파하"
_CHOSUNG = "ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ"
_AIUEO = "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン"
_IROHA = "イロハニホヘトチリヌルヲワカヨタレソツネナラムウヰノオクヤマケフコエテアサキユメミシヱヒモセスン"
_STEMS = "甲乙丙丁戊己庚辛壬癸"
_BRANCHES = "子丑寅卯辰巳午未申酉戌亥"
_CHICAGO = "*†‡§"

_HAN = "〇一二三四五六七八九"
_LEGAL_SIMPLIFIED = "零壹贰叁肆伍陆柒捌玖"
_LEGAL_TRADITIONAL = "零壹貳參肆伍陸柒捌玖"
_LEGAL_JAPANESE = "〇壱弐参四五六七八九"
_KOREAN = "영일이삼사오육칠팔구"
_KOREAN_NATIVE = ["하나", "둘", "셋", "넷", "다섯", "여섯", "일곱", "여덟", "아홉", "열"]


def label_of(number: int, kind: str, language: str = "en") -> str:
    """Return *number* in the number format *kind* of Word ("lowerRoman"); "" for those that show no number."""
    if kind in ("none", "bullet"):
        return ""
    if kind == "decimalZero":
        return f"{number:02d}"
    if kind == "ordinal":
        return ordinal(number, language)
    if number > 0 and (system := _SYSTEMS.get(kind)) is not None:
        return system(number)
    return str(number)


def is_known(kind: str, language: str = "en") -> bool:
    """Return whether *kind* is written as programs show it."""
    if kind in ("cardinalText", "ordinalText"):
        return language.startswith("en")
    return kind in _SYSTEMS or kind in _DECIMAL


def ordinal(number: int, language: str) -> str:
    """Return "3rd" in the way of *language*."""
    language = language[:2].lower()
    if language == "en":
        ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
        return f"{number}{'th' if number % 100 in (11, 12, 13) else ending}"
    if language == "fr":
        return f"{number}{'er' if number == 1 else 'e'}"
    endings = {"nl": "e", "es": "º", "it": "°", "pt": "º", "sv": ":a" if number % 10 in (1, 2) else ":e"}
    return f"{number}{endings.get(language, '.')}"


def cardinal(number: int) -> str:
    """Return *number* in English words ("Twenty-one")."""
    return _capital(_words(number)) if number < 1_000_000 else str(number)


def _ordinal_text(number: int) -> str:
    if number >= 1_000_000:
        return str(number)
    words = _words(number)
    for sign in ("-", " "):
        head, found, last = words.rpartition(sign)
        if found:
            return _capital(f"{head}{sign}{_ordinal_word(last)}")
    return _capital(_ordinal_word(words))


def _ordinal_word(word: str) -> str:
    if word in _ORDINAL_ONES:
        return _ORDINAL_ONES[word]
    return f"{word[:-1]}ieth" if word.endswith("y") else f"{word}th"


def _words(number: int) -> str:
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")
    size, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    head, rest = divmod(number, size)
    return f"{_words(head)} {name}" + (f" {_words(rest)}" if rest else "")


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _repeated(letters: str) -> Callable[[int], str]:
    """Word's letters: a to z, then aa, bb and so on."""

    def system(number: int) -> str:
        times, index = divmod(number - 1, len(letters))
        return letters[index] * (times + 1) if times < _MAX_REPEATED else str(number)

    return system


def _cyclic(signs: str) -> Callable[[int], str]:
    return lambda number: signs[(number - 1) % len(signs)]


def _within(signs: str) -> Callable[[int], str]:
    """Signs for the first numbers, decimal beyond."""
    return lambda number: signs[number - 1] if number <= len(signs) else str(number)


def _enclosed(first: int, count: int) -> Callable[[int], str]:
    return _within("".join(chr(first + index) for index in range(count)))


def _digits(signs: str) -> Callable[[int], str]:
    return lambda number: "".join(signs[int(digit)] for digit in str(number))


def _counted(digits: str, tens: str, large: str, *, keep_one: bool = False, zero: str = "") -> Callable[[int], str]:
    """East Asian numbers: digits, the words for ten, hundred, thousand in *tens*, for ten thousand in *large*."""

    def below(number: int, first: bool) -> str:
        parts: list[str] = []
        gap = False
        for index, size in enumerate((1000, 100, 10, 1)):
            digit, number = divmod(number, size)
            if not digit:
                gap = bool(parts)
                continue
            if gap and zero:
                parts.append(zero)
            gap = False
            word = tens[2 - index] if size > 1 else ""
            alone = digit == 1 and size > 1 and not keep_one
            drop = alone and (zero == "" or (size == 10 and first and not parts))
            parts.append(("" if drop else digits[digit]) + word)
        return "".join(parts)

    def system(number: int) -> str:
        if number >= 100_000_000:
            return str(number)
        high, low = divmod(number, 10_000)
        if not high:
            return below(low, first=True)
        between = zero if zero and 0 < low < 1000 else ""
        return below(high, first=True) + large + between + below(low, first=False)

    return system


def _sexagenary(number: int) -> str:
    return _STEMS[(number - 1) % 10] + _BRANCHES[(number - 1) % 12]


def _hebrew_number(number: int) -> str:
    if number > 999:
        return str(number)
    parts: list[str] = []
    for value, sign in ((400, "ת"), (300, "ש"), (200, "ר"), (100, "ק")):
        while number >= value:
            parts.append(sign)
            number -= value
    if number in (15, 16):  # the regular spellings would be names of God
        return "".join(parts) + ("טו" if number == 15 else "טז")
    tens, ones = divmod(number, 10)
    return "".join(parts) + ("יכלמנסעפצ"[tens - 1] if tens else "") + (_HEBREW[ones - 1] if ones else "")


def _full_width(number: int) -> str:
    return "".join(chr(0xFEE0 + ord(digit)) for digit in str(number))


_CHINESE = _counted(_HAN, "十百千", "万", zero="零")
_TAIWANESE = _counted(_HAN, "十百千", "萬", zero="零")
_DECIMAL = frozenset({"decimal", "decimalHalfWidth", "decimalZero", "ordinal", "none", "bullet"})
_SYSTEMS: dict[str, Callable[[int], str]] = {
    **{kind: partial(numeral, kind=kind) for kind in ("upperRoman", "lowerRoman", "upperLetter", "lowerLetter")},
    "russianUpper": _repeated(_RUSSIAN.upper()),
    "russianLower": _repeated(_RUSSIAN),
    "cardinalText": cardinal,
    "ordinalText": _ordinal_text,
    "hex": lambda number: f"{number:X}",
    "chicago": _repeated(_CHICAGO),
    "numberInDash": lambda number: f"- {number} -",
    "decimalFullWidth": _full_width,
    "decimalFullWidth2": _full_width,
    "decimalEnclosedCircle": _enclosed(0x2460, 20),
    "decimalEnclosedCircleChinese": _enclosed(0x2460, 20),
    "decimalEnclosedFullstop": _enclosed(0x2488, 20),
    "decimalEnclosedParen": _enclosed(0x2474, 20),
    "ideographEnclosedCircle": _enclosed(0x3280, 10),
    "ideographTraditional": _cyclic(_STEMS),
    "ideographZodiac": _cyclic(_BRANCHES),
    "ideographZodiacTraditional": _sexagenary,
    "ideographDigital": _digits(_HAN),
    "japaneseDigitalTenThousand": _digits(_HAN),
    "taiwaneseDigital": _digits("○" + _HAN[1:]),
    "koreanDigital": _digits(_KOREAN),
    "koreanDigital2": _digits("零" + _HAN[1:]),
    "japaneseCounting": _counted(_HAN, "十百千", "万"),
    "japaneseLegal": _counted(_LEGAL_JAPANESE, "拾百阡", "萬", keep_one=True),
    "chineseCounting": _CHINESE,
    "chineseCountingThousand": _CHINESE,
    "chineseLegalSimplified": _counted(_LEGAL_SIMPLIFIED, "拾佰仟", "萬", keep_one=True, zero="零"),
    "taiwaneseCounting": _TAIWANESE,
    "taiwaneseCountingThousand": _TAIWANESE,
    "ideographLegalTraditional": _counted(_LEGAL_TRADITIONAL, "拾佰仟", "萬", keep_one=True, zero="零"),
    "koreanCounting": _counted(_KOREAN, "십백천", "만"),
    "koreanLegal": lambda number: _KOREAN_NATIVE[number - 1] if number <= len(_KOREAN_NATIVE) else str(number),
    "aiueo": _cyclic(_AIUEO),
    "aiueoFullWidth": _cyclic(_AIUEO),
    "iroha": _cyclic(_IROHA),
    "irohaFullWidth": _cyclic(_IROHA),
    "ganada": _cyclic(_GANADA),
    "chosung": _cyclic(_CHOSUNG),
    "hebrew1": _hebrew_number,
    "hebrew2": _repeated(_HEBREW),
    "arabicAlpha": _repeated(_ARABIC),
    "arabicAbjad": _repeated(_ABJAD),
    "hindiVowels": _repeated(_HINDI_CONSONANTS),  # the standard's names of the two are exchanged in Word
    "hindiConsonants": _repeated(_HINDI_VOWELS),
    "hindiNumbers": _digits("०१२३४५६७८९"),
    "thaiLetters": _repeated(_THAI),
    "thaiNumbers": _digits("๐๑๒๓๔๕๖๗๘๙"),
}
