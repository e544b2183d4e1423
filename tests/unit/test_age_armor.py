"""ASCII armor: read strictly, so that a file has one armored form but for white space around it and its line ends."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from blocks.age import X25519Identity, dearmor, is_armored, seal, unseal
from blocks.age.armor import BEGIN, END, MAX_WHITE_SPACE_BYTES
from blocks.errors import MalformedAgeFile

PROPERTY = settings(max_examples=250)


def armored(content: bytes, line_end: bytes = b"\n") -> bytes:
    text = base64.b64encode(content)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return line_end.join([BEGIN, *lines, END, b""])


def cut(content: bytes, sizes: list[int]) -> Iterator[bytes]:
    start = 0
    for size in sizes:
        yield content[start : start + size]
        start += size
    yield content[start:]


@PROPERTY
@given(
    content=st.binary(max_size=400),
    line_end=st.sampled_from([b"\n", b"\r\n"]),
    around=st.tuples(*[st.binary(max_size=5).map(lambda some: bytes(b" \t\r\n"[byte % 4] for byte in some))] * 2),
    sizes=st.lists(st.integers(0, 90), max_size=12),
)
@example(content=bytes(48), line_end=b"\r\n", around=(b"", b""), sizes=[37, 65])
@example(content=bytes(100_000), line_end=b"\n", around=(b"\n", b""), sizes=[1, 50_000])
def test_armor_is_read_whatever_is_around_it_and_however_it_is_cut(
    content: bytes, line_end: bytes, around: tuple[bytes, bytes], sizes: list[int]
) -> None:
    before, after = around
    text = before + armored(content, line_end) + after
    assert is_armored(text)
    assert b"".join(dearmor(cut(text, sizes))) == content


@PROPERTY
@given(data=st.data())
def test_what_is_accepted_is_armored_to_the_same_text(data: st.DataObject) -> None:
    line_end = data.draw(st.sampled_from([b"\n", b"\r\n"]))
    text = bytearray(armored(data.draw(st.binary(max_size=150)), line_end))
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(0, len(text)))
        text[place : place + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b"\n", b"\r", b" ", b"=", b"A", b"-", b"\x00", b"\xff", b"AAAA", b"\r\n"])
        )
    try:
        content = b"".join(dearmor(cut(bytes(text), data.draw(st.lists(st.integers(0, 90), max_size=4)))))
    except MalformedAgeFile as error:
        assert error.context["part"] == "armor"
    else:
        assert bytes(text).strip() in {armored(content).strip(), armored(content, b"\r\n").strip()}


@PROPERTY
@given(junk=st.one_of(st.binary(max_size=200), st.binary(max_size=200).map((BEGIN + b"\n").__add__)))
def test_arbitrary_bytes_give_our_error_or_nothing_strange(junk: bytes) -> None:
    try:
        content = b"".join(dearmor([junk]))
    except MalformedAgeFile as error:
        assert error.context["part"] == "armor"
    else:
        assert junk.strip() in {armored(content).strip(), armored(content, b"\r\n").strip()}


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_every_length_of_a_last_line_is_read(line_end: bytes) -> None:
    for size in range(200):
        content = bytes(range(size))
        text = armored(content, line_end)
        for piece_bytes in (1, 65, len(text)):
            assert b"".join(dearmor(cut(text, [piece_bytes] * (len(text) // piece_bytes)))) == content


_LINE = b"A" * 64


@pytest.mark.parametrize(
    "body",
    [
        b"A" * 4 + b"\n" + b"A" * 4 + b"\n",
        b"A" * 4 + b"\n" + _LINE + b"\n",
        b"A" * 60 + b"\n\n\n\n\n" + _LINE + b"\n",
        b"A" * 63 + b"=\n" + _LINE + b"\n",
        b"A" * 63 + b"=\n" + b"A" * 4 + b"\n",
        b"A" * 62 + b"==\n" + b"A" * 4 + b"\n",
        b"A" * 68 + b"\n",
        b"AAAA",
        _LINE,
        _LINE + b"\nAAAA",
        _LINE + b"\n\n",
        b"AA==\n=\n",
        b"AAA\n",
        b"AB==\n",
        b"A" * 61 + b"B==\n",
        b"====\n",
        b"\n",
        b" AAAA\n",
        b"AAAA \n",
        b"AAAA\r\n",
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 1000])
def test_bodies_that_would_be_written_otherwise_are_refused(body: bytes, piece_bytes: int) -> None:
    text = BEGIN + b"\n" + body + END + b"\n"
    with pytest.raises(MalformedAgeFile):
        b"".join(dearmor(cut(text, [piece_bytes] * (len(text) // piece_bytes))))


def test_mixed_line_ends_are_refused() -> None:
    text = armored(bytes(200), b"\r\n")
    with pytest.raises(MalformedAgeFile):
        b"".join(dearmor([text.replace(b"\r\n", b"\n", 1)]))
    with pytest.raises(MalformedAgeFile):
        b"".join(dearmor([armored(bytes(200)).replace(b"A\n", b"A\r\n", 1)]))


@pytest.mark.parametrize("end", ["before", "after"])
def test_endless_white_space_is_given_up(end: str) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        if end == "after":
            yield armored(b"content")
        while True:
            taken += 100
            yield b" \n" * 50

    with pytest.raises(MalformedAgeFile):
        b"".join(dearmor(endless()))
    assert taken <= MAX_WHITE_SPACE_BYTES + 100


def test_a_file_is_not_whole_until_the_armor_has_ended() -> None:
    identity = X25519Identity.generate()
    text = armored(b"".join(seal([b"content"], [identity.recipient])))
    assert b"".join(unseal(dearmor([text]), [identity])) == b"content"
    for damaged in (text[: text.index(END)], text[:-5], text + b"x", text + text):
        with pytest.raises(MalformedAgeFile) as caught:
            b"".join(unseal(dearmor([damaged]), [identity]))
        assert caught.value.context["part"] == "armor"
