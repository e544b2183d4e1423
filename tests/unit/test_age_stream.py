"""The payload of an age file: any sizes in, the same bytes out, and nothing released that is not authentic."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from blocks.age import SealedReader, X25519Identity, read_header, seal, sealed_size, unseal
from blocks.age.stream import CHUNK_BYTES, GROUP_CHUNKS, NONCE_BYTES, SEALED_CHUNK_BYTES
from blocks.errors import AuthenticationFailed, InvalidOptions, MalformedAgeFile, WaybillError

IDENTITY = X25519Identity.from_text("AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX")
PLAIN = random.Random(1).randbytes(2 * GROUP_CHUNKS * CHUNK_BYTES + 3 * CHUNK_BYTES + 1234)
SEALED = b"".join(seal([PLAIN], [IDENTITY.recipient]))
HEADER_BYTES = len(read_header(io.BytesIO(SEALED))[1])
PAYLOAD_START = HEADER_BYTES + NONCE_BYTES
EDGES = [
    edge + by
    for edge in (0, CHUNK_BYTES, 2 * CHUNK_BYTES, GROUP_CHUNKS * CHUNK_BYTES, 2 * GROUP_CHUNKS * CHUNK_BYTES)
    for by in (-1, 0, 1)
    if edge + by >= 0
]
PROPERTY = settings(max_examples=60)


def cut(content: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """*content* in pieces of *sizes*, and the rest."""
    start = 0
    for size in sizes:
        yield content[start : start + size]
        start += size
    yield content[start:]


def read_all(sealed: bytes) -> Iterator[bytes]:
    reader = SealedReader(io.BytesIO(sealed), [IDENTITY])
    return reader.read_range(0, reader.size)


@pytest.mark.parametrize("size", EDGES)
def test_every_size_comes_back_in_both_ways_of_reading(size: int) -> None:
    plain = PLAIN[:size]
    sealed = b"".join(seal([plain], [IDENTITY.recipient]))
    assert len(sealed) == sealed_size(size, HEADER_BYTES)
    assert b"".join(unseal([sealed], [IDENTITY])) == plain
    assert b"".join(read_all(sealed)) == plain


@PROPERTY
@given(
    size=st.integers(0, len(PLAIN)),
    plain_cuts=st.lists(st.integers(0, 1_200_000), max_size=8),
    sealed_cuts=st.lists(st.integers(0, 1_200_000), max_size=8),
)
@example(size=len(PLAIN), plain_cuts=[1 << 20] * 3, sealed_cuts=[1 << 20] * 3)
@example(size=1 << 20, plain_cuts=[0, 1 << 20, 0, 0], sealed_cuts=[1] * 300)
def test_the_sizes_of_pieces_do_not_matter(size: int, plain_cuts: list[int], sealed_cuts: list[int]) -> None:
    plain = PLAIN[:size]
    sealed = b"".join(seal(cut(plain, plain_cuts), [IDENTITY.recipient]))
    assert b"".join(unseal(cut(sealed, sealed_cuts), [IDENTITY])) == plain


def test_pieces_of_a_byte_each_are_put_together_in_time_that_grows_with_their_number() -> None:
    plain = PLAIN[: 3 * CHUNK_BYTES]
    sealed = b"".join(seal((bytes([byte]) for byte in plain), [IDENTITY.recipient]))
    assert b"".join(unseal((bytes([byte]) for byte in sealed), [IDENTITY])) == plain


def test_pieces_are_about_a_mebibyte_and_stay_what_they_are() -> None:
    pieces = list(seal([PLAIN], [IDENTITY.recipient]))
    assert [len(piece) for piece in pieces[:3]] == [PAYLOAD_START, *[GROUP_CHUNKS * SEALED_CHUNK_BYTES] * 2]
    assert {type(piece) for piece in pieces} == {bytes}
    plain = list(unseal(pieces, [IDENTITY]))
    assert [len(piece) for piece in plain[:2]] == [GROUP_CHUNKS * CHUNK_BYTES] * 2
    assert {type(piece) for piece in plain} == {bytes}
    assert b"".join(plain) == PLAIN


def test_two_files_of_the_same_content_have_nothing_in_common() -> None:
    first, second = (b"".join(seal([bytes(CHUNK_BYTES)], [IDENTITY.recipient])) for _ in range(2))
    assert first[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES] != second[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES]
    assert first[PAYLOAD_START:] != second[PAYLOAD_START:]


@PROPERTY
@given(st.data())
def test_any_range_is_what_a_slice_is(data: st.DataObject) -> None:
    reader = SealedReader(io.BytesIO(SEALED), [IDENTITY])
    assert reader.size == len(PLAIN)
    near = st.one_of(st.integers(0, len(PLAIN)), st.sampled_from(EDGES))
    ranges = data.draw(st.lists(st.tuples(near, near).map(sorted), min_size=1, max_size=4))
    # In turns, as two downloads of one file would read.
    under_way = [(reader.read_range(start, stop), bytearray(), PLAIN[start:stop]) for start, stop in ranges]
    for turn in zip_longest(*(pieces for pieces, _, _ in under_way), fillvalue=b""):
        for (_, taken, _), piece in zip(under_way, turn, strict=True):
            taken.extend(piece)
    for _, taken, expected in under_way:
        assert taken == expected


class Watched(io.BytesIO):
    """A stream that notes what is read, and gives less than asked for, as a network does."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.read_from: list[tuple[int, int]] = []

    def read(self, size: int | None = -1, /) -> bytes:
        start = self.tell()
        data = super().read(min(size, 50_000) if size is not None and size >= 0 else size)
        self.read_from.append((start, start + len(data)))
        return data


def test_a_range_reads_its_own_chunks_only() -> None:
    stream = Watched(SEALED)
    reader = SealedReader(stream, [IDENTITY])
    last = len(PLAIN) // CHUNK_BYTES
    assert max(stop for _, stop in stream.read_from) == len(SEALED)
    assert all(
        stop <= PAYLOAD_START or start >= PAYLOAD_START + last * SEALED_CHUNK_BYTES for start, stop in stream.read_from
    )
    stream.read_from.clear()
    assert (
        b"".join(reader.read_range(5 * CHUNK_BYTES - 1, 6 * CHUNK_BYTES + 1))
        == PLAIN[5 * CHUNK_BYTES - 1 :][: CHUNK_BYTES + 2]
    )
    assert min(start for start, _ in stream.read_from) == PAYLOAD_START + 4 * SEALED_CHUNK_BYTES
    assert max(stop for _, stop in stream.read_from) == PAYLOAD_START + 7 * SEALED_CHUNK_BYTES
    stream.read_from.clear()
    assert list(reader.read_range(9, 9)) == []
    assert stream.read_from == []


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (5, 4), (0, len(PLAIN) + 1), (len(PLAIN) + 1, len(PLAIN) + 1)])
def test_a_range_outside_of_the_content_is_refused_at_once(start: int, stop: int) -> None:
    with pytest.raises(InvalidOptions):
        SealedReader(io.BytesIO(SEALED), [IDENTITY]).read_range(start, stop)


def flipped(data: st.DataObject) -> bytes:
    damaged = bytearray(SEALED)
    damaged[data.draw(st.integers(0, len(SEALED) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    return bytes(damaged)


def cut_short(data: st.DataObject) -> bytes:
    chunk_ends = range(PAYLOAD_START, len(SEALED), SEALED_CHUNK_BYTES)
    return SEALED[: data.draw(st.one_of(st.integers(0, len(SEALED) - 1), st.sampled_from(chunk_ends)))]


def appended(data: st.DataObject) -> bytes:
    chunk = st.just(SEALED[PAYLOAD_START : PAYLOAD_START + SEALED_CHUNK_BYTES])
    return SEALED + data.draw(st.one_of(st.binary(min_size=1, max_size=40), chunk, st.just(SEALED[PAYLOAD_START:])))


def swapped(data: st.DataObject) -> bytes:
    whole = range(len(PLAIN) // CHUNK_BYTES)
    one, other = data.draw(st.lists(st.sampled_from(whole), min_size=2, max_size=2, unique=True))
    starts = [PAYLOAD_START + number * SEALED_CHUNK_BYTES for number in (one, other)]
    chunks = [SEALED[start : start + SEALED_CHUNK_BYTES] for start in starts]
    damaged = bytearray(SEALED)
    for start, chunk in zip(starts, reversed(chunks), strict=True):
        damaged[start : start + SEALED_CHUNK_BYTES] = chunk
    return bytes(damaged)


def dropped(data: st.DataObject) -> bytes:
    start = PAYLOAD_START + data.draw(st.integers(0, len(PLAIN) // CHUNK_BYTES)) * SEALED_CHUNK_BYTES
    return SEALED[:start] + SEALED[start + SEALED_CHUNK_BYTES :]


@PROPERTY
@given(damage=st.sampled_from([flipped, cut_short, appended, swapped, dropped]), data=st.data())
def test_damage_is_told_and_nothing_that_is_not_authentic_released(
    damage: Callable[[st.DataObject], bytes], data: st.DataObject
) -> None:
    damaged = damage(data)
    for read in (lambda: unseal(cut(damaged, [300_000]), [IDENTITY]), lambda: read_all(damaged)):
        released = bytearray()
        with pytest.raises(WaybillError) as caught:
            for piece in read():
                released += piece
        assert isinstance(caught.value, (AuthenticationFailed, MalformedAgeFile)) or not released
        assert PLAIN.startswith(released)
        assert len(released) % CHUNK_BYTES == 0 or len(released) == len(PLAIN)


def test_what_comes_before_the_damage_is_released_and_nothing_after() -> None:
    damaged = bytearray(SEALED)
    damaged[PAYLOAD_START + 20 * SEALED_CHUNK_BYTES + 7] ^= 1
    for pieces in (unseal([bytes(damaged)], [IDENTITY]), read_all(bytes(damaged))):
        released = bytearray()
        with pytest.raises(AuthenticationFailed) as caught:
            for piece in pieces:
                released += piece
        assert released == PLAIN[: 20 * CHUNK_BYTES]
        assert caught.value.context == {"part": "payload", "chunk": 20}
    reader = SealedReader(io.BytesIO(damaged), [IDENTITY])
    assert b"".join(reader.read_range(21 * CHUNK_BYTES, reader.size)) == PLAIN[21 * CHUNK_BYTES :]


def test_a_file_that_was_cut_is_refused_before_any_range_is_read() -> None:
    whole_chunks = SEALED[: PAYLOAD_START + 8 * SEALED_CHUNK_BYTES]
    with pytest.raises(AuthenticationFailed):
        SealedReader(io.BytesIO(whole_chunks), [IDENTITY])


def test_what_is_appended_while_it_is_read_is_not_part_of_the_file() -> None:
    stream = io.BytesIO(SEALED)
    reader = SealedReader(stream, [IDENTITY])
    stream.seek(0, io.SEEK_END)
    stream.write(b"more")
    assert b"".join(reader.read_range(0, reader.size)) == PLAIN


def test_a_stream_that_shrinks_while_it_is_read_is_told() -> None:
    stream = io.BytesIO(SEALED)
    reader = SealedReader(stream, [IDENTITY])
    stream.truncate(PAYLOAD_START + 2 * SEALED_CHUNK_BYTES + 9)
    released = bytearray()
    with pytest.raises(AuthenticationFailed):
        for piece in reader.read_range(0, reader.size):
            released += piece
    assert released == PLAIN[: 2 * CHUNK_BYTES]
