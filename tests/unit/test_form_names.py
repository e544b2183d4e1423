"""File names in the forms that clients write them, byte for byte."""

from __future__ import annotations

import base64

import pytest

from blocks.naming import clean_display_name
from waybill.gateway.http.form_names import disposition, file_name

NAME = "Übersicht 2026 – für Zoë.md"
UTF8 = NAME.encode()
B64 = base64.b64encode(UTF8)
PERCENT = b"%C3%9Cbersicht%202026%20%E2%80%93%20f%C3%BCr%20Zo%C3%AB.md"
FORMS: dict[str, tuple[bytes, str | None]] = {
    # Browsers, curl and requests
    "raw UTF-8": (b'filename="' + UTF8 + b'"', NAME),
    "raw Latin-1": ('filename="Übersicht für Zoë.md"'.encode("latin-1"), "Übersicht für Zoë.md"),
    "raw Windows-1252": ('filename="Preis – 5 €.md"'.encode("cp1252"), "Preis – 5 €.md"),
    "raw Shift-JIS keeps its extension": ('filename="テスト.md"'.encode("shift_jis"), "ƒeƒXƒg.md"),
    "raw UTF-8 of a Mac, decomposed": (b'filename="U\xcc\x88bersicht.md"', "U\u0308bersicht.md"),
    "a browser's escapes": (b'filename="quo%22ted%0D%0A.md"', 'quo"ted\r\n.md'),
    "a browser's escapes in lower case": (b'filename="a%0d%0ab.md"', "a\r\nb.md"),
    "any other percent sign stays": (b'filename="100%25 %C3%9C %2F.md"', "100%25 %C3%9C %2F.md"),
    "escaped quotes": (rb'filename="quo\"ted\".md"; x=y', 'quo"ted".md'),
    "an escaped backslash": (rb'filename="a\\b.md"', r"a\b.md"),
    "Internet Explorer's path": (rb'filename="C:\dir\x.md"', r"C:\dir\x.md"),
    "a UNC path": (rb'filename="\\server\share\new.md"', r"\server\share\new.md"),
    "a semicolon in quotes": (b'filename="a;b.md"; filename2="x"', "a;b.md"),
    "a name that looks like a parameter": (b'filename="a; filename=b.md"', "a; filename=b.md"),
    "a token": (b"filename=plain.md", "plain.md"),
    "a token with blanks": (b"filename=my report.md ; x=y", "my report.md"),
    "a token in UTF-8": (b"filename=" + UTF8, NAME),
    "in capitals": (b'FileName="a.md"', "a.md"),
    "blanks around the sign": (b'filename = "a.md"', "a.md"),
    "empty": (b'filename=""', ""),
    "empty token": (b"filename=", ""),
    "missing": (b'x="y"', None),
    "twice": (b'filename="a.md"; filename="b.md"', "a.md"),
    # .NET, which sends both
    "a word and filename*": (b'filename="=?utf-8?B?' + B64 + b"?=\"; filename*=utf-8''" + PERCENT, NAME),
    "filename* first": (b"filename*=utf-8''" + PERCENT + b'; filename="=?utf-8?B?' + B64 + b'?="', NAME),
    "filename* and an ASCII name": (b"filename=\"Uebersicht.md\"; filename*=UTF-8''" + PERCENT, NAME),
    "an empty name and filename*": (b"filename=\"\"; filename*=UTF-8''a.md", "a.md"),
    # RFC 2047
    "a B word": (b'filename="=?utf-8?B?' + B64 + b'?="', NAME),
    "a b word, not quoted": (b"filename==?UTF-8?b?" + B64 + b"?=", NAME),
    "a B word without its padding": (b'filename="=?utf-8?B?w5wubWQ?="', "Ü.md"),
    "a B word with a slash in it": (b'filename="=?utf-8?B?Pz8/Lm1k?="', "???.md"),
    "a Q word": (b'filename="=?UTF-8?Q?=C3=9Cbersicht_2026=2Emd?="', "Übersicht 2026.md"),
    "a q word with blanks": (b'filename="=?utf-8?q?=C3=9Cber sicht.md?="', "Über sicht.md"),
    "a Q word in Latin-1": (b'filename="=?iso-8859-1?Q?=DCbersicht.md?="', "Übersicht.md"),
    "a word in Shift-JIS": (b'filename="=?Shift_JIS?B?g2WDWINnLm1k?="', "テスト.md"),
    "a word with a language": (b'filename="=?utf-8*de?Q?=C3=9C.md?="', "Ü.md"),
    "two words": (b'filename="=?utf-8?Q?=C3=9Cber?= =?utf-8?Q?sicht.md?="', "Übersicht.md"),
    "a character cut in two": (b'filename="=?utf-8?B?ww==?= =?utf-8?B?nC5tZA==?="', "Ü.md"),
    "two charsets": (b'filename="=?iso-8859-1?Q?=DC?= =?utf-8?Q?=C3=9C.md?="', "ÜÜ.md"),
    "a word and text": (b'filename="=?utf-8?Q?=C3=9C?= 2026.md"', "Ü 2026.md"),
    "a word in an unknown charset": (b'filename="=?x-unknown?Q?=DC?=.md"', "=?x-unknown?Q?=DC?=.md"),
    "a word that is no base64": (b'filename="=?utf-8?B?a?=.md"', "=?utf-8?B?a?=.md"),
    "a word of something else": (b'filename="=?unicode_escape?Q?a?=.md"', "=?unicode_escape?Q?a?=.md"),
    "only the look of a word": (b'filename="a=?b?=.md"', "a=?b?=.md"),
    # RFC 8187 (5987)
    "filename* alone": (b"filename*=UTF-8''" + PERCENT, NAME),
    "filename* with a language": (b"filename*=UTF-8'de-AT'" + PERCENT, NAME),
    "filename* in Latin-1": (b"filename*=ISO-8859-1''%DCbersicht%20f%FCr.md", "Übersicht für.md"),
    "filename* in quotes": (b"filename*=\"UTF-8''" + PERCENT + b'"', NAME),
    "filename* in an unknown charset": (b"filename=\"a.md\"; filename*=x-unknown''%DC.md", "a.md"),
    "filename* that is not what it says": (b"filename=\"a.md\"; filename*=UTF-8''%DC.md", "a.md"),
    "filename* without a charset": (b'filename="a.md"; filename*=b.md', "a.md"),
    "filename* that is empty": (b"filename=\"a.md\"; filename*=UTF-8''", "a.md"),
    "filename* with a path": (b"filename*=UTF-8''..%2F..%2Fa.md", "../../a.md"),
    # RFC 2231
    "continued": (b"filename*0*=UTF-8''%C3%9Cber; filename*1=sicht; filename*2*=%202026.md", "Übersicht 2026.md"),
    "continued, in another order": (b'filename*1="sicht.md"; filename*0="Ueber"', "Uebersicht.md"),
    "continued, a character cut in two": (b"filename*0*=UTF-8''%C3; filename*1*=%9C.md", "Ü.md"),
    "continued, in Latin-1": (b"filename*0*=iso-8859-1'en'%DC; filename*1*=%FC.md", "Üü.md"),
    "continued, and plain": (b"filename=\"U.md\"; filename*0*=UTF-8''%C3%9C; filename*1=.md", "Ü.md"),
    "continued, with a gap": (b'filename*0="a.md"; filename*2="x"', "a.md"),
    "continued, without a beginning": (b'filename="a.md"; filename*1="x"', "a.md"),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_name_is_the_one_that_the_client_meant(form: str) -> None:
    written, meant = FORMS[form]
    for before, after in (
        (b'form-data; name="file"; ', b""),
        (b"form-data; ", b'; name="file"'),
        (b"form-data;", b";name=file"),
    ):
        kind, parameters = disposition(before + written + after)
        assert (kind, parameters[b"name"], file_name(parameters)) == (b"form-data", b"file", meant)


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (b"", b""),
        (b"form-data", b"form-data"),
        (b" Form-Data ;name=a", b"form-data"),
        (b"attachment; name=a", b"attachment"),
        (b";;", b""),
        (b'"', b'"'),
    ],
)
def test_the_kind_is_told(header: bytes, kind: bytes) -> None:
    assert disposition(header)[0] == kind


def test_a_stored_name_keeps_its_extension_and_is_composed() -> None:
    stored = {
        "U\u0308bersicht.md": "Übersicht.md",
        "report.md. . ": "report.md",
        " .a.md": "a.md",
        r"C:\dir\x.md": "x.md",
    }
    assert {name: clean_display_name(name) for name in stored} == stored
