"""The header of an age file: what is accepted is exactly what would be written, and reading it is bounded."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from blocks.age import X25519Identity, read_header, rewrap, seal, unseal
from blocks.age.header import MAX_HEADER_BYTES, MAX_STANZAS, Header, Stanza, header_length, make_header, parse_header
from blocks.age.recipients import open_header, wrap_for
from blocks.errors import AuthenticationFailed, InvalidKey, MalformedAgeFile, NoMatchingIdentity
from tests.age_vectors import all_vectors

FILE_KEY = bytes(range(16))
PROPERTY = settings(max_examples=300)

arguments = st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=9), min_size=1)
stanzas = st.builds(Stanza, arguments.map(tuple), st.binary(max_size=200))
headers = st.lists(stanzas, min_size=1, max_size=4).map(lambda some: make_header(some, FILE_KEY))
KNOWN = [vector.file[: vector.file.find(b"\n--- ") + 49] for vector in all_vectors() if vector.file[:4] == b"age-"]


def assert_canonical(encoded: bytes) -> None:
    """Either refused with our error, or the same bytes again."""
    try:
        header = parse_header(encoded)
    except MalformedAgeFile as error:
        assert error.context["part"] == "header"
    else:
        assert header.encode() == encoded


@PROPERTY
@given(header=headers)
@example(header=make_header([Stanza(("->",), bytes(48))], FILE_KEY))
@example(header=make_header([Stanza(("---", "---"), b"")], FILE_KEY))
def test_every_header_reads_back_as_it_was_written(header: Header) -> None:
    encoded = header.encode()
    assert parse_header(encoded) == header
    stream = io.BytesIO(encoded + b"payload\n--- \n")
    assert read_header(stream) == (header, encoded)
    assert stream.read() == b"payload\n--- \n"
    header.authenticate(FILE_KEY)


@PROPERTY
@given(junk=st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(b"age-encryption.org/v1\n".__add__)))
def test_arbitrary_bytes_are_refused_or_canonical(junk: bytes) -> None:
    assert_canonical(junk)
    with suppress(MalformedAgeFile):
        read_header(io.BytesIO(junk))


@PROPERTY
@given(data=st.data())
def test_a_changed_header_is_refused_or_canonical(data: st.DataObject) -> None:
    encoded = bytearray(data.draw(st.one_of(st.sampled_from(KNOWN), headers.map(Header.encode))))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, max(0, len(encoded) - 1)))
        drop = data.draw(st.integers(0, 2))
        encoded[place : place + drop] = data.draw(
            st.sampled_from([b"", b"\n", b" ", b"-", b"=", b"\r", b"A", b"+/", b"\x00", b"\xff", b"-> x\n", b"---"])
        )
    assert_canonical(bytes(encoded))


@PROPERTY
@given(header=headers, payload=st.binary(max_size=80), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_the_end_of_a_header_is_found_wherever_it_is_cut(header: Header, payload: bytes, cuts: list[int]) -> None:
    encoded = header.encode()
    beginning, searched = bytearray(), 0
    for start, stop in itertools.pairwise(sorted({0, *cuts, len(encoded + payload)})):
        beginning += (encoded + payload)[start:stop]
        length = header_length(beginning, searched=searched)
        if length is not None:
            assert length == len(encoded)
            return
        assert len(beginning) < len(encoded)
        searched = len(beginning)


MAC_LINE = b"--- " + b"A" * 43 + b"\n"
GOOD = b"age-encryption.org/v1\n-> a\n\n" + MAC_LINE


@pytest.mark.parametrize(
    "encoded",
    [
        GOOD.replace(b"---", b"--+"),
        GOOD.replace(b"---", b"->"),
        GOOD.replace(b"---", b""),
        GOOD.replace(b"v1", b"v2"),
        GOOD.replace(b"v1\n", b"v1\r\n"),
        GOOD.replace(b"-> a\n\n", b""),
        GOOD.replace(b"-> a\n\n", b"-> a\n"),
        GOOD.replace(b"-> a\n\n", b"-> a\n\n\n"),
        GOOD.replace(b"-> a", b"->"),
        GOOD.replace(b"-> a", b"-> "),
        GOOD.replace(b"-> a", b"->  a"),
        GOOD.replace(b"-> a", b"-> a "),
        GOOD.replace(b"-> a", b"-> \xe4"),
        GOOD.replace(b"-> a\n\n", b"-> a\n" + b"A" * 68 + b"\n"),
        GOOD.replace(b"-> a\n\n", b"-> a\n" + b"A" * 64 + b"\n"),
        GOOD.replace(b"-> a\n\n", b"-> a\nAA==\n"),
        GOOD.replace(b"-> a\n\n", b"-> a\nAB\n"),
        GOOD[:-1],
        GOOD + b"\n",
        GOOD + MAC_LINE,
        GOOD.replace(b"A\n", b"B\n"),
        GOOD.replace(b"-> a", b"-> " + b"a" * MAX_HEADER_BYTES),
        b"age-encryption.org/v1\n",
        b"",
    ],
)
def test_malformed_headers_are_refused(encoded: bytes) -> None:
    assert parse_header(GOOD).encode() == GOOD
    with pytest.raises(MalformedAgeFile):
        parse_header(encoded)


def test_a_last_line_that_is_too_long_is_not_read_to_its_end() -> None:
    beginning = GOOD[: -len(MAC_LINE)]
    assert header_length(beginning + MAC_LINE[:-1]) is None
    with pytest.raises(MalformedAgeFile):
        header_length(beginning + MAC_LINE[:-1] + b"A")


@pytest.mark.parametrize("line", [b"-> a\n\n", b"-" * 100, b"-> a\n" + b"A" * 64 + b"\n", b"x"])
def test_an_endless_header_is_given_up(line: bytes) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        yield b"age-encryption.org/v1\n"
        while True:
            taken += 1000 * len(line)
            yield line * 1000

    with pytest.raises(MalformedAgeFile):
        next(unseal(endless(), [X25519Identity.generate()]))
    assert taken <= MAX_HEADER_BYTES + 1000 * len(line)


def test_what_is_no_age_file_is_refused_at_its_first_bytes() -> None:
    def one_piece() -> Iterator[bytes]:
        yield b"%PDF-1.7"
        pytest.fail("read on, although this cannot become an age file")

    with pytest.raises(MalformedAgeFile):
        next(unseal(one_piece(), []))


def test_as_many_recipients_as_are_read_can_be_written_and_no_more() -> None:
    identity = X25519Identity.generate()
    sealed = b"".join(seal([b"x"], [identity.recipient] * MAX_STANZAS))
    assert b"".join(unseal([sealed], [identity])) == b"x"
    with pytest.raises(InvalidKey):
        next(seal([], [identity.recipient] * (MAX_STANZAS + 1)))
    with pytest.raises(InvalidKey):
        next(seal([], []))
    too_many = make_header([Stanza(("a",), b"")] * (MAX_STANZAS + 1), FILE_KEY).encode()
    with pytest.raises(MalformedAgeFile, match="stanzas"):
        parse_header(too_many)


def test_the_mac_is_checked_with_the_key_that_the_header_gave() -> None:
    identity = X25519Identity.generate()
    header = wrap_for([identity.recipient], FILE_KEY)
    assert open_header(header, [identity]) == FILE_KEY
    added = make_header([*header.stanzas, Stanza(("grease",), b"")], bytes(16))
    with pytest.raises(AuthenticationFailed) as caught:
        open_header(added, [identity])
    assert caught.value.context["part"] == "header"


def test_a_rewrapped_header_opens_for_the_new_recipients_only_and_the_payload_stays() -> None:
    before, after, both = (X25519Identity.generate() for _ in range(3))
    sealed = b"".join(seal([b"content" * 30_000], [before.recipient]))
    header_bytes = read_header(io.BytesIO(sealed))[1]
    changed = rewrap(header_bytes, [before], [after.recipient, both.recipient]) + sealed[len(header_bytes) :]
    for identity in (after, both):
        assert b"".join(unseal([changed], [before, identity])) == b"content" * 30_000
    with pytest.raises(NoMatchingIdentity):
        b"".join(unseal([changed], [before]))
    with pytest.raises(NoMatchingIdentity):
        rewrap(header_bytes, [after], [after.recipient])
    with pytest.raises(MalformedAgeFile):
        rewrap(header_bytes + b"x", [before], [after.recipient])
