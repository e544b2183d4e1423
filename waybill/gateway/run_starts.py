"""A run of this home's deployment on files in custody, started through Prefect's API as any other program could."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

from prefect.exceptions import ObjectNotFound

from blocks.errors import DeploymentMissing
from blocks.redaction import custody_source
from blocks.runs.prefect_api import PrefectApi
from blocks.runtime.in_words import first_and_more


class StoredFile(Protocol):
    """A file in custody, as far as a run has to know it."""

    @property
    def file_id(self) -> UUID: ...
    @property
    def source_file(self) -> str: ...
    @property
    def filename(self) -> str: ...


async def start_run(
    prefect: PrefectApi,
    deployment_id: UUID,
    files: Sequence[StoredFile],
    parameters: Mapping[str, Any],
    *,
    run_key: str,
) -> UUID:
    """Start one run on all *files* and return its id. With the same *run_key* it is the same run.

    Raises `PrefectUnavailable`, and `DeploymentMissing` when the deployment has gone meanwhile.
    """
    sources = [custody_source(one.file_id, one.source_file) for one in files]
    # Until it starts and names itself.
    name = first_and_more(files[0].filename, len(files))
    return await start_run_on(prefect, deployment_id, {"sources": sources, **parameters}, name=name, run_key=run_key)


async def start_run_on(
    prefect: PrefectApi, deployment_id: UUID, parameters: Mapping[str, Any], *, name: str, run_key: str
) -> UUID:
    """The same with any *parameters* of the deployment; *name* is that of the run until it names itself."""
    try:
        async with prefect.client() as client:
            run = await client.create_flow_run_from_deployment(
                deployment_id,
                parameters=dict(parameters),
                name=name,
                idempotency_key=run_key,
            )
    except ObjectNotFound as exc:
        raise DeploymentMissing("the deployment has gone since the request began") from exc
    return run.id
