"""The corpora keep what they promise: the same documents each time, quickly, and in the stated numbers."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path

import pytest

from blocks.errors import StageFailed
from tests.corpus.fetch_foreign import ARCHIVES, fetch_foreign
from tests.corpus.foreign import ROOT, count_by_format, find_foreign_documents
from tests.corpus.generated import FEWEST_WORDS, MOST_WORDS, write_documents
from tests.corpus.hostile import HOSTILE
from tests.corpus.hostile_case import Outcome
from tests.corpus.hostile_folders import HOSTILE_NAMES, hostile_folder, write_hostile_names
from tests.corpus.many_formats import write_many_formats
from tests.corpus.sample_questions import SAMPLE_QUESTIONS
from tools.make_samples import DOCUMENTS

# Twice what the slowest writer needs on a busy machine.
SLOWEST_WRITER_SECONDS = 2.0


class TestGenerated:
    def test_documents_alternate_and_are_distinct(self, tmp_path: Path) -> None:
        paths = write_documents(tmp_path, 40)
        assert [path.suffix for path in paths] == [".md", ".docx"] * 20
        assert len({path.read_bytes() for path in paths}) == 40

    def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(self, tmp_path: Path) -> None:
        first = write_documents(tmp_path / "a", 10, seed=1)
        again = write_documents(tmp_path / "b", 20, seed=1)
        other = write_documents(tmp_path / "c", 10, seed=2)
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again[:10]]
        assert [path.name for path in first] == [path.name for path in again[:10]]
        assert not {path.read_bytes() for path in first} & {path.read_bytes() for path in other}

    def test_documents_have_a_realistic_length_and_shape(self, tmp_path: Path) -> None:
        for path in write_documents(tmp_path, 100):
            if path.suffix == ".md":
                text = path.read_text()
                assert FEWEST_WORDS <= len(text.split()) <= MOST_WORDS, path.name
                assert text.startswith("# ") and "\n## " in text and "\n1. " in text
            else:
                assert zipfile.ZipFile(path).testzip() is None


class TestManyFormats:
    def test_each_format_has_its_turn_and_the_same_bytes_each_time(self, tmp_path: Path) -> None:
        first, again = write_many_formats(tmp_path / "a", 15), write_many_formats(tmp_path / "b", 14)
        assert len({path.suffix for path in first}) == 14
        assert {path.name: path.read_bytes() for path in first[:14]} == {path.name: path.read_bytes() for path in again}
        assert set((tmp_path / "a").iterdir()) == set(first)


class TestHostile:
    def test_every_case_has_its_own_file_name(self) -> None:
        assert len(HOSTILE) >= 60
        assert len({case.filename for case in HOSTILE.values()}) == len(HOSTILE)

    def test_no_case_allows_a_defect_and_each_outcome_is_complete(self) -> None:
        for case in HOSTILE.values():
            assert StageFailed not in case.errors
            assert (case.outcome is Outcome.SUCCEEDS) == (not case.errors), case.name
            assert (case.outcome is Outcome.FAILS) == (case.contains is None), case.name

    def test_a_case_is_written_quickly_and_with_the_same_bytes(self, tmp_path: Path, subtests: pytest.Subtests) -> None:
        for name, case in HOSTILE.items():
            with subtests.test(name):
                folder = tmp_path / name
                folder.mkdir()
                begun = time.thread_time()
                first = case.write_into(folder)
                assert time.thread_time() - begun < SLOWEST_WRITER_SECONDS
                content = first.read_bytes()
                case.write_into(folder)
                assert (first.read_bytes() == content) == case.same_bytes

    def test_the_zip_bomb_is_small_outside_and_over_a_gigabyte_inside(self, tmp_path: Path) -> None:
        path = HOSTILE["zip-bomb-docx"].write_into(tmp_path)
        with zipfile.ZipFile(path) as archive:
            [bomb] = [member for member in archive.infolist() if member.filename == "word/document.xml"]
            assert bomb.file_size > 2**30
            with archive.open(bomb) as member:
                assert b"<w:t>tide</w:t>" in member.read(4096)
        assert path.stat().st_size < 3_000_000


class TestHostileFolders:
    def test_every_hostile_name_can_be_written(self, tmp_path: Path) -> None:
        paths = write_hostile_names(tmp_path / "names")
        assert {path.name for path in paths} == set(HOSTILE_NAMES)
        assert set((tmp_path / "names").iterdir()) == set(paths)

    def test_a_hostile_folder_is_left_removable(self, tmp_path: Path) -> None:
        with hostile_folder(tmp_path / "folder") as made:
            assert all(path.is_file() for path in made.documents)
            assert any(path.is_fifo() for path in made.others)
        assert made.unreadable.read_text().startswith("# Closed")


class TestForeign:
    def test_the_machine_itself_has_real_documents_outside_of_the_project(self, tmp_path: Path) -> None:
        found = find_foreign_documents(2, fetched=tmp_path)
        assert {"md", "rst", "txt"} <= set(count_by_format(found))
        assert all(count <= 2 for count in count_by_format(found).values())
        assert not any(path.is_relative_to(ROOT / folder) for path in found for folder in ("docs", "samples", "tests"))
        assert found == find_foreign_documents(2, fetched=tmp_path)

    def test_what_was_fetched_is_found_first(self, tmp_path: Path) -> None:
        fetched = tmp_path / "maker-1.0" / "letter.md"
        fetched.parent.mkdir()
        fetched.write_text("A letter from somewhere else, with enough words in it. " * 60)
        assert fetched in find_foreign_documents(1, fetched=tmp_path)

    def test_complete_archives_are_not_fetched_again(self, tmp_path: Path) -> None:
        for archive in ARCHIVES:
            (tmp_path / archive.folder_name).mkdir()
        paths = fetch_foreign(tmp_path)
        assert len(paths) == len(set(paths)) >= 25
        assert {"docx", "odp", "ods", "odt", "pdf", "pptx", "tex", "xlsx"} <= set(count_by_format(paths))


def test_sample_questions_name_existing_samples() -> None:
    assert {name for question in SAMPLE_QUESTIONS for name in question.documents} <= set(DOCUMENTS)
