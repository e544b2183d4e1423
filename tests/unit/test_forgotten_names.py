"""What is recognised as a name or as text of a document that is forgotten, and what is left alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from blocks.forgetting.event_bodies import without_document
from blocks.forgetting.home_files import overwrite_names
from blocks.forgetting.names import Names, placeholder
from blocks.forgetting.traces import Traces
from blocks.webhooks.outbox.event import Event, short_body

SHA = "1a2b3c4d" + "0" * 56
INSTEAD = "forgotten document (1a2b3c4d)"
NAMES = Names.of(
    {"/srv/in/Müller report.pdf", "Müller report.pdf", "Müller report.chunks.json"}, {"Annual report"}, instead=INSTEAD
)


def test_the_placeholder_has_the_first_digits() -> None:
    assert placeholder(SHA) == INSTEAD


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("3-chunker Müller report.pdf", f"3-chunker {INSTEAD}"),
        ("cannot open /srv/in/Müller report.pdf: gone", f"cannot open {INSTEAD}: gone"),
        ("file:///srv/in/M%C3%BCller%20report.pdf?x=1", f"file://{INSTEAD}?x=1"),
        (r'{"a": "M\u00fcller report.chunks.json"}', f'{{"a": "{INSTEAD}"}}'),
        ("MÜLLER REPORT.PDF", INSTEAD),
        ("Mu\u0308ller report.pdf", INSTEAD),
        ("Müller report.pdfx and xMüller report.pdf", "Müller report.pdfx and xMüller report.pdf"),
        ("the Annual report of another", "the Annual report of another"),
    ],
)
def test_a_name_is_found_in_all_its_spellings_and_only_whole(text: str, left: str) -> None:
    assert NAMES.redacted(text, about=False) == left


def test_a_shared_name_is_taken_out_of_what_is_about_the_document_alone() -> None:
    assert NAMES.redacted("Annual report, 12 pages", about=True) == f"{INSTEAD}, 12 pages"
    shared = Names.of({"report.pdf"}, {"report.pdf"}, instead=INSTEAD)
    assert (shared.redacted("report.pdf", about=False), shared.redacted("report.pdf", about=True)) == (
        "report.pdf",
        INSTEAD,
    )


def test_a_short_name_is_no_name_of_everything() -> None:
    names = Names.of({"a.md"}, set(), instead=INSTEAD)
    assert names.redacted("a.md", about=False) == "a.md"
    assert names.redacted("a.md", about=True) == INSTEAD


@pytest.mark.parametrize("word", ["sources", "Harbour-pilots", "20261130", "3.9.0", SHA, "completed"])
def test_a_word_an_id_or_a_number_is_no_name_of_everything(word: str) -> None:
    names = Names.of({word, f"/srv/in/{word}"}, set(), instead=INSTEAD)
    assert names.redacted(f"of another: {word}", about=False) == f"of another: {word}"
    assert names.redacted(f"cannot open /srv/in/{word}", about=False) == f"cannot open {INSTEAD}"


def test_keys_and_states_are_kept_whatever_a_document_is_called() -> None:
    names = Names.of(set(), {"Sources", "Completed", "Status"}, instead=INSTEAD)
    value = {"sources": ["Sources"], "status": "completed"}
    assert names.redacted_value(value, about=True) == {"sources": [INSTEAD], "status": "completed"}


def test_a_longer_name_of_another_document_is_left_whole() -> None:
    names = Names.of({"report.md", "/in/report.md"}, set(), instead=INSTEAD, others={"annual report.md"})
    names = Names.from_json(json.loads(json.dumps(names.as_json())))
    assert names.redacted("report.md, Annual report.md, /in/report.md", about=True) == (
        f"{INSTEAD}, Annual report.md, {INSTEAD}"
    )
    assert not names.occur_in('{"file": "annual report.md"}', about=False)
    assert names.redacted("annual%20report.md", about=False) == "annual%20report.md"


def test_values_lose_names_at_any_depth_and_survive_storage() -> None:
    value = {"Müller report.pdf": [{"x": "see Müller report.pdf", "n": 1.5, "none": None}]}
    again = Names.from_json(json.loads(json.dumps(NAMES.as_json())))
    assert again.redacted_value(value, about=False) == {INSTEAD: [{"x": f"see {INSTEAD}", "n": 1.5, "none": None}]}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("preview: The boiler in the cellar of the old house was", True),
        ("quoted 'boiler in the cellar'", False),
        ("paid from DE89370400440532013000 in June", True),
        ("ask anna.schmidt@example.org for it", True),
        ("Finished in state Completed('1 of 1 documents, 0 reused') 2026-11-30T05:24:09+00:00", False),
        ("task 01a22ae9-3f10-4d11-9c55-6ad3e1b7c001, sha256 b855a8a88ee06559", False),
        ("", False),
    ],
)
def test_text_is_recognised_by_words_in_a_row_and_by_rare_words(line: str, found: bool) -> None:
    text = (
        "The boiler in the cellar of the old house was inspected on 2026-11-30T05:24:09+00:00 by sha256 and "
        "anna.schmidt@example.org, and paid from DE89370400440532013000."
    )
    traces = Traces.of([text])
    assert (traces.are_in(line), Traces.from_bytes(traces.as_bytes()).are_in(line)) == (found, found)


@pytest.mark.parametrize("event_type", ["stage_completed", "stage_chain_completed"])
def test_an_event_that_was_recorded_in_short_is_known_to_be_about_the_document(event_type: str) -> None:
    event = Event(
        event_id="evt_1",
        event_type=event_type,
        task_id=None,
        source_file="/srv/in/Müller report.pdf",
        occurred_at=datetime(2026, 11, 30, tzinfo=UTC),
        data={
            "stage": {"number": 1, "name": "chunker", "status": "completed", "execution_time": 4.6},
            "overall_success": True,
            "context": {"document": "Müller report.pdf", "document_sha256": SHA, "source_metadata": {"for": "Müller"}},
        },
    )
    body = orjson.loads(short_body(event) or b"")
    assert "for" not in str(body)
    found, about = without_document(body, names=NAMES, traces=Traces(), contents=[SHA], file_ids=set(), of_run=True)
    assert about
    assert "Müller" not in found.decode()
    assert SHA not in found.decode()


def test_an_event_about_the_document_keeps_numbers_alone() -> None:
    body = {
        "event_type": "stage_completed",
        "timestamp": "2026-11-30T05:24:09Z",
        "task_id": "7669187d-6413-40fb-93d4-8f0fbaea9997",
        "source_file": "/srv/in/Müller report.pdf",
        "data": {
            "stage": {"number": 1, "name": "chunker", "status": "failed", "execution_time": 4.6, "error_message": ""},
            "output_files": [{"filename": "Müller report.md", "file_id": "f"}],
            "metadata": {"title": "Annual report"},
            "context": {"document": "Müller report.pdf", "document_sha256": SHA, "source_metadata": {"for": "Müller"}},
            "sequence": 17,
        },
    }  # fmt: skip
    found, about = without_document(body, names=NAMES, traces=Traces(), contents=[SHA], file_ids=set(), of_run=True)
    assert about
    assert orjson.loads(found) == {
        **body,
        "source_file": INSTEAD,
        "data": {
            "sequence": 17,
            "stage": {"number": 1, "name": "chunker", "status": "failed", "execution_time": 4.6},
            "forgotten": True,
        },
    }


def test_an_event_of_others_too_loses_the_names_and_quotes_alone() -> None:
    data = {
        "status": "completed",
        "message": "1 of 2 documents; failed: Müller report.pdf",
        "result": {"text": "The boiler in the cellar"},
        "files": [{"file_id": "ours", "filename": "x"}, {"file_id": "theirs", "filename": "other.md"}],
    }
    body = {"event_type": "task_failed", "source_file": None, "data": data}
    traces = Traces.of(["The boiler in the cellar"])
    found, about = without_document(body, names=NAMES, traces=traces, contents=[SHA], file_ids={"ours"}, of_run=True)
    assert not about
    assert orjson.loads(found)["data"] == {
        "status": "completed",
        "message": f"1 of 2 documents; failed: {INSTEAD}",
        "result": None,
        "files": [{"file_id": "theirs", "filename": "other.md"}],
    }


def test_names_in_logs_are_overwritten_in_their_place(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "gateway.log"
    log.parent.mkdir()
    before = (
        "GET /a MÜLLER\nopened /srv/in/Müller report.pdf\n"
        + "x" * 5_000_000
        + "\nmüller REPORT.chunks.json M%C3%BCller%20report.pdf\n"
    )
    log.write_text(before)
    assert overwrite_names(tmp_path, NAMES) == 3
    after = log.read_text()
    assert len(after.encode()) == len(before.encode())
    assert not NAMES.occur_in(after, about=False) and after.startswith("GET /a MÜLLER\nopened ***")


def test_a_log_keeps_longer_names_wherever_it_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blocks.forgetting.home_files._READ_BYTES", 256)
    names = Names.of({"report.md"}, set(), instead=INSTEAD, others={"annual report.md"})
    line = "annual report.md; report.md; myreport.md, süß-report.mdx; \u00fcreport.md\n"
    log = tmp_path / "logs" / "serve.log"
    log.parent.mkdir()
    log.write_text("".join(f"{'x' * (number % 61)} {line}" for number in range(200)))
    expected = log.read_text().replace("; report.md;", "; *********;")
    assert overwrite_names(tmp_path, names) == 200
    assert log.read_text() == expected
