"""Which 8-bit or East Asian codec a text is in, by the letters that it would have; pure.

Owns the statistics: for each codec and each language that was written in it, how likely are the letters and signs that
the codec makes of the bytes (naive Bayes over single characters, with their neighbours' kinds). Letters are given in
the order of their frequency; the n-th counts 1/n (Zipf). A capital inside a word, a dash inside a word or a quotation
mark at the wrong end of one are what a wrong codec looks like.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from math import log

# The lines that are not ASCII of so many bytes decide; more only cost time (15 ms for this much).
MAX_SAMPLE_BYTES = 3000
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_BYTES_BEFORE = 40
# A letter of no language here, as in names; and a sign that no text has.
_RARE, _NEVER = 1e-4, 1e-7
# A letter on its own, or next to a digit.
_ODD = 0.1
_LETTERS, _SIGNS = 0.7, 0.3
# The other reading has to be so many times less likely (e to the power of this) for the choice to be no guess.
_SURE = 5.0

_WESTERN = ("cp1252", "iso8859_15", "mac_roman", "cp850", "cp437")
_CENTRAL = ("cp1250", "iso8859_2", "cp852", "mac_latin2")
_BALTIC = ("cp1257", "iso8859_13", "cp775")
_CYRILLIC = ("cp1251", "koi8_r", "cp866", "iso8859_5", "mac_cyrillic")
# Language: its letters that are not ASCII, the most frequent first, and the codecs that it is found in.
_LANGUAGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "fr": ("éèàêçîôûâùïœëüæÿ", _WESTERN),
    "de": ("üäößéàè", (*_WESTERN, "cp1250", "iso8859_2", "cp852")),
    "es": ("óíáéñúüª", _WESTERN),
    "pt": ("ãçéáíóêõâúàôüº", (*_WESTERN, "cp860")),
    "it": ("àèùòéìîÈ", _WESTERN),
    "ca": ("àéèóíòçúïü·", _WESTERN),
    "nl": ("ëéïèöüóáêç", _WESTERN),
    "sv": ("äåöéüà", _WESTERN),
    "da": ("øåæéöäüô", (*_WESTERN, "cp865")),
    "is": ("íðáéóþæúýöÞ", ("cp1252", "mac_iceland", "cp861")),
    "en": ("éèöüïñçâêàáôøäîíóæ", _WESTERN),
    "pl": ("łąężśóćńź", _CENTRAL),
    "cs": ("íáéěřžšýčůúťňďó", _CENTRAL),
    "sk": ("áíéčšžýúľťôňďäĺŕó", _CENTRAL),
    "hu": ("áéöóőíüúű", (*_CENTRAL, "cp1252")),
    "ro": ("ăîşţâșț", ("cp1250", "iso8859_2", "iso8859_16", "cp852", "mac_romanian")),
    "hr": ("čšžćđ", _CENTRAL),
    "lt": ("ėšžįųūąčę", _BALTIC),
    "lv": ("āīēšūņļķžģčōŗ", _BALTIC),
    "et": ("äõüöšž", ("cp1257", "iso8859_13", "iso8859_15", "cp1252", "cp775")),
    "tr": ("ıüşçğöİâî", ("cp1254", "iso8859_9", "cp857", "mac_turkish")),
    "vi": ("\u0301\u0300đ\u0323âưêơôă\u0309\u0303áàéèíìóòúù", ("cp1258",)),
    "ru": ("оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё", _CYRILLIC),
    "uk": ("оаинвітерслкумдпязьбгчйхцюїжєщшфґ", ("cp1251", "koi8_u", "cp1125", "iso8859_5", "mac_cyrillic")),
    "bg": ("аоиентрсвлкдпмузягъбчжшцщхйфюь", ("cp1251", "iso8859_5", "cp866", "mac_cyrillic", "cp855")),
    "sr": ("аиоенрјтсвкудмплзгбњчшцжћљђхфџ", ("cp1251", "iso8859_5", "cp855", "mac_cyrillic")),
    "el": ("αοιετσνηυρπκμλςωδγχθφβξζψάόίέήύώϊΐϋ", ("cp1253", "iso8859_7", "cp737", "mac_greek", "cp869")),
    "he": ("יוהלאתרבשמנםדעקחכפגצסטזןךףץ", ("cp1255", "iso8859_8", "cp862")),
    "ar": ("المينورتبعدسهفكقحجشصطخةىضذثءزغظأإؤئآًَُِّ،؟", ("cp1256", "iso8859_6", "cp864")),
    "fa": ("ایرنمدهوتبسشزکگخفقپعجحصچطغآضظذثئژ،؟", ("cp1256",)),
}
_JAPANESE = "のにはをたがでてとしれさいるかなもっすまこりくらあ"
_CHINESE = "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里好"
_TRADITIONAL = "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡好"
_KOREAN = "이다는에의고을가하지은로들를도기사한리어아나인해서있정시자대"
_EAST_ASIAN: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "ja": (_JAPANESE, ("cp932", "euc_jp")),
    "zh": (_CHINESE, ("gb18030",)),
    "zh-Hant": (_TRADITIONAL, ("big5", "cp950")),
    "ko": (_KOREAN, ("cp949",)),
}
_ALL = {**_LANGUAGES, **_EAST_ASIAN}
# The more frequent codec is right more often. The others, which few files have, are not here.
_FREQUENT = {
    **dict.fromkeys(("cp1252",), 5.0),
    **dict.fromkeys(("cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257"), 3.0),
    **dict.fromkeys(("cp932", "gb18030", "big5", "cp949"), 3.0),
    **dict.fromkeys(("iso8859_2", "iso8859_15", "mac_roman", "koi8_r", "euc_jp", "cp850"), 2.0),
}

_OPENING, _CLOSING = frozenset("«“„‘‚‹¿¡「『（《【"), frozenset("»”’›”」』）》】。、，；：？！")
_DASHES = frozenset("–—―")
_AT_NUMBERS = frozenset("€£¥§°º±½¼¾×µ²³¹‰¢·−÷\u00a0†‡№")
# The most frequent first.
_ALL_SIGNS = "’–“”€…°«»£§•„‘½·±×²—\u00a0µ¿¡©®º³¼¾‹›‚†™‰¥¢¹÷¶‡№"
_THAI_MARK = re.compile("[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]")
_DRAWN = 0.03  # of a drawing most signs are the same few
_DRAWING = frozenset(map(chr, range(0x2500, 0x25A0)))


@dataclass(frozen=True)
class Guess:
    """The likeliest codec, and the next one that reads another text if it is nearly as likely."""

    codec: str
    rival: str | None = None


def guess(sample: bytes) -> Guess | None:
    """Return the codec of *sample*, by its first lines that are not ASCII; None where none fits."""
    sample = b"".join(decisive_lines(sample))[:MAX_SAMPLE_BYTES]
    found: dict[str, tuple[float, str]] = {}
    for codec, languages in _languages_by_codec().items():
        text = _decoded(sample, codec)
        if text is None:
            continue
        seen = Counter(_seen(text))
        score = max(_score(seen, language) for language in languages) + _FREQUENT.get(codec, 0.0)
        if text not in found or score > found[text][0]:
            found[text] = (score, codec)
    ranked = sorted(found.values(), key=lambda one: -one[0])
    if not ranked:
        return None
    rival = ranked[1] if len(ranked) > 1 and ranked[0][0] - ranked[1][0] < _SURE else None
    return Guess(ranked[0][1], rival[1] if rival else None)


def decisive_lines(sample: bytes) -> Iterator[bytes]:
    """Yield the lines that are not ASCII, from shortly before their first byte that is not."""
    for line in sample.splitlines(keepends=True):
        if first := _NOT_ASCII.search(line):
            yield line[max(0, first.start() - _BYTES_BEFORE) :]


def _decoded(sample: bytes, codec: str) -> str | None:
    """Return the text; the end of a full sample may cut a character. None for bytes that the codec does not have."""
    for cut in range(4 if codec in _MULTIBYTE and len(sample) == MAX_SAMPLE_BYTES else 1):
        try:
            return sample[: len(sample) - cut].decode(codec)
        except UnicodeDecodeError:
            continue
    return None


_MULTIBYTE = frozenset(codec for _, codecs in _EAST_ASIAN.values() for codec in codecs)


@cache
def _languages_by_codec() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for language, (_, codecs) in _ALL.items():
        for codec in codecs:
            found.setdefault(codec, []).append(language)
    return found | {"cp874": ["th"]}


def _seen(text: str) -> Iterator[tuple[str, float]]:
    """Yield each character that is not ASCII, and how likely it is to be where it is: 1, _ODD or _NEVER."""
    padded = f" {text} "
    for index in range(1, len(padded) - 1):
        sign = padded[index]
        if sign > "\x7f":
            before, after = padded[index - 1], padded[index + 1]
            yield sign, _as_letter(before, sign, after) if sign.isalpha() else _as_sign(before, sign, after)


def _as_letter(before: str, sign: str, after: str) -> float:
    neighbours = [letter for letter in (before, after) if letter.isalpha()]
    if "\u0370" <= sign <= "\u0e7f" and any(map(str.isascii, neighbours)):
        return _NEVER  # one word has one script
    if sign.isupper() and before.islower():
        return _NEVER
    if sign.islower() and (after.isupper() or (before.isupper() and after.isupper())):
        return _NEVER
    return _ODD if sign < "\u2e80" and (not neighbours or before.isdigit() or after.isdigit()) else 1


def _as_sign(before: str, sign: str, after: str) -> float:
    if sign in _OPENING:
        return _NEVER if before.isalnum() else 1
    if sign in _CLOSING:
        return _NEVER if (before.isspace() and sign != "’") or (after.isalpha() and "’" != sign < "\u2e80") else 1
    if sign in _DASHES or sign in _AT_NUMBERS:
        return _NEVER if before.isalpha() and after.isalpha() else 1
    if sign in _DRAWING:
        if before.isalpha() or after.isalpha():
            return _NEVER
        return 1 if before in _DRAWING or after in _DRAWING else _ODD
    return 1 if before.isalpha() or _THAI_MARK.fullmatch(before) or not _THAI_MARK.fullmatch(sign) else _NEVER


def _score(seen: Mapping[tuple[str, float], int], language: str) -> float:
    likelihood = _likelihood(language)
    return sum(
        count * (log(place) + (likelihood.get(sign) or _other(sign, language))) for (sign, place), count in seen.items()
    )


@cache
def _likelihood(language: str) -> dict[str, float]:
    letters = _ALL[language][0] if language in _ALL else ""
    total = sum(1 / (rank + 1) for rank in range(len(letters)))
    share = 0.4 if language in _EAST_ASIAN else _LETTERS
    found = {letter: share / ((rank + 1) * total) for rank, letter in enumerate(letters)}
    for letter, likely in list(found.items()):
        if len(letter.upper()) == 1:
            found.setdefault(letter.upper(), likely / 20)
    total = sum(1 / (rank + 1) for rank in range(len(_ALL_SIGNS)))
    for rank, sign in enumerate(_ALL_SIGNS):
        found.setdefault(sign, _SIGNS / ((rank + 1) * total))
    for sign in _DRAWING:
        found[sign] = _DRAWN
    return {sign: log(likely) for sign, likely in found.items()}


def _other(sign: str, language: str) -> float:
    """Return the likelihood of a character that is not listed: one of many in some scripts, rare in others."""
    if language == "th":
        return log(1 / 50 if "\u0e01" <= sign <= "\u0e5b" else _NEVER)
    if language not in _EAST_ASIAN:
        return log(_RARE if sign.isalpha() and sign < "\u0250" else _NEVER)
    return log(_in_east_asia(sign, language))


def _in_east_asia(sign: str, language: str) -> float:
    if "\u3041" <= sign <= "\u30ff":
        return 0.3 / 170 if language == "ja" else _NEVER
    if "\uac00" <= sign <= "\ud7a3":
        return (0.5 / 2350 if _has(sign, "euc_kr") else _RARE / 100) if language == "ko" else _NEVER
    if "\u4e00" <= sign <= "\u9fff":
        codec, last, common, most = _IDEOGRAPHS[language]
        try:
            lead = sign.encode(codec)[0]
        except UnicodeEncodeError:
            return _NEVER
        return most / common if lead <= last else most / 50 / common
    return _RARE if sign.isalpha() or "\u3000" <= sign <= "\u303f" or "\uff01" <= sign <= "\uff5e" else _NEVER


# Of these: codec, lead byte of the last common ideograph (level 1), how many there are, and their share in texts.
_IDEOGRAPHS = {
    "ja": ("euc_jp", 0xCF, 2965, 0.3),
    "zh": ("gb2312", 0xD7, 3755, 0.5),
    "zh-Hant": ("big5", 0xC6, 5401, 0.5),
    "ko": ("euc_kr", 0xFD, 4888, 0.01),
}


def _has(sign: str, codec: str) -> bool:
    try:
        sign.encode(codec)
    except UnicodeEncodeError:
        return False
    return True
