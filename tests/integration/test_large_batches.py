"""Runs of many documents: their memory, their report, where the rest of it is, and lists of sources."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from prefect import get_client

import flows.process
from blocks.access import Actor
from blocks.errors import InvalidOptions, SourceNotFound, SourceRefused
from blocks.open_custody import open_block_custody
from blocks.settings import current_settings
from flows.processing import results
from tasks.document import Document
from tasks.sources.source_lists import MEDIA_TYPE
from tests.integration.conftest import Workspace
from tests.integration.test_process_flow import process, rows
from waybill.services.source_lists import store_list

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
        "left_out": DOCUMENTS - FIRST - 1, "failed_left_out": 0,
    }  # fmt: skip
    assert report["rest"]["command"] == f"waybill files list --run {report['run_id']} --json"
    assert rows(workspace, "select count(*), count(distinct source_file) from artifacts") == [
        (2 * DOCUMENTS - 1, DOCUMENTS)
    ]


# Lists of sources -----------------------------------------------------------------------------------------------------


async def run_name(report: dict[str, Any]) -> str:
    async with get_client() as client:
        return (await client.read_flow_run(UUID(report["run_id"]))).name


async def test_a_list_in_a_file_names_sources_each_of_which_fails_by_itself(workspace: Workspace) -> None:
    first, second = workspace.write("a.txt", "one"), workspace.write("b.txt", "two")
    listed = workspace.home.parent / "letters.list"
    (workspace.documents / "empty").mkdir()
    listed.write_text(f'# of May\n{first}\n\n{{"source": "{second}", "customer": 7}}\n{first}\n'
                      f"{workspace.documents}/gone.txt\n{workspace.documents}/empty\n"
                      "waybill:notanid\nnosuch://x\nn\0ul\n")  # fmt: skip
    state, report = await process(f"list:{listed}")
    assert state.is_failed()
    states = {document["source"].rpartition("/")[2]: document["error_type"] for document in report["documents"]}
    assert states == {
        "a.txt": None, "b.txt": None, "gone.txt": "SourceNotFound", "empty": "SourceNotFound",
        "waybill:notanid": "InvalidOptions", "x": "InvalidOptions", "n\\x00ul": "InvalidOptions",
    }  # fmt: skip
    assert await run_name(report) == "letters.list"


async def test_a_list_in_custody_is_read_by_the_run_and_is_no_document(workspace: Workspace) -> None:
    paths = [str(workspace.write(name, name)) for name in ("a.txt", "# b.txt", " c.txt")]
    async with open_block_custody(current_settings()) as custody:
        named = await store_list(custody, paths, name="letters.list", by=Actor(actor="cli:ada"))
    state, report = await process(workspace.write("x.txt", "x"), named)
    assert state.is_completed()
    assert [document["source"].rsplit("/", 1)[1] for document in report["documents"]] == [
        "x.txt", "a.txt", "# b.txt", " c.txt",
    ]  # fmt: skip
    assert rows(workspace, "select media_type from artifacts where source_file = 'letters.list'") == [(MEDIA_TYPE,)]
    assert list((workspace.home / "scratch").iterdir()) == []
    with pytest.raises(InvalidOptions, match="may not name another list"):
        nested = workspace.write("nested.txt", f"{named}\n")
        await process(f"list:{nested}")


async def test_what_is_no_list_is_refused_before_anything_is_stored(workspace: Workspace) -> None:
    for name in ("a.txt", "b.txt"):
        workspace.write(name, name)
    with pytest.raises(InvalidOptions, match="names 2 files; a list of sources is one file"):
        await process(f"list:{workspace.documents}")
    with pytest.raises(SourceNotFound):
        await process(f"list:{workspace.documents}/none.list")
    with pytest.raises(SourceRefused):
        await process(f"list:{workspace.home}/keys/none.list")
    assert rows(workspace, "select count(*) from artifacts") == [(0,)]
