"""A run of this home's deployment on files in custody, started through Prefect's API as any other program could."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from prefect.exceptions import ObjectNotFound

from blocks.catalog import Artifact
from blocks.errors import DeploymentMissing
from blocks.redaction import custody_source
from blocks.runtime.in_words import first_and_more
from waybill.gateway.resources import Resources


async def start_run(
    resources: Resources,
    deployment_id: UUID,
    artifacts: Sequence[Artifact],
    parameters: Mapping[str, Any],
    *,
    run_key: str,
) -> UUID:
    """Start one run on all *artifacts* and return its id. With the same *run_key* it is the same run.

    Raises `PrefectUnavailable`, and `DeploymentMissing` when the deployment has gone meanwhile.
    """
    sources = [custody_source(artifact.file_id, artifact.source_file) for artifact in artifacts]
    try:
        async with resources.prefect.client() as client:
            run = await client.create_flow_run_from_deployment(
                deployment_id,
                parameters={"sources": sources, **parameters},
                # Until it starts and names itself.
                name=first_and_more(artifacts[0].filename, len(artifacts)),
                idempotency_key=run_key,
            )
    except ObjectNotFound as exc:
        raise DeploymentMissing("the deployment has gone since the request began") from exc
    return run.id
