"""Lists of sources: what a line means, whatever names it has, in little memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from blocks.errors import InvalidOptions
from tasks.sources.source_lists import MAX_LINE_BYTES, read_list, write_list


def read(content: bytes, size: int = 7) -> list[str]:
    return list(read_list((content[at : at + size] for at in range(0, len(content), size)), "the list"))


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_line_is_a_source_and_comments_and_blank_lines_are_none(size: int) -> None:
    content = b"\xef\xbb\xbf# letters\r\n/in/a.md\r\n\n  \n s3://bucket/b c.md  \n#/in/no.md\nwaybill:1\nin/\xc3\xa9.md"
    assert read(content, size) == ["/in/a.md", "s3://bucket/b c.md", "waybill:1", "in/é.md"]


def test_a_json_line_names_its_source_and_may_say_more() -> None:
    assert read(b'{"source": "/in/a.md", "customer": 7}\n{"source": " x "}\n/in/b.md\n') == [
        "/in/a.md",
        " x ",
        "/in/b.md",
    ]


@pytest.mark.parametrize("line", [b"{", b"{}", b'{"source": 7}', b'{"source": ""}', b"{" * 5000])
def test_what_begins_as_json_and_names_no_source_is_refused_with_its_line(line: bytes) -> None:
    with pytest.raises(InvalidOptions, match="line 2 of the list"):
        read(b"/in/a.md\n" + line + b"\n")


def test_any_name_can_be_written_and_read_again() -> None:
    names = ["# no comment", "{brace", " blank ", "line\nbreak", "é", "caf\udce9.md", "s3://b/a::b?c#d", "\u2028"]
    assert read(b"".join(write_list(names))) == names


def test_a_name_that_is_not_utf_8_is_that_of_the_operating_system() -> None:
    assert read(b"/in/caf\xe9.md\n") == ["/in/caf\udce9.md"]


def test_a_file_without_lines_is_no_list_and_is_not_read_to_its_end() -> None:
    pieces = 0

    def endless() -> Iterator[bytes]:
        nonlocal pieces
        while True:
            pieces += 1
            yield b"x" * 10_000

    with pytest.raises(InvalidOptions, match="no list of sources"):
        list(read_list(endless(), "the list"))
    assert pieces * 10_000 <= MAX_LINE_BYTES + 10_000


@pytest.mark.parametrize("size", [1000, 10**6])
@pytest.mark.parametrize("end", [b"", b"\n", b"\n/in/b.md\n"])
def test_a_line_that_no_source_has_is_refused_however_it_arrives(size: int, end: bytes) -> None:
    content = b"/in/a.md\n" + b"x" * (MAX_LINE_BYTES + 1) + end
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    with pytest.raises(InvalidOptions, match="a line of more than 65,536 bytes"):
        list(read_list(pieces, "the list"))
