"""`waybill forget`: afterwards nothing has the document's name, title or text, and everything else is still there."""

from __future__ import annotations

import secrets
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.acceptance.conftest import CommandLine
from tests.marked_places import marked_columns, marked_files
from tests.stack_driver import StackCommand, eventually
from tests.webhooks import Answer, Receiver

# Segments of the write-ahead log are overwritten with time: the certificate says so.
_WITH_TIME = ("pg_wal",)
# A receiver that a busy machine holds up is waited for, until it has answered something.
_DRAIN_SECONDS = 150


class Marks:
    """Words that are nowhere else: one in the name, one in the title, one in the text."""

    def __init__(self) -> None:
        rest = secrets.token_hex(5)
        self.name, self.title, self.text = f"Nameqz{rest}", f"Titleqz{rest}", f"Textqz{rest}"
        self.all = (self.name, self.title, self.text)

    def document(self, folder: Path) -> Path:
        path = folder / f"{self.name} plan.md"
        path.write_text(
            f"# {self.title} of the house\n\nThe boiler in the cellar, {self.text}, was inspected on 4 May 2024.\n\n"
            f"## Costs\n\nThe repair of {self.text} costs 1,250 euros and will be paid in June 2024.\n"
        )
        return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "viaduct.md"
    path.write_text("# The viaduct\n\nThe viaduct is 120 metres long and was inspected on 3 March 2021 by engineers.\n")
    return path


def test_no_place_has_the_marks_of_a_forgotten_document(
    alone: CommandLine, receiver: Receiver, other: Path, tmp_path: Path
) -> None:
    marks = Marks()
    document = marks.document(tmp_path)
    with StackCommand(alone.home, "--prefect") as stack:
        catalogue = stack.answer()["database_url"]
        prefect = make_conninfo(catalogue, dbname="prefect")
        # Nothing is delivered, and each answer quotes what it was sent.
        receiver.answer(Answer(status=500, body=f"what is {marks.name}?".encode()))
        patient = alone.with_environment(WAYBILL_WEBHOOK_DRAIN_SECONDS=_DRAIN_SECONDS)
        ran = patient.json("process", document, other, "--webhook-url", receiver.url())
        _wait_until_recorded(prefect, ran["run_id"])
        files = {one["source"]: one["artifacts"] for one in ran["documents"]}
        before = marked_columns(catalogue, marks.all) | {f"prefect {one}" for one in marked_columns(prefect, marks.all)}
        assert before >= {
            "artifacts.filename", "artifacts.metadata", "indexed_chunks.text", "indexed_facts.statement",
            "webhook_events.body", "webhook_attempts.answer", "run_outputs.source_file", "prefect flow_run.parameters",
            "prefect flow_run.name", "prefect task_run.name", "prefect artifact.data", "prefect events.payload",
        }  # fmt: skip
        _write_out(catalogue)
        assert marked_files(alone.home / "postgres", marks.all, without=_WITH_TIME)

        foreseen = alone.json("forget", document, "--dry-run")
        (would,) = foreseen["documents"]
        assert {one["file_id"] for one in would["files"]} >= {one["file_id"] for one in files[str(document)]}
        assert (would["sources"], would["runs"], would["refused"]) == ([str(document)], [ran["run_id"]], None)
        assert before == marked_columns(catalogue, marks.all) | {
            f"prefect {one}" for one in marked_columns(prefect, marks.all)
        }

        (certificate,) = alone.json("forget", document)["documents"]

        assert marked_columns(catalogue, marks.all) == set()
        assert marked_columns(prefect, marks.all) == set()
        assert (certificate["left"], certificate["database_files"]["not_rewritten"]) == ({}, {})
        assert certificate["removed"]["files"] == len(would["files"]) and certificate["removed"]["passages"] >= 1
        _write_out(catalogue)
        assert marked_files(alone.home, marks.all, without=_WITH_TIME) == set()

        # What stays: the run with its history, and the other document.
        history = alone.json("status", ran["run_id"], "--history")["history"]
        assert history[0]["status"] == "completed"
        _the_other_document_is_whole(alone, catalogue, files[str(other)])
        (entry,) = alone.json("audit", "--action", "forget")["entries"]
        assert entry["detail"] == certificate

        # The same content again is new, and the other is reused.
        again = {one["source"]: one for one in alone.json("process", document, other)["documents"]}
        assert [one["reused"] for one in again[str(document)]["artifacts"]] == [False] * len(files[str(document)])
        assert all(one["reused"] for one in again[str(other)]["artifacts"])
        assert alone.json("search", marks.text)["results"]
        stack.leave()


def _wait_until_recorded(prefect: str, run_id: str) -> None:
    """Wait until Prefect's server has written down what it was told of the run: it does so in the background."""
    done = "select 1 from events where event = 'prefect.flow-run.Completed' and resource_id = %s"
    tasks = "select 1 from task_run where flow_run_id = %s and state_type <> 'COMPLETED'"
    with psycopg.connect(prefect, autocommit=True) as connection:
        eventually(
            lambda: (
                connection.execute(done, [f"prefect.flow-run.{run_id}"]).fetchone() is not None
                and connection.execute(tasks, [run_id]).fetchone() is None
            ),
            "all of the run is in Prefect's database",
        )


def _write_out(catalogue: str) -> None:
    """Let Postgres write what it has in memory to its files."""
    with psycopg.connect(catalogue, autocommit=True) as connection:
        connection.execute("checkpoint")


def _the_other_document_is_whole(commands: CommandLine, catalogue: str, files: list[dict[str, str]]) -> None:
    for file in files:
        assert commands.json("files", "verify", file["file_id"])
    with psycopg.connect(catalogue) as connection:
        rows = connection.execute(
            "select count(*) from webhook_deliveries d join webhook_events e using (event_id) "
            "where d.state = 'pending' and e.source_file like '%viaduct.md'"
        ).fetchone()
    assert rows is not None and rows[0] > 0, "webhooks about it still wait"
