"""The deployments that a home's runs are started from, found among those of its Prefect server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

from prefect.client.schemas.filters import FlowFilter, FlowFilterName

from blocks.catalog import Catalog
from blocks.errors import DeploymentMissing
from blocks.runs.deployment_names import PROCESS_DEPLOYMENT
from blocks.runs.home_id import home_id
from blocks.runs.ownership import catalogue_id, owner_in
from blocks.runs.prefect_api import PrefectApi


async def find_deployment(
    prefect: PrefectApi, catalog: Catalog, home: Path, *, wanted: str = PROCESS_DEPLOYMENT, seconds: float | None = None
) -> UUID:
    """Return the id of the deployment *wanted*: this home's, its catalogue's, or a work pool's.

    Homes that share a Prefect server have one each, and a run of another home's would store its files elsewhere.
    *seconds* limits what Prefect takes, five by default. Raises `PrefectUnavailable`, `DeploymentMissing`, and
    `CatalogUnavailable` where the catalogue has to decide.
    """
    flow_name, name = wanted.split("/")
    these = FlowFilter(name=FlowFilterName(any_=[flow_name]))
    async with prefect.client(seconds=seconds) as client:
        found = [(one, owner_in(one.tags)) for one in await client.read_deployments(flow_filter=these)]
    ours = await asyncio.to_thread(home_id, home)
    chosen = [one for one, owner in found if owner is not None and owner.home == ours]
    if not chosen:
        async with catalog.connection() as connection:
            catalogue = await catalogue_id(connection)
        chosen = [one for one, owner in found if owner is not None and owner.catalogue == catalogue]
    chosen += [one for one, owner in found if owner is None and one.name == name]
    if not chosen:
        raise DeploymentMissing(
            f"Prefect has no deployment {wanted} of this home; 'waybill up' or 'prefect deploy --all' registers it"
        )
    return chosen[0].id
