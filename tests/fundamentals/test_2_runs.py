"""Part 2: a run processes documents.

A *run* is one call of the Prefect flow `process_documents`. It stores each source in custody, processes each document
with *stages* in worker processes, and stores the output of each stage. These tests run it on a real Prefect server.

Stage 1 converts to Markdown, 3 cuts the text into passages, 5 adds them to the search index. Stage 6, which `process`
runs unless a test names others, exists for tests (`tests/stages/hostile.py`): it writes the text of a document in
capitals, or fails where the text says so.
"""

from __future__ import annotations

from functools import partial

import pytest

from blocks.postgres import single_connection
from blocks.settings import Settings
from tests import stored
from tests.integration.conftest import Workspace
from tests.integration.test_process_flow import outputs, process
from waybill.services.search import search_documents


async def test_a_stage_makes_a_file_of_a_document(workspace: Workspace) -> None:
    """Run one document through one stage.

    The report of the run names two files for the document: the upload, and the output of the stage. Both are in
    custody.
    """
    path = workspace.write("letter.html", "<h1>Timetable</h1><p>The plough leaves at <b>six</b>.</p>")

    state, report = await process(path, stages=[1])

    assert state.is_completed()
    (document,) = report["documents"]
    upload, output = document["artifacts"]
    assert (upload["kind"], upload["filename"]) == ("upload", "letter.html")
    assert (output["kind"], output["filename"]) == ("stage_output", "letter.md")
    assert "# Timetable" in stored.output(workspace.home, output["file_id"]).decode()


async def test_the_same_work_is_not_done_twice(workspace: Workspace) -> None:
    """Run the same document again: its output is reused.

    The *stage key* is a hash of the content, the stage, its version and its options. An available output with the same
    key is taken as it is, from an earlier run too.
    """
    path = workspace.write("letter.txt", "the plough leaves at six")

    _, first = await process(path)
    _, second = await process(path)

    assert outputs(first) == [("letter.hostile.txt", False)]
    assert outputs(second) == [("letter.hostile.txt", True)]


async def test_one_document_fails_alone(workspace: Workspace) -> None:
    """Run a good document and a bad one: the good one is completed all the same.

    A document that fails is data of the run, not an exception. The run ends as failed, and its report says which
    document failed and why.
    """
    good = workspace.write("good.txt", "fine")
    bad = workspace.write("bad.txt", "raise")

    state, report = await process(good, bad)

    assert state.is_failed()
    ends = {document["source"]: document["state"] for document in report["documents"]}
    assert ends == {str(good): "completed", str(bad): "failed"}
    assert outputs(report) == [("good.hostile.txt", False)]


async def test_a_transient_error_is_retried(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a document whose stage fails once because a server does not answer: the run completes.

    The type of an error decides. `Transient` errors are retried after some seconds, which this test shortens;
    `Permanent` errors are not.
    """
    monkeypatch.setattr("tasks.stage_tasks.run_stage.retry_delay_seconds", [0.1])
    path = workspace.write("shaky.txt", "transient")

    state, report = await process(path)

    assert (workspace.home / "seen-once").exists(), "the first attempt failed"
    assert state.is_completed()
    assert outputs(report) == [("shaky.hostile.txt", False)]


async def test_search_finds_a_passage(workspace: Workspace, settings: Settings) -> None:
    """Run a document into the search index, and ask for a word: the answer is the passage that has it.

    Search ranks by words, and by meaning where passages have vectors. This test leaves the vectors out, because the
    model takes seconds to load.
    """
    handbook = workspace.write(
        "handbook.md", "# Handbook\n\n## Snow\n\nThe plough leaves at six.\n\n## Wheels\n\nGrease every axle weekly.\n"
    )
    without_vectors = {"chunker": {"embeddings": False}}

    state, _ = await process(handbook, stages=[1, 3, 5], options=without_vectors)
    connect = partial(single_connection, workspace.database_url)
    hits = (await search_documents(connect, "plough", models=settings.home / "models")).hits

    assert state.is_completed()
    assert [(hit.source, hit.found_by) for hit in hits] == [("handbook.md", ["words"])]
    assert "The plough leaves at six." in hits[0].text
