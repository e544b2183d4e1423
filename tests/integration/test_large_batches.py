"""Runs of many documents: their memory, their report, and where the rest of it is."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import pytest

import flows.process
from flows.processing import results
from tasks.document import Document
from tests.integration.conftest import Workspace
from tests.integration.test_process_flow import process, rows

WHOLE, FIRST = 10, 4
DOCUMENTS = 90


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a run of some ten documents be a large one."""
    monkeypatch.setattr(results, "WHOLE", WHOLE)
    monkeypatch.setattr(results, "FIRST", FIRST)
    monkeypatch.setenv("WAYBILL_SHARD_SIZE", "15")


@pytest.mark.usefixtures("_small")
async def test_documents_leave_memory_and_failures_are_reported_whole(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 90 documents in six shards only the first, the failed, and those of the last three are there at the end."""
    alive: list[int] = []
    read_previews = flows.process.read_previews

    async def counting(documents: Sequence[Document], context: Any) -> Any:
        gc.collect()
        alive.append(sum(isinstance(one, Document) for one in gc.get_objects()))
        return await read_previews(documents, context)

    monkeypatch.setattr(flows.process, "read_previews", counting)
    gc.collect()
    before = sum(isinstance(one, Document) for one in gc.get_objects())
    for number in range(DOCUMENTS):
        workspace.write(f"{number:03}.txt", "raise" if number == 70 else f"text {number}")
    state, report = await process(workspace.documents)
    assert state.is_failed()
    assert state.message is not None and state.message.startswith(f"{DOCUMENTS - 1} of {DOCUMENTS} documents completed")
    assert alive[0] - before <= FIRST + 1 + 3 * 15
    names = [document["source"].rsplit("/", 1)[1] for document in report["documents"]]
    assert names == ["000.txt", "001.txt", "002.txt", "003.txt", "070.txt"]
    assert report["counts"] == {
        "documents": DOCUMENTS, "failed": 1, "files_made": 2 * DOCUMENTS - 1, "files_reused": 0,
        "left_out": DOCUMENTS - FIRST - 1,
    }  # fmt: skip
    assert report["rest"]["command"] == f"waybill files list --run {report['run_id']} --json"
    assert rows(workspace, "select count(*), count(distinct source_file) from artifacts") == [
        (2 * DOCUMENTS - 1, DOCUMENTS)
    ]
