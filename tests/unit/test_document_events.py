"""Events of documents: what each holds, when progress is told, and which ids are the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from blocks.catalog import Artifact
from blocks.errors import StageFailed
from blocks.webhooks.event_links import EventLinks
from blocks.webhooks.outbox import Event
from tasks.contract import DocumentInfo
from tasks.document import Deliverable, Document
from tasks.document_events import CUSTODY, DocumentEvents
from tasks.registry import BUILT_IN
from tasks.sources import Source

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN = UUID(int=7)
STAGES = BUILT_IN[:3]
NO_LINKS = EventLinks(None)


def document(index: int = 0, source: str = "/in/report.pdf") -> Document:
    name = f"{index}-{source}"
    info = DocumentInfo(name="report.pdf", sha256="a" * 64, size_bytes=1, media_type="application/pdf", source=name)
    return Document(index=index, source=Source(text=name), label="report.pdf", info=info)


def events_of(documents: int = 1, *, attempt: int = 1, run: UUID = RUN) -> DocumentEvents:
    return DocumentEvents(run_id=run, attempt=attempt, documents=documents, stages=STAGES, links=NO_LINKS)


def delivery(seconds: float = 0.5, *, reused: bool = False) -> Deliverable:
    artifact = Artifact(
        file_id=uuid4(), kind="stage_output", filename="report.md", source_file="/in/report.pdf",
        document_sha256="a" * 64, stage=1, stage_name="x", stage_key="k", run_id=RUN, media_type="text/markdown",
        size=3, sha256="b" * 64, stored_size=3, stored_sha256="b" * 64, location="l", metadata={"pages": 2}, report={},
        created_at=NOW, expires_at=NOW + timedelta(days=30), encrypted_for=None, header_sha256=None, verified_at=None,
        damaged_at=None, damage=None,
    )  # fmt: skip
    return Deliverable(artifact=artifact, reused=reused, seconds=seconds)


def milestones(events: list[Event]) -> list[float]:
    return [event.data["progress"] for event in events if event.event_type == "task_progress"]


def through_all(events: DocumentEvents, one: Document) -> list[list[Event]]:
    told = [events.taken(one, NOW)]
    events.confirm(told[-1])
    for stage in STAGES:
        made = delivery()
        told.append(events.completed(one, stage, made, NOW))
        events.confirm(told[-1])
        one.outputs[stage.name] = made
    return told


def test_the_chain_is_told_with_the_last_stage_and_sums_up() -> None:
    told = through_all(events_of(), document())
    assert [[event.event_type for event in step] for step in told] == [
        ["task_progress"],
        ["stage_completed", "task_progress"],
        ["stage_completed", "task_progress"],
        ["stage_completed", "stage_chain_completed"],
    ]
    chain = told[-1][-1].data
    assert chain["overall_success"] is True
    assert chain["total_execution_time"] == pytest.approx(1.5)
    assert [(one["number"], one["status"]) for one in chain["stages"]] == [
        (1, "completed"), (2, "completed"), (3, "completed"),
    ]  # fmt: skip
    assert len(chain["output_files"]) == 3


def test_events_of_the_same_moment_have_a_sequence_that_says_their_order() -> None:
    events = events_of(3)
    told = [event for index in range(3) for step in through_all(events, document(index)) for event in step]
    numbers = [event.data["sequence"] for event in told]
    assert numbers == sorted(set(numbers))
    # Those of the run itself are even.
    assert {number % 2 for number in numbers} == {1}


@pytest.mark.parametrize("documents", [1, 2, 3, 7, 50])
def test_each_milestone_once_however_many_documents(documents: int) -> None:
    events = events_of(documents)
    told = [event for index in range(documents) for step in through_all(events, document(index)) for event in step]
    assert milestones(told) == [0.25, 0.5, 0.75]


def test_a_jump_tells_every_milestone_that_was_passed() -> None:
    events, one = events_of(), document()
    one.fail(StageFailed("no good"), where=CUSTODY)
    assert milestones(events.failed(one, NOW)) == [0.25, 0.5, 0.75]


def test_what_was_not_committed_is_built_again_with_the_same_ids() -> None:
    events, one = events_of(), document()
    first, second = events.taken(one, NOW), events.taken(one, NOW)
    assert milestones(first) == milestones(second) == [0.25]
    assert [event.event_id for event in first] == [event.event_id for event in second]
    events.confirm(second)
    assert events.taken(one, NOW) == []


def test_a_run_that_goes_on_after_a_crash_has_the_same_ids_for_what_is_done() -> None:
    first, again = through_all(events_of(attempt=1), document()), through_all(events_of(attempt=2), document())
    by_type = [{event.event_type: event.event_id for step in told for event in step} for told in (first, again)]
    assert by_type[0]["stage_chain_completed"] == by_type[1]["stage_chain_completed"]
    assert by_type[0]["stage_completed"] == by_type[1]["stage_completed"]
    # Progress counts by attempt.
    assert by_type[0]["task_progress"] != by_type[1]["task_progress"]


def test_ids_differ_between_runs_documents_and_stages() -> None:
    told = [
        event.event_id
        for run in (RUN, uuid4())
        for index in range(2)
        for step in through_all(events_of(2, run=run), document(index))
        for event in step
        if event.event_type != "task_progress"
    ]
    assert len(set(told)) == len(told) == 16


def test_a_failure_names_its_stage_and_what_was_not_reached() -> None:
    events, one = events_of(), document()
    one.outputs[STAGES[0].name] = delivery()
    one.fail(StageFailed("no good"), where=STAGES[1].name)
    failed, *_, chain = events.failed(one, NOW)
    assert failed.event_type == "stage_failed"
    assert failed.data["stage"] == {
        "number": 2, "name": STAGES[1].name, "status": "failed", "execution_time": 0.0, "error_message": "no good",
    }  # fmt: skip
    assert chain.data["overall_success"] is False
    assert [stage["status"] for stage in chain.data["stages"]] == ["completed", "failed", "skipped"]
    # Tried again, it may fail again, and that is news.
    again = DocumentEvents(run_id=RUN, attempt=2, documents=1, stages=STAGES, links=NO_LINKS).failed(one, NOW)
    assert again[0].event_id != failed.event_id


def test_a_signed_source_is_told_without_its_signature() -> None:
    url = "https://store.example/a.pdf?X-Amz-Signature=abc123&page=2"
    one = document()
    assert one.info is not None
    one.info = replace(one.info, source=url)
    one.fail(StageFailed(f"cannot read {url}"), where=CUSTODY)
    for event in events_of().failed(one, NOW):
        assert "abc123" not in str(event.source_file) + str(event.data)
        assert "page=2" in str(event.source_file)


def test_an_output_that_a_remote_worker_made_names_it_and_no_other_does() -> None:
    events, one = events_of(), document()
    made = replace(delivery(), worker="gpu-1")
    remote, *_ = events.completed(one, STAGES[0], made, NOW)
    here, *_ = events.completed(one, STAGES[1], delivery(), NOW)
    assert remote.data["context"]["worker"] == made.as_json()["worker"] == "gpu-1"
    assert "worker" not in here.data["context"]
