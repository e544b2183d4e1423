"""Hostile text: encodings, sizes, depths, and what is dangerous in HTML, Markdown, CSV, mail, XML and JSON."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from tests.corpus.hostile_case import DAMAGED, EMPTY, LIMITS, HostileCase, content, fails, succeeds

MARK = "The harbour light burns green."
_PASSWD = "root:x:0"


def _made(make: Callable[[], str]) -> Callable[[Path], None]:
    """A writer of text that is too large to be kept in memory from the import on."""

    def write(path: Path) -> None:
        path.write_bytes(make().encode())

    return write


def _words(count: int, seed: int) -> str:
    chance = random.Random(seed)
    stems = ("lamp", "keel", "rope", "tide", "wharf", "crane", "gull", "mast", "salt", "fog", "anchor", "buoy")
    return " ".join(f"{chance.choice(stems)}{chance.randrange(100)}" for _ in range(count))


def _flat_html() -> str:
    unit = "".join(f"<p>{_words(20, number)}</p>\n" for number in range(400))
    return f"<html><body><h1>{MARK}</h1>\n{unit * (40_000_000 // len(unit))}</body></html>"


def _deep_html() -> str:
    depth = 100_000
    return f"<html><body>{'<div>' * depth}{MARK}{'</div>' * depth}</body></html>"


def _large_csv() -> str:
    chance = random.Random(11)
    rows = [
        f"{number},{number % 28 + 1:02}.03.2024,berth {chance.randrange(60)},{chance.random() * 1e6:.4f},"
        f"{chance.choice(('loaded', 'in ballast', 'under repair'))},{chance.randrange(1 << 60):015x}{'.' * 36}"
        for number in range(1, 100_001)
    ]
    return f"id,date,berth,tonnes,state,checksum\n0,01.03.2024,{MARK},0,,\n" + "\n".join(rows) + "\n"


def _ragged_csv() -> str:
    lines = ["ship,length,draught", f"Alma,82.5,4.1,{MARK}", "Bodil", "", "Carina,60.0", 'Dagny,"7,2",,,,', ",,,,,,,,,"]
    return "\n".join(lines) + "\n"


def _deep_mail() -> str:
    depth = 1_000
    head = f"From: a@harbour.example\nTo: b@harbour.example\nSubject: {MARK}\nMIME-Version: 1.0\n"
    opened = "".join(f'Content-Type: multipart/mixed; boundary="b{level}"\n\n--b{level}\n' for level in range(depth))
    closed = "".join(f"\n--b{level}--\n" for level in reversed(range(depth)))
    return f"{head}{opened}Content-Type: text/plain\n\n{MARK}\n{closed}"


def _nested_list() -> str:
    return f"# {MARK}\n\n" + "".join(f"{' ' * level}- level {level}\n" for level in range(2_000))


def _large_table() -> str:
    rows = "".join(f"| {number} | {_words(6, number)} | {number * 7 % 1000} |\n" for number in range(2_000))
    return f"| number | words | value |\n| --- | --- | --- |\n| 0 | {MARK} | 0 |\n{rows}"


def _alias_bomb() -> str:
    """YAML aliases that unfold to 3.5 thousand million items when the header is written out again."""
    lines = ["---", "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 10)]
    return "\n".join([*lines, "---", "", f"# {MARK}", ""])


def _laughing_xml() -> str:
    entities = "".join(f'<!ENTITY l{level} "{f"&l{level - 1};" * 10}">' for level in range(1, 10))
    return f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY l0 "ha">{entities}]><d>{MARK} &l9;</d>'


def _mixed_encodings() -> bytes:
    lines = (f"{MARK}\n".encode(), "Café am Kai, Größe 12\n".encode(), "Café am Kai, Größe 12\n".encode("latin-1"))
    return b"".join(lines * 20)


def _rtf_depth() -> str:
    return r"{\rtf1\ansi " + "{" * 100_000 + MARK + "}" * 100_000 + "}"


def _lone_surrogates() -> str:
    """A notebook whose text is valid JSON, but no valid text."""
    return (
        '{"cells":[{"cell_type":"markdown","id":"a","metadata":{},'
        f'"source":["{MARK} \\ud800 and \\udfff and \\u0000"]}}],"metadata":{{}},"nbformat":4,"nbformat_minor":5}}'
    )


TEXT_CASES: tuple[HostileCase, ...] = (
    # Nothing in it
    fails("empty-file", "empty.txt", content(b""), "no bytes at all", EMPTY),
    fails("empty-pdf", "empty.pdf", content(b""), "no bytes at all, under the name of a PDF", EMPTY),
    fails("white-space-only", "white-space.md", content(b" \n\t\r\n\xc2\xa0\n" * 400), "only white space", EMPTY),
    fails("bom-only", "bom-only.txt", content(b"\xef\xbb\xbf"), "only a byte order mark", EMPTY),
    succeeds("one-byte-file", "one-byte.txt", content(b"A"), "one letter", "A", errors=DAMAGED),
    # Encodings
    succeeds("utf-16-text", "utf-16.txt", content(f"{MARK}\n".encode("utf-16")), "UTF-16 with a byte order mark", MARK),
    succeeds(
        "utf-16-without-bom",
        "utf-16-no-bom.txt",
        content((f"{MARK}\n" * 30).encode("utf-16-le")),
        "UTF-16 without a byte order mark",
        MARK,
        errors=DAMAGED,
    ),
    succeeds("mixed-encodings", "mixed-encodings.txt", content(_mixed_encodings()), "UTF-8 and Latin-1 in turn", MARK),
    succeeds(
        "text-with-nuls",
        "nuls.txt",
        content(f"{MARK}\n\0\0 and more\0\n".encode() * 10),
        "a database stores no NUL",
        MARK,
        errors=DAMAGED,
    ),
    succeeds(
        "control-characters",
        "control.txt",
        content(f"{MARK} \x1b[2J\x1b]0;title\x07 \u202e dlrow \u200b\ufeff\u2028 \x7f\x85 end\n".encode()),
        "terminal commands and marks that turn the direction of text",
        MARK,
        errors=DAMAGED,
    ),
    succeeds(
        "stacked-accents",
        "accents.txt",
        content((MARK + " a" + "\u0301" * 50_000 + " e" + "\u0327" * 50_000 + "\n").encode()),
        "two letters with 100,000 accents",
        MARK,
    ),
    # Size and shape
    succeeds(
        "single-line-text",
        "single-line.txt",
        _made(lambda: f"{MARK} {_words(50_000, 12)}"[:250_000]),
        "250 KB without a line break",
        MARK,
        errors=LIMITS,
    ),
    succeeds(
        "single-word-text",
        "single-word.txt",
        _made(lambda: f"{MARK} {'x1' * 500_000}\n"),
        "a word of a million letters",
        MARK,
        errors=LIMITS,
    ),
    succeeds(
        "number-bait",
        "number-bait.txt",
        _made(lambda: f"{MARK}\n{'1,' * 12_000}\n{'12.' * 8_000}x\n{'Mr. A. ' * 5_000}\n{'a@' * 6_000}\n"),
        "what makes a careless regular expression take hours",
        MARK,
        errors=LIMITS,
    ),
    # HTML
    succeeds("flat-40mb-html", "flat.html", _made(_flat_html), "40 MB of paragraphs", MARK, errors=LIMITS),
    succeeds("deep-html", "deep.html", _made(_deep_html), "100,000 nested elements", MARK, errors=DAMAGED + LIMITS),
    succeeds(
        "html-named-csv",
        "actually-html.csv",
        content(f"<!DOCTYPE html><html><body><h1>{MARK}</h1><p>Three, four; five</p></body></html>".encode()),
        "a page under a wrong name",
        MARK,
    ),
    # CSV
    succeeds("csv-100k-rows", "large.csv", _made(_large_csv), "10 MB, 100,000 rows", MARK, errors=LIMITS),
    succeeds("ragged-csv", "ragged.csv", content(_ragged_csv().encode()), "rows of 1 to 10 cells", MARK),
    succeeds(
        "unclosed-quote-csv",
        "unclosed-quote.csv",
        _made(lambda: f'ship,note\nAlma,{MARK}\nBodil,"{_words(15_000, 13)}\n'),
        "a quote that is never closed",
        MARK,
        errors=DAMAGED + LIMITS,
    ),
    # Mail
    succeeds(
        "mail-without-body",
        "no-body.eml",
        content(f"From: a@harbour.example\nTo: b@harbour.example\nSubject: {MARK}\n\n".encode()),
        "headers only",
        MARK,
        errors=DAMAGED + EMPTY,
    ),
    succeeds(
        "deep-mail", "deep.eml", _made(_deep_mail), "1,000 multiparts in each other", MARK, errors=DAMAGED + LIMITS
    ),
    succeeds(
        "unknown-charset-mail",
        "unknown-charset.eml",
        content(
            f"From: a@harbour.example\nSubject: =?x-nowhere?Q?=C4?= {MARK}\nDate: yesterday\n"
            "Content-Type: text/plain; charset=x-nowhere\nContent-Transfer-Encoding: base64\n\n! no base64 !\n".encode()
        ),
        "a charset that does not exist, a date that is none, base64 that is none",
        MARK,
        errors=DAMAGED,
    ),
    # Markdown
    succeeds("deep-list-markdown", "deep-list.md", _made(_nested_list), "lists 2,000 deep", MARK, errors=LIMITS),
    succeeds(
        "deep-quote-markdown",
        "deep-quote.md",
        content(f"# {MARK}\n\n{'>' * 10_000} here\n".encode()),
        "quotes 10,000 deep",
        MARK,
        errors=DAMAGED + LIMITS,
    ),
    succeeds(
        "brackets-markdown",
        "brackets.md",
        content(f"# {MARK}\n\n{'[' * 6_000}\n\n{'*a_' * 6_000}\n\n{'`' * 4_000}a\n\n{'<a ' * 4_000}\n".encode()),
        "what makes a careless inline parser take hours",
        MARK,
        errors=LIMITS,
    ),
    succeeds("table-only-markdown", "table-only.md", _made(_large_table), "2,000 rows", MARK, errors=LIMITS),
    succeeds(
        "yaml-alias-bomb-markdown",
        "alias-bomb.md",
        content(_alias_bomb().encode()),
        "a header whose aliases unfold to 3.5 thousand million items",
        MARK,
        errors=DAMAGED + LIMITS,
    ),
    succeeds(
        "yaml-object-markdown",
        "yaml-object.md",
        content(f'---\ntitle: !!python/object/apply:os.system ["touch yaml-ran"]\n---\n\n# {MARK}\n'.encode()),
        "a header that asks for a command to be run",
        MARK,
        errors=DAMAGED,
    ),
    succeeds(
        "broken-header-markdown",
        "broken-header.md",
        content(f"---\ntitle: [unclosed\n\tkey: {{\n---\n\n# {MARK}\n".encode()),
        "a header that is no YAML",
        MARK,
        errors=DAMAGED,
    ),
    # XML, JSON, RTF
    succeeds(
        "billion-laughs-xml",
        "billion-laughs.xml",
        content(_laughing_xml().encode()),
        "entities that unfold to 2 GB; harmless where nothing unfolds them",
        MARK,
        errors=DAMAGED + LIMITS,
        never="ha" * 1000,
    ),
    succeeds(
        "external-entity-xml",
        "external-entity.xml",
        content(
            f'<?xml version="1.0"?><!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><d>{MARK} &x;</d>'.encode()
        ),
        "asks for /etc/passwd",
        MARK,
        errors=DAMAGED,
        never=_PASSWD,
    ),
    succeeds(
        "deep-json",
        "deep.json",
        _made(lambda: f'{"[" * 20_000}"{MARK}"{"]" * 20_000}'),
        "20,000 nested lists",
        MARK,
        errors=DAMAGED + LIMITS,
    ),
    succeeds(
        "notebook-with-lone-surrogates",
        "surrogates.ipynb",
        content(_lone_surrogates().encode()),
        "halves of characters, which UTF-8 cannot hold",
        MARK,
        errors=DAMAGED,
    ),
    succeeds(
        "broken-notebook",
        "broken.ipynb",
        content(f'{{"cells": [{{"cell_type": "markdown", "source": ["{MARK}\\n", "and th'.encode()),
        "JSON that breaks off",
        MARK,
        errors=DAMAGED,
    ),
    succeeds("deep-rtf", "deep.rtf", _made(_rtf_depth), "100,000 nested groups", MARK, errors=DAMAGED + LIMITS),
)
