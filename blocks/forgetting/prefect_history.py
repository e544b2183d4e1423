"""What Prefect keeps of a document, wherever that is: in a database at hand, behind an API alone, or nowhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self
from uuid import UUID

from blocks.forgetting.prefect_database import Others, PrefectDatabase, find_database
from blocks.forgetting.prefect_database import runs_under_way as runs_under_way_in_database
from blocks.forgetting.rows import Forgetting
from blocks.postgres import single_connection
from blocks.runs.catalogue_id import catalogue_id
from blocks.settings import Settings, prefect_api_url

# Requests of one look at Prefect; and all that it takes to delete the runs of a document, each with its artifacts.
_LOOK_SECONDS, _DELETE_SECONDS = 20.0, 600.0


@dataclass(frozen=True, kw_only=True)
class PrefectOutcome:
    """What was changed or removed, and *left*, by table; *how* it was done, and what that does not reach."""

    how: str
    changed: Mapping[str, int] = field(default_factory=dict[str, int])
    left: Mapping[str, int] = field(default_factory=dict[str, int])
    not_reached: Sequence[str] = ()
    database_url: str | None = None


@dataclass(frozen=True, kw_only=True)
class PrefectHistory:
    """Prefect's records: in the database *database_url*, else behind *api_url*; with neither there are none."""

    database_url: str | None
    api_url: str | None
    catalogue: str

    @classmethod
    async def find(cls, settings: Settings) -> Self:
        """Find them. Raises `PrefectUnavailable` when the Prefect server that is named does not answer."""
        api_url = prefect_api_url()
        flow_ids: list[UUID] | None = None
        if api_url is not None:
            # Not at the top: importing Prefect takes seconds, and a command without a server needs none of it.
            from blocks.forgetting.foreign_prefect import flows_of
            from blocks.runs.prefect_api import PrefectApi

            async with PrefectApi.open(api_url) as api, api.client(seconds=_LOOK_SECONDS) as client:
                flow_ids = await flows_of(client)
        found = await find_database(settings.required_database_url, settings.home, flow_ids)
        async with single_connection(settings.required_database_url) as connection:
            return cls(database_url=found, api_url=api_url, catalogue=await catalogue_id(connection))

    async def under_way(self, run_ids: Sequence[UUID], patterns: Sequence[str]) -> dict[UUID, str]:
        """Return runs of the document that are not over, with their states."""
        if self.database_url is not None:
            return await runs_under_way_in_database(self.database_url, run_ids, patterns, self.catalogue)
        if self.api_url is None:
            return {}
        from blocks.forgetting.foreign_prefect import runs_under_way
        from blocks.runs.prefect_api import PrefectApi

        async with PrefectApi.open(self.api_url) as api, api.client(seconds=_LOOK_SECONDS) as client:
            return await runs_under_way(client, run_ids)

    async def free(
        self, forgetting: Forgetting, others: Mapping[UUID, Sequence[Others]], *, own_run: UUID | None
    ) -> PrefectOutcome:
        """Take the document out. *own_run* is the run that does it: its parameters may name the document."""
        if self.database_url is not None:
            run_ids = [*forgetting.run_ids, *([own_run] if own_run else [])]
            opening = PrefectDatabase.open(
                self.database_url,
                catalogue=self.catalogue,
                names=forgetting.names,
                traces=forgetting.traces,
                run_ids=run_ids,
                others=others,
            )
            async with opening as database:
                changed = await database.redact()
                left = await database.left()
            return PrefectOutcome(
                how="its database",
                changed=dict(changed),
                left={f"prefect.{table}": count for table, count in left.items()},
                database_url=self.database_url,
            )
        if self.api_url is None:
            return PrefectOutcome(
                how="no Prefect server", not_reached=("records of Prefect servers that are not named here",)
            )
        return await self._delete_runs(self.api_url, forgetting, own_run)

    async def _delete_runs(self, api_url: str, forgetting: Forgetting, own_run: UUID | None) -> PrefectOutcome:
        from blocks.forgetting.foreign_prefect import NOT_REACHED, delete_runs, redact_parameters
        from blocks.runs.prefect_api import PrefectApi

        async with PrefectApi.open(api_url) as api, api.client(seconds=_DELETE_SECONDS) as client:
            deleted = await delete_runs(client, [one for one in forgetting.run_ids if one != own_run])
            if own_run is not None:
                await redact_parameters(client, own_run, forgetting.names)
        return PrefectOutcome(how="its API", changed=dict(deleted), not_reached=NOT_REACHED)
