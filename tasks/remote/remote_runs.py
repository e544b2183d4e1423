"""Runs of the deployment ``run-stage/remote``: each asks the workers of a label to claim one assignment."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled

from blocks.assignments import Assignment, ClaimTokens
from blocks.catalog import Catalog
from blocks.errors import DeploymentMissing
from blocks.runs.deployment import find_deployment
from blocks.runs.prefect_api import PrefectApi
from blocks.runs.remote_stages import REMOTE_DEPLOYMENT


class RemoteRuns:
    """Starts and withdraws such runs. *gateway_url* is the gateway as workers reach it."""

    def __init__(
        self, prefect: PrefectApi, catalog: Catalog, home: Path, *, tokens: ClaimTokens, gateway_url: str
    ) -> None:
        self._prefect = prefect
        self._catalog = catalog
        self._home = home
        self._tokens = tokens
        self._gateway_url = gateway_url

    async def start(self, assignment: Assignment, number: int, name: str) -> UUID:
        """Start run *number* of an assignment, shown as *name*, and return its id. Idempotent.

        Raises `PrefectUnavailable`, `DeploymentMissing`.
        """
        deployment_id = await find_deployment(self._prefect, self._catalog, self._home, wanted=REMOTE_DEPLOYMENT)
        ticket = {
            "gateway": self._gateway_url,
            "assignment_id": assignment.assignment_id,
            # Kept by Prefect with the run. It opens nothing without the session of a worker with this label.
            "token": self._tokens.issue(assignment),
        }
        try:
            async with self._prefect.client() as client:
                run = await client.create_flow_run_from_deployment(
                    deployment_id,
                    parameters={"ticket": ticket},
                    name=name,
                    work_queue_name=assignment.label,
                    idempotency_key=f"{assignment.assignment_id}-{number}",
                )
        except ObjectNotFound as exc:
            raise DeploymentMissing(f"Prefect has no deployment {REMOTE_DEPLOYMENT} any more") from exc
        return run.id

    async def how_it_ended(self, run_id: UUID) -> str | None:
        """Return the state in which a run has ended, None while it has not. Raises `PrefectUnavailable`."""
        try:
            async with self._prefect.client() as client:
                state = (await client.read_flow_run(run_id)).state
        except ObjectNotFound:
            return "Deleted"
        return state.name if state is not None and state.is_final() else None

    async def withdraw(self, run_id: UUID) -> None:
        """Cancel a run that no worker has begun. Raises `PrefectUnavailable`."""
        try:
            async with self._prefect.client() as client:
                state = (await client.read_flow_run(run_id)).state
                if state is not None and (state.is_scheduled() or state.is_pending()):
                    message = "No worker has claimed it in time, or its run was cancelled."
                    await client.set_flow_run_state(run_id, Cancelled(message=message), force=True)
        except ObjectNotFound:
            return
