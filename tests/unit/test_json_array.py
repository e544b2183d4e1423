"""Reading one large array element by element gives what a whole parse gives, or says that the file is wrong."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.ingestion_input import read_with_array

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def read(path: Path, content: bytes) -> tuple[Any, list[dict[str, Any]]]:
    path.write_bytes(content)
    return read_with_array(path, "items", lambda item: item, item_type=dict[str, Any], file_type=object)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.json"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=200)
@given(
    before=st.dictionaries(st.text(), VALUES, max_size=3),
    items=st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=4),
    after=st.dictionaries(st.text(), VALUES, max_size=3),
    indent=st.none() | st.just(1),
    ascii_only=st.booleans(),
)
def test_every_file_is_read_as_a_whole_parse_reads_it(
    path: Path,
    before: dict[str, Any],
    items: list[dict[str, Any]],
    after: dict[str, Any],
    indent: int | None,
    ascii_only: bool,
) -> None:
    before.pop("items", None)
    after = {name: value for name, value in after.items() if name not in {"items", *before}}
    whole = {**before, "items": items, **after}
    text = json.dumps(whole, indent=indent, ensure_ascii=ascii_only)
    rest, found = read(path, text.encode("utf-8", "surrogatepass"))
    assert {**rest, "items": found} == whole


def test_an_array_of_that_name_further_in_is_not_meant(path: Path) -> None:
    rest, found = read(
        path, b'{"a": {"items": [{"x": 1}]}, "b": "items", "items": [{"y": [1, 2]}], "c": ["items", []]}'
    )
    assert found == [{"y": [1, 2]}]
    assert rest == {"a": {"items": [{"x": 1}]}, "b": "items", "items": [], "c": ["items", []]}


@pytest.mark.parametrize("content", [b"[]", b"null", b'"items"', b'{"items": null}', b'{"items": {"a": 1}}', b"{}"])
def test_a_file_without_such_an_array_is_given_as_it_is(path: Path, content: bytes) -> None:
    assert read(path, content) == (json.loads(content), [])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" ",
        b"{",
        b"\xff\xfe",
        b"\x00" * 100,
        b'{"items": [',
        b'{"items": [{}',
        b'{"items": [{}]',
        b'{"items": [{}}',
        b'{"items": [{},]}',
        b'{"items": [,{}]}',
        b'{"items": [{}{}]}',
        b'{"items": [{} {}]}',
        b'{"items": [{},,{}]}',
        b'{"items": [1]}',
        b'{"items": [null]}',
        b'{"items": [{}, null]}',
        b'{"items": [{}, 1, {}]}',
        b'{"items": ["x"]}',
        b'{"items": [[]]}',
        b'{"items": [[{}]]}',
        b'{"items": [{]}]}',
        b'{"items": [{"a": [}]}]}',
        b'{"items": [{"a": "]}',
        b'{"items": [{"a": 1}], "items": [{"a": 2}]}',
        b'{"items": [{"a": 1}]} trailing',
        b'{"items": [{"a": 01}]}',
        b'{"items": [{"a": "\xff"}]}',
        b'{"items": [{"a": "\\ud800"}]}',
        b"[" * 100_000,
        b'{"items": [{"a":' + b"[" * 100_000,
        b'{"items": [{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}]}",
    ],
    ids=lambda content: content[:40].decode("ascii", "backslashreplace"),
)
def test_what_is_no_json_or_holds_other_elements_is_refused(path: Path, content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(path, content)


@pytest.mark.parametrize("filler", [b'\\"', b'"', b"[", b"{", b"1,", b'"a",', b"\\"])
def test_work_grows_with_the_size_alone_on_hostile_files(path: Path, filler: bytes) -> None:
    started = time.thread_time()
    with pytest.raises(ValueError, match=r"."):
        read(path, b'{"items": [{"a": "' + filler * 300_000)
    assert time.thread_time() - started < 5


def test_memory_is_that_of_one_element(path: Path) -> None:
    item = {"text": "x" * 1000, "vector": [0.123456] * 384}
    path.write_text(json.dumps({"items": [item] * 3000}))
    tracemalloc.start()
    try:
        _, found = read_with_array(
            path, "items", lambda item: len(item["vector"]), item_type=dict[str, Any], file_type=object
        )
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == [384] * 3000
    assert peak_bytes < path.stat().st_size / 10
