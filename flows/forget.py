"""forget-document: forget a document everywhere, and show the certificate.

The run's own parameters may name the document: they lose the name with everything else.
"""

from __future__ import annotations

from typing import Annotated, Any, cast
from uuid import UUID

import httpx
from prefect import State, flow, get_run_logger
from prefect.artifacts import acreate_table_artifact
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run
from prefect.states import Completed
from pydantic import Field

from blocks.access import Actor
from blocks.forgetting import Forgetter, forget_named
from blocks.open_custody import open_block_custody
from blocks.runtime.form_schema import shown_as
from blocks.settings import current_settings

ACTOR = Actor(actor="flow:forget-document")


# Prefect shows the descriptions of a docstring in the form of a run, and no others.
@flow(name="forget-document", flow_run_name="forget a document", persist_result=False)
async def forget_document(
    document: Annotated[str, Field(min_length=1, max_length=4096), shown_as("Document")],
    force: Annotated[bool, shown_as("Pinned files too")] = False,
    dry_run: Annotated[bool, shown_as("Dry run")] = False,
) -> State[dict[str, Any]]:
    """Forget a document: files, passages, facts, events, log lines and pages that have its text or name.

    Ends with a certificate of what went and what could not be reached. A run that is killed goes on where it was.

    Args:
        document: Its sha256, or its path, URL or name as it was processed.
        force: Forget pinned files too, and all contents that a source has had. A legal hold keeps a document.
        dry_run: Count what would go; change nothing.
    """
    settings = current_settings()
    run_id = UUID(str(cast("str", flow_run.id)))
    async with open_block_custody(settings) as custody:
        forgetter = Forgetter(custody=custody, settings=settings, by=ACTOR, run_id=run_id)
        found = await forget_named(forgetter, document, force=force, dry_run=dry_run)
    # Without the names that a dry run lists: they would be one more place that has them.
    shown = [_counts(one) for one in found] if dry_run else found
    await _show(shown, dry_run=dry_run)
    done = "would be forgotten" if dry_run else "forgotten"
    return Completed(message=f"{len(found)} {'document' if len(found) == 1 else 'documents'} {done}", data=shown)


def _counts(foreseen: dict[str, Any]) -> dict[str, Any]:
    """Return a dry run's result as counts."""
    removed = {"files": len(foreseen["files"]), "runs": len(foreseen["runs"]), **foreseen["index"]}
    return {"sha256": foreseen["sha256"], "removed": removed, "refused": foreseen["refused"]}


async def _show(found: list[dict[str, Any]], *, dry_run: bool) -> None:
    """Leave the certificates as a table in Prefect's UI. A failure is logged: they are in the audit log too."""
    rows = [
        {"sha256": one["sha256"], "what": what, "count": str(count)}
        for one in found
        for what, count in one["removed"].items()
    ]
    title = "What would go" if dry_run else "What went; the audit log has the whole certificate"
    try:
        await acreate_table_artifact(table=cast("list[dict[str, Any]]", rows), key="forgotten", description=title)
    except (httpx.HTTPError, PrefectException, ValueError) as error:
        get_run_logger().warning("the table of what went cannot be shown: %s", error)
