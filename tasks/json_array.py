"""A JSON file with one large array, read element by element.

A parser that builds the whole document needs five times the file: 20,000 chunks with vectors are 120 MB of text and
would not fit into a worker. Here the file is mapped, cut at the borders of the array's elements (RFC 8259), and only
one element is parsed at a time. Accepts what the grammar allows, refuses everything else with `ValueError`; knows
nothing of what the elements mean.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import orjson

# Whole strings, whole arrays of numbers (a vector, in one step), and brackets. Possessive, so that a long string needs
# no stack; a quote that nothing closes is a token of its own, so that the rest is not scanned again from each quote.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|\[[-+.0-9eE,\s]*+\]|[\[\]{}"]', re.DOTALL)
_SPACE = rb"[ \t\n\r]*+"
_COMMA = re.compile(_SPACE + rb"," + _SPACE)
_BLANK = re.compile(_SPACE)
_OPENS_ARRAY = re.compile(_SPACE + rb":" + _SPACE + rb"\[")

ItemT = TypeVar("ItemT")


def read_with_array(path: Path, key: str, read_item: Callable[[dict[str, Any]], ItemT]) -> tuple[Any, list[ItemT]]:
    """The JSON object in *path* with an empty array under *key*, and *read_item* of each object of that array.

    Where the file holds something else than an object with such an array, that is returned as it is, with no items.
    Raises `ValueError` when the file is not JSON, an element of the array is not an object, or the array comes twice.
    """
    if path.stat().st_size == 0:
        raise ValueError("the file is empty")
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    begin = _find_array(data, key)
    if begin is None:
        return orjson.loads(data[:]), []
    items, end = _read_items(data, begin, read_item)
    if _find_array(data, key, begin=end, depth=1) is not None:
        raise ValueError(f"the key {key} comes twice")
    return orjson.loads(data[:begin] + data[end - 1 :]), items


def _find_array(data: mmap.mmap, key: str, *, begin: int = 0, depth: int = 0) -> int | None:
    """Where the array under *key* of the outermost object begins, behind its bracket."""
    name = orjson.dumps(key)
    for token in _tokens(data, begin):
        mark = token.group()
        if mark in (b"{", b"["):
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and mark == name:
            opening = _OPENS_ARRAY.match(cast("bytes", data), token.end())
            if opening is not None:
                return opening.end()
    return None


def _read_items(data: mmap.mmap, begin: int, read_item: Callable[[dict[str, Any]], ItemT]) -> tuple[list[ItemT], int]:
    """The items of the array whose content begins at *begin*, and the place behind its closing bracket."""
    items: list[ItemT] = []
    depth, start = 0, begin
    expected = begin  # where the next element has to begin
    for token in _tokens(data, begin):
        mark = token.group()
        if mark in (b"{", b"["):
            if depth == 0:
                start = token.start()
                between = _BLANK if not items else _COMMA
                if mark == b"[" or _skip(between, data, expected) != start:
                    raise ValueError(f"element {len(items)} of the array is not an object")
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                items.append(read_item(orjson.loads(data[start : token.end()])))
                expected = token.end()
            elif depth < 0:
                if mark != b"]" or _skip(_BLANK, data, expected) != token.start():
                    raise ValueError(f"the array does not end properly after element {len(items)}")
                return items, token.end()
        elif depth == 0:
            raise ValueError(f"element {len(items)} of the array is not an object")
    raise ValueError("the file ends within the array")


def _tokens(data: mmap.mmap, begin: int) -> Iterator[re.Match[bytes]]:
    for token in _TOKEN.finditer(cast("bytes", data), begin):
        if token.group() == b'"':
            raise ValueError(f"the string that begins at byte {token.start()} has no end")
        yield token


def _skip(what: re.Pattern[bytes], data: mmap.mmap, position: int) -> int:
    found = what.match(cast("bytes", data), position)
    return -1 if found is None else found.end()
