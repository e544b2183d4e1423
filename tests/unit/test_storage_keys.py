"""Storage keys: what may name a blob, and that nothing else may."""

from __future__ import annotations

import posixpath
import unicodedata
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.catalog import KINDS
from blocks.errors import UnsafeKey
from blocks.storage import BlobPaths, is_file_path, new_blob_path
from blocks.storage.blob_path import MAX_PATH_BYTES, MAX_SEGMENT_BYTES, check_blob_path, is_blob_path

HOSTILE_KEYS = {
    "empty": "",
    "dot": ".",
    "dot dot": "..",
    "climbs": "../outside",
    "climbs inside": "outputs/../../outside",
    "climbs at the end": "outputs/..",
    "dot inside": "outputs/./blob",
    "absolute": "/etc/passwd",
    "absolute twice": "//etc/passwd",
    "slash": "/",
    "trailing slash": "outputs/",
    "double slash": "outputs//blob",
    "NUL": "outputs/a\x00b",
    "newline": "outputs/a\nb",
    "carriage return": "outputs/a\rb",
    "escape": "outputs/\x1b[2J",
    "delete": "outputs/a\x7f",
    "C1 control": "outputs/a\x85b",
    "backslash": "outputs\\blob",
    "backslash climbs": "..\\outside",
    "lone surrogate": "outputs/\udcff",
    "1,024 bytes": "a/" * 511 + "aa",
    "one long segment": "a" * 1024,
    "segment too long in UTF-8": "é" * (MAX_SEGMENT_BYTES // 2 + 1),
    "a temporary file": "outputs/.blob.0123456789abcdef.partial",
}


def test_a_hostile_key_is_refused(subtests: pytest.Subtests) -> None:
    for name, key in HOSTILE_KEYS.items():
        with subtests.test(name):
            with pytest.raises(UnsafeKey):
                check_blob_path(key)
            assert not is_blob_path(key)


@pytest.mark.parametrize(
    "key",
    [
        "a",
        "outputs/3f/3f2a",
        "Ünïcode/文書",
        "with space",
        "...",
        "..a",
        ".hidden",
        "a" * MAX_SEGMENT_BYTES,
        "~",
        "*?[x]",
    ],
)
def test_a_plain_relative_path_is_a_key(key: str) -> None:
    assert "/".join(check_blob_path(key)) == key
    assert is_blob_path(key)


def test_the_longest_key_is_accepted_and_one_byte_more_is_not() -> None:
    longest = "/".join(["a" * 99] * 9)
    assert len(longest) == MAX_PATH_BYTES - 1
    check_blob_path(longest + "a")
    with pytest.raises(UnsafeKey):
        check_blob_path(longest + "aa")


@given(st.text(st.one_of(st.sampled_from("./\\\x00\n~:"), st.characters()), max_size=40))
def test_whatever_is_accepted_stays_below_the_root(key: str) -> None:
    try:
        segments = check_blob_path(key)
    except UnsafeKey:
        return
    assert posixpath.normpath(f"/root/{key}") == f"/root/{key}"
    assert segments and all(segment not in {"", ".", ".."} and "/" not in segment for segment in segments)
    assert not any(unicodedata.category(char) == "Cc" for char in key)
    key.encode()


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_key_is_a_key_in_the_folder_of_its_kind(kind: str) -> None:
    file_id = uuid4()
    folder, spread, name = check_blob_path(new_blob_path(kind, file_id))
    assert name == file_id.hex
    assert spread == name[:2]
    others = {new_blob_path(other, file_id).split("/")[0] for other in KINDS if other != kind}
    assert folder not in others
    assert folder != "prefect-results"


def test_equal_ids_give_equal_keys() -> None:
    assert new_blob_path("upload", UUID(int=255)) == "uploads/00/000000000000000000000000000000ff"


def test_files_of_a_process_lie_in_few_folders_under_paths_of_their_own() -> None:
    paths = BlobPaths()
    made = [paths.new(kind, uuid4()) for _ in range(1000) for kind in ("upload", "stage_output")]
    assert len(set(made)) == 2000
    assert all(map(is_file_path, made))
    assert 2 <= len({path.rpartition("/")[0] for path in made}) <= 4
    assert {len(path.split("/")[1]) for path in made} == {3}
    assert len({BlobPaths().new("upload", uuid4()).split("/")[1] for _ in range(100)}) > 50


def test_an_upload_that_arrives_is_found_by_its_id_alone() -> None:
    file_id = uuid4()
    assert BlobPaths().new("transfer", file_id) == new_blob_path("transfer", file_id)


def test_a_path_of_another_form_is_no_file_of_ours() -> None:
    name = "3f" + "0" * 29 + "1"
    assert is_file_path(f"outputs/3f/{name}") and is_file_path(f"outputs/a1b/{name}")
    for odd in (f"outputs/a1/{name}", f"outputs/a1b2/{name}", f"outputs/A1B/{name}", f"outputs/a1b/{'0' * 32}", name):
        assert not is_file_path(odd)
