"""Sources as JSON for another process."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from blocks.errors import InvalidOptions, SourceNotFound, TooLarge
from blocks.settings import Settings
from tasks.sources import Source, SourceReader, expand
from tasks.sources.records import as_record, error_of, from_record


def through_json(source: Source) -> Source:
    return from_record(json.loads(json.dumps(as_record(source))))


def fields_of(source: Source) -> tuple[object, ...]:
    return source.text, source.path, source.url, source.file_id, source.name, source.within, source.remote


@pytest.fixture
def reader(tmp_path: Path) -> SourceReader:
    return SourceReader.of(Settings(home=tmp_path / "home"))


def test_sources_of_every_kind_are_the_same_afterwards(tmp_path: Path, reader: SourceReader) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    for name in ("a.txt", "b [1].txt", "c*.txt"):
        (folder / name).write_text("text")
    with (
        reader,
        expand(
            [str(folder), "https://example.org/report.pdf?page=1", "waybill:00000000-0000-4000-8000-000000000001"],
            reader,
        ) as found,
    ):
        assert len(found) == 5
        for source in found:
            assert fields_of(through_json(source)) == fields_of(source)


def test_a_name_that_is_no_text_leads_to_the_same_file(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))
    assert through_json(Source(text="caf\\xe9.txt", name=path.name, path=path)).path == path


def test_what_cannot_be_read_fails_for_the_same_reason() -> None:
    error = through_json(Source(text="gone.pdf", error=TooLarge("too large"))).error
    assert (type(error), error.message if error else None) == (TooLarge, "too large")
    assert type(error_of("OfANewerVersion", "reason")) is SourceNotFound
    assert type(error_of("annotations", "reason")) is SourceNotFound


def test_a_password_is_given_to_no_other_machine(reader: SourceReader) -> None:
    with reader, expand(["https://user:secret@example.org/report.pdf"], reader) as found:
        with pytest.raises(InvalidOptions, match="password") as refused:
            as_record(found[0])
        assert "secret" not in str(refused.value)
