"""A Prefect server whose database is not at hand: only what its API offers.

The API changes no state, log line or event. So runs of the document are deleted there, with their subflow runs, tasks,
states and logs, and their artifacts; the certificate says what stays (ADR 0024).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowRunFilter
from prefect.client.schemas.objects import TERMINAL_STATES
from prefect.exceptions import ObjectNotFound

from blocks.forgetting.names import Names
from blocks.runs.prefect_lists import UnreadableRuns, prefect_pages, slices

# A list of artifacts has all of their data.
_ARTIFACTS_READ = 25

NOT_REACHED = (
    "events of the Prefect server, which its API does not delete: they go by its own retention",
    "schedules and other records of the Prefect server that may name the source",
)
"""What stays on such a server, as the certificate says it."""


async def flows_of(client: PrefectClient) -> list[UUID]:
    """Return the ids of some flows of the server, by which its database is recognised."""
    return [flow.id for flow in await client.read_flows(limit=20)]


async def runs_under_way(client: PrefectClient, run_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Return those of the runs that are not over, with their states."""
    found: dict[UUID, str] = {}
    for some in slices(run_ids):
        these = FlowRunFilter.model_validate({"id": {"any_": some}})
        for run in await UnreadableRuns().read(client, flow_run_filter=these):
            if run.state is not None and run.state.type not in TERMINAL_STATES:
                found[run.id] = run.state.type.value
    return found


async def delete_runs(client: PrefectClient, run_ids: Sequence[UUID]) -> Counter[str]:
    """Delete the runs with all that the API deletes of them; return how many runs and artifacts went."""
    deleted: Counter[str] = Counter()
    for run_id in run_ids:
        for one in [*await _below(client, run_id), run_id]:
            deleted["artifact"] += await _delete_artifacts(client, one)
            with suppress(ObjectNotFound):
                await client.delete_flow_run(one)
                deleted["flow_run"] += 1
    return +deleted


async def redact_parameters(client: PrefectClient, run_id: UUID, names: Names) -> None:
    """Take the names out of the parameters of a run that goes on: the one that forgets the document."""
    with suppress(ObjectNotFound):
        run = await client.read_flow_run(run_id)
        await client.update_flow_run(run_id, parameters=names.redacted_value(run.parameters, about=True))


async def _below(client: PrefectClient, run_id: UUID) -> list[UUID]:
    """Return the subflow runs below a run, deepest first: deleted after it, they would be runs of their own."""
    found: list[UUID] = []
    these = FlowRunFilter.model_validate({"parent_flow_run_id": {"any_": [run_id]}})
    read = partial(UnreadableRuns().read, client, flow_run_filter=these)
    async for page in prefect_pages(read, what="runs"):
        for run in page:
            found += [*await _below(client, run.id), run.id]
    return found


async def _delete_artifacts(client: PrefectClient, run_id: UUID) -> int:
    these = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]))
    deleted = 0
    while found := await client.read_artifacts(artifact_filter=these, limit=_ARTIFACTS_READ):
        for artifact in found:
            with suppress(ObjectNotFound):
                await client.delete_artifact(artifact.id)
            deleted += 1
    return deleted
