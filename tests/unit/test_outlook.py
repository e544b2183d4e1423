"""Outlook messages: packed RTF, what is wrapped in it, and damaged files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from blocks.errors import NoText, UnreadableDocument, UnsupportedType
from tasks.conversion.outlook.compressed_rtf import unpacked
from tasks.conversion.outlook.encapsulated import form_of, original
from tests.corpus.outlook_messages import Attachment, Tree, compound_file, message, packed
from tests.unit import conversion_samples as samples

# [MS-OXRTFCP] 3.1.1 and 3.1.2: text from the dictionary, and a reference that reads what it has just written.
SIMPLE = bytes.fromhex(
    "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
)
OVERLAPPING = bytes.fromhex("1a0000001c0000004c5a4675e2d44b51410004205758595a0d6e7d010eb0")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (SIMPLE, b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"),
        (OVERLAPPING, b"{\\rtf1 WXYZWXYZWXYZWXYZWXYZ}"),
        (b"\x1c\0\0\0\x0c\0\0\0MELA\0\0\0\0{\\rtf1 text}", b"{\\rtf1 text}"),
    ],
)
def test_the_examples_of_the_specification_are_unpacked(data: bytes, expected: bytes) -> None:
    assert unpacked(data) == expected


@pytest.mark.parametrize("size", [0, 1, 100, 4_095, 4_096, 4_097, 50_000])
def test_what_was_packed_is_unpacked(size: int) -> None:
    rtf = b"".join(b"\\par word %d " % (number * 7_919) for number in range(size // 10 + 1))[:size]
    assert unpacked(packed(rtf)) == rtf


def test_no_more_is_unpacked_than_the_header_declares() -> None:
    data = packed(b"{\\rtf1 " + b"a" * 100_000 + b"}")
    assert unpacked(data[:4] + (50).to_bytes(4, "little") + data[8:]) == b"{\\rtf1 " + b"a" * 43
    assert len(unpacked(data[:4] + b"\xff\xff\xff\xff" + data[8:])) == 100_008


@pytest.mark.parametrize("cut", range(16, len(SIMPLE)))
def test_packed_text_that_was_cut_off_is_read_as_far_as_it_goes(cut: int) -> None:
    assert b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n".startswith(unpacked(SIMPLE[:cut]))


@pytest.mark.parametrize("data", [b"", b"\0" * 15, b"\x10\0\0\0\x10\0\0\0ABCD\0\0\0\0text"])
def test_what_is_no_packed_text_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"header|form"):
        unpacked(data)


@pytest.mark.parametrize(
    ("rtf", "expected"),
    [
        (rb"{\rtf1\ansi\fromhtml1 {\*\htmltag64 <p>}a & b{\*\htmltag72 </p>}}", "<p>a & b</p>"),
        (rb"{\rtf1\ansi\fromhtml1 {\*\htmltag1}<p>a{\*\htmltag84 &lt;}\htmlrtf <\htmlrtf0 b</p>}", "<p>a&lt;b</p>"),
        (rb"{\rtf1\fromhtml1 a\htmlrtf {\b hidden}\htmlrtf0 b}", "ab"),
        (rb"{\rtf1\fromhtml1 {\htmlrtf hidden} shown}", " shown"),  # a group ends what began in it
        (rb"{\rtf1\fromhtml1 {\*\mhtmltag64 <p>}a{\*\unknown gone {\b gone}}b{\pict 00ff}}", "ab"),
        (rb"{\rtf1\fromhtml1 \u-10179 ?\u-8704 ?\uc2\u8364 \'3f\'3f.}", "\U0001f600€."),
        (rb"{\rtf1\ansi\ansicpg1251\fromhtml1 \'cf\~\'f0}", "П&nbsp;р"),
        (rb"{\rtf1\ansi\fromhtml1{\fonttbl{\f1\fcharset204 A;}}\f1 \'cf{\*\htmltag \'e9}}", "Пé"),
        (rb"{\rtf1\fromhtml1 a\par\tab b\{\}\\}", "a\n\tb{}\\"),
        (rb"{\rtf1\fromhtml1 {\*\htmltag <a title=\'22x\'22>}}} trailing", '<a title="x">'),
    ],
)
def test_html_is_taken_out_of_rtf(rtf: bytes, expected: str) -> None:
    assert form_of(rtf) == "html"
    assert original(rtf, "html") == expected


def test_plain_text_is_taken_out_of_rtf() -> None:
    rtf = rb"{\rtf1\ansi\fromtext {\fonttbl{\f0 Arial;}}1 < 2\par {\*\htmltag <p>}+ 3}"
    assert form_of(rtf) == "text"
    assert original(rtf, "text") == "1 < 2\n+ 3"


def test_a_letter_of_rtf_is_no_wrapping() -> None:
    assert form_of(rb"{\rtf1\ansi words about \\fromhtml1}") == ""


def body_of(path: Path, tree: Tree) -> str:
    return samples.split(samples.convert(samples.write(path, compound_file(tree))))[1]


def test_large_texts_are_in_sectors_of_their_own(tmp_path: Path) -> None:
    body = body_of(tmp_path / "a.msg", message("Large", plain="a word and 5 mm\r\n" * 2_000))
    assert body.count("a word and 5 mm") == 2_000


def test_messages_in_messages_are_read_three_deep(tmp_path: Path) -> None:
    tree = message("level 5", plain="words 5", is_inner=True)
    for level in (4, 3, 2, 1):
        tree = message(
            f"level {level}", plain=f"words {level}", attachments=(Attachment(message=tree),), is_inner=level > 1
        )
    body = body_of(tmp_path / "a.msg", tree)
    assert [f"words {level}" in body for level in range(1, 6)] == [True, True, True, True, False]
    assert "unnamed (message/rfc822)" in body


def test_damaged_rtf_is_named_and_the_plain_text_read(tmp_path: Path) -> None:
    tree = {**message("Plan", plain="The plain words"), "__substg1.0_10090102": b"\0" * 40}
    output = samples.convert(samples.write(tmp_path / "a.msg", compound_file(tree)))
    assert "The plain words" in samples.split(output)[1]
    assert output.warnings == ("1 part of the file that could not be read",)


def test_a_damaged_file_is_refused_in_time(tmp_path: Path) -> None:
    """Every byte of directory, tables and header may be wrong; the answer is a text or our error, never a hang."""
    whole = compound_file(message("Plan", plain="The plain words " * 400, attachments=(Attachment(name="a"),)))
    started = time.thread_time()
    for at in (*range(24, 80), *range(512, len(whole), 97)):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        try:
            samples.convert(samples.write(tmp_path / "a.msg", bytes(damaged)), "a.msg")
        except (UnreadableDocument, UnsupportedType, NoText):
            continue
    assert time.thread_time() - started < 60


@pytest.mark.parametrize("kept", [600, 2_000, 5_000])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, kept: int) -> None:
    whole = compound_file(message("Plan", plain="The plain words " * 400))
    with pytest.raises(UnreadableDocument, match=r"damaged|could not be read"):
        samples.convert(samples.write(tmp_path / "a.msg", whole[:kept]))
