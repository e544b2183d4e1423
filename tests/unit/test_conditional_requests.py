"""The headers of a download: ranges, entity tags, file names."""

from __future__ import annotations

import re
from email.message import Message
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blocks.content_disposition import content_disposition
from waybill.gateway.http.conditional_requests import (
    ByteRange,
    RangeNotSatisfiable,
    allows_range,
    entity_tag,
    matches_any,
    requested_range,
)

WHOLE = None
NONE = "416"
TAG = entity_tag("ab" * 32)


def asked(*headers: str, size: int) -> tuple[int, int] | str | None:
    try:
        found = requested_range(headers, size)
    except RangeNotSatisfiable:
        return NONE
    return (found.start, found.stop) if found else WHOLE


# Ranges ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-9", (0, 10)),
        ("bytes=2-4", (2, 5)),
        ("bytes=9-9", (9, 10)),
        ("bytes=0-10", (0, 10)),
        ("bytes=5-999999999999", (5, 10)),
        ("bytes=5-" + "9" * 6000, (5, 10)),
        ("bytes=0-", (0, 10)),
        ("bytes=3-", (3, 10)),
        ("bytes=9-", (9, 10)),
        ("bytes=-1", (9, 10)),
        ("bytes=-10", (0, 10)),
        ("bytes=-11", (0, 10)),
        ("bytes=-" + "9" * 6000, (0, 10)),
        ("bytes=-0000000000000000000000000000002", (8, 10)),
        ("BYTES=2-4", (2, 5)),
        ("bytes= 2-4", (2, 5)),
        ("bytes=2-4,", (2, 5)),
        ("bytes=, ,\t2-4 , ", (2, 5)),
        # Behind the end.
        ("bytes=10-", NONE),
        ("bytes=10-10", NONE),
        ("bytes=10-20", NONE),
        ("bytes=" + "9" * 6000 + "-", NONE),
        ("bytes=-0", NONE),
        ("bytes=-000", NONE),
        # Several: the whole file.
        ("bytes=0-1,3-4", WHOLE),
        ("bytes=0-1,0-1", WHOLE),
        ("bytes=" + ",".join(["0-"] * 2000), WHOLE),
        ("bytes=20-30,40-50", WHOLE),
        # Malformed or another unit: ignored.
        ("bytes=4-2", WHOLE),
        ("bytes=20-12", WHOLE),
        ("bytes=", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=--1", WHOLE),
        ("bytes=1", WHOLE),
        ("bytes=a-b", WHOLE),
        ("bytes=0x0-0x5", WHOLE),
        ("bytes=+1-2", WHOLE),
        ("bytes=1 - 2", WHOLE),
        ("bytes=1-2-3", WHOLE),
        ("bytes=1-2;3-4", WHOLE),
        ("bytes=1.0-2", WHOLE),
        ("bytes=1_0-20", WHOLE),
        ("bytes=²-5", WHOLE),
        ("bytes=\u0661-5", WHOLE),
        ("bytes =0-1", WHOLE),
        ("bytes:0-1", WHOLE),
        ("bytes", WHOLE),
        ("", WHOLE),
        ("0-1", WHOLE),
        ("items=0-1", WHOLE),
        ("none", WHOLE),
        ("bytes=0-1\r\nX: y", WHOLE),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_range_of_ten_bytes(header: str, expected: tuple[int, int] | str | None) -> None:
    assert asked(header, size=10) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [("bytes=0-", NONE), ("bytes=0-0", NONE), ("bytes=-0", NONE), ("bytes=-5", WHOLE), ("bytes=-", WHOLE)],
)
def test_a_range_of_nothing(header: str, expected: str | None) -> None:
    assert asked(header, size=0) == expected


def test_without_a_range_or_with_several_headers_the_whole_is_meant() -> None:
    assert asked(size=10) is WHOLE
    assert asked("bytes=0-1", "bytes=2-3", size=10) is WHOLE


SIZES = st.integers(0, 60) | st.integers(0, 2**63)


@given(size=SIZES, first=SIZES, last=st.none() | SIZES)
@example(size=1, first=0, last=0)
def test_any_range_from_the_front_gives_the_bytes_that_it_names(size: int, first: int, last: int | None) -> None:
    found = asked(f"bytes={first}-{'' if last is None else last}", size=size)
    if last is not None and last < first:
        assert found is WHOLE
    elif first >= size:
        assert found == NONE
    else:
        assert found == (first, min(size, size if last is None else last + 1))


@given(size=SIZES, length=SIZES)
def test_any_range_from_the_back_gives_the_bytes_that_it_names(size: int, length: int) -> None:
    found = asked(f"bytes=-{length}", size=size)
    if length == 0:
        assert found == NONE
    else:
        assert found == (WHOLE if size == 0 else (max(size - length, 0), size))


@given(
    header=st.text()
    | st.text(alphabet="bytes=0123456789-, \t").map("bytes={}".format)
    | st.from_regex(r"bytes=\d*-\d*"),
    size=SIZES,
)
def test_any_text_gives_a_part_that_is_there_or_none(header: str, size: int) -> None:
    found = asked(header, size=size)
    if isinstance(found, tuple):
        assert 0 <= found[0] < found[1] <= size
        text = ByteRange(start=found[0], stop=found[1]).content_range(size)
        assert re.fullmatch(r"bytes \d+-\d+/\d+", text)


# Entity tags ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "strong", "weak"),
    [
        (TAG, True, True),
        ("*", True, True),
        (" * ", True, True),
        (f'"other", {TAG}', True, True),
        (f'"other",{TAG} , "third"', True, True),
        (f"W/{TAG}", False, True),
        (f'W/"other", W/{TAG}', False, True),
        ('"other"', False, False),
        (TAG.strip('"'), False, False),
        (TAG.upper(), False, False),
        (f"w/{TAG}", False, False),
        (f"{TAG}{TAG}", False, False),
        ("", False, False),
        ('"', False, False),
        ("*, *", False, False),
    ],
)
def test_a_list_of_tags_is_matched(header: str, strong: bool, weak: bool) -> None:
    assert matches_any([header], TAG, weak=False) is strong
    assert matches_any([header], TAG, weak=True) is weak
    assert matches_any(['"x"', header], TAG, weak=True) is weak


@pytest.mark.parametrize(
    ("headers", "part"),
    [
        ([], True),
        ([TAG], True),
        ([f" {TAG} "], True),
        ([f"W/{TAG}"], False),
        (['"other"'], False),
        (["*"], False),
        ([""], False),
        ([f"{TAG}, {TAG}"], False),
        ([TAG, TAG], False),
        (["Mon, 04 May 2026 12:00:00 GMT"], False),
    ],
)
def test_a_part_is_given_only_for_the_same_content(headers: list[str], part: bool) -> None:
    assert allows_range(headers, TAG) is part


@given(header=st.text())
def test_any_text_can_be_compared(header: str) -> None:
    matches_any([header], TAG, weak=True)
    allows_range([header], TAG)


# Names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("report.pdf", "report.pdf"),
        ("a b (1).pdf", "a b (1).pdf"),
        ("Résumé – naïve.pdf", "Resume _ naive.pdf"),
        ("報告.pdf", "__.pdf"),
        ('"; filename="evil.exe', "__ filename__evil.exe"),
        ("a\r\nSet-Cookie: x=1.pdf", "aSet-Cookie_ x_1.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\x.txt", "x.txt"),
        ("50%41.txt", "50_41.txt"),
        ("report\u202efdp.exe", "reportfdp.exe"),
        ("", "unnamed"),
        (".bashrc", "bashrc"),
    ],
)
def test_a_name_is_safe_and_stays_readable(name: str, plain: str) -> None:
    assert f'filename="{plain}";' in content_disposition(name)


@given(name=st.text() | st.text(alphabet="\"\\;'%\r\n\0=/ é\u202e*"))
def test_any_name_gives_one_attachment_with_one_name(name: str) -> None:
    header = content_disposition(name)
    assert re.fullmatch(r"""attachment; filename="[\x20-\x7e]+"; filename\*=UTF-8''[\x21-\x7e]+""", header)
    assert not {'"', "\\", "%"} & set(header.split('"')[1])
    message = Message()
    message["Content-Disposition"] = header
    assert message.get_content_disposition() == "attachment"
    real = unquote(header.rsplit("''", 1)[1])
    assert real and "/" not in real and "\n" not in real
    assert len(header) < 1200
