"""The documents in `samples/` are what their texts in `tools/sample_texts/` say, byte for byte."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from tools.make_samples import DOCUMENTS, SAMPLES, make_samples

# What a fresh clone should cost at most for its samples.
MOST_BYTES = 1_000_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {path.name: path for path in make_samples(tmp_path_factory.mktemp("samples"))}


def test_the_folder_holds_the_documents_and_nothing_else() -> None:
    assert {path.name for path in SAMPLES.iterdir()} == set(DOCUMENTS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_making_a_sample_again_gives_the_committed_bytes(name: str, made: dict[str, Path]) -> None:
    assert made[name].read_bytes() == (SAMPLES / name).read_bytes(), "run: python -m tools.make_samples"


def test_the_samples_are_small_and_of_many_formats() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < MOST_BYTES
    assert len({path.suffix for path in SAMPLES.iterdir()}) >= 12


def test_no_two_samples_share_the_name_of_their_outputs() -> None:
    assert len({Path(name).stem for name in DOCUMENTS}) == len(DOCUMENTS)


def test_zip_based_samples_depend_on_no_clock_and_no_compressor(made: dict[str, Path]) -> None:
    archives = [path for path in made.values() if zipfile.is_zipfile(path)]
    assert len(archives) == 6
    for path in archives:
        for member in zipfile.ZipFile(path).infolist():
            assert member.date_time == (1980, 1, 1, 0, 0, 0)
            assert member.compress_type == zipfile.ZIP_STORED


def test_the_windows_1252_sample_is_not_utf_8(made: dict[str, Path]) -> None:
    content = made["assemblee-generale-2025.txt"].read_bytes()
    with pytest.raises(UnicodeDecodeError):
        content.decode("utf-8")
    assert "l’assemblée générale" in content.decode("windows-1252")
    assert re.search(rb"[^\r]\n", content) is None
