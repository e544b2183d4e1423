"""Whose a run or a deployment is, where several homes share one Prefect server.

A tag of Prefect's says it: `waybill-CATALOGUE-HOME`. The home is the one whose processes run it; several homes may
share a catalogue, whose outbox has the run's events. Runs get the tag from their deployment, or from the command that
begins them; runs of a work pool have a label with the catalogue instead, from when they begin. What has neither counts
as everyone's: it was made by hand, or by an earlier version.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from prefect.client.schemas.objects import FlowRun

from blocks.postgres import single_connection
from blocks.runs.catalogue_id import CATALOGUE_LABEL, catalogue_id
from blocks.runs.home_id import ID_CHARS, home_id
from blocks.settings import Settings

_TAG = re.compile(rf"waybill-([0-9a-f]{{{ID_CHARS}}})-([0-9a-f]{{{ID_CHARS}}})")


@dataclass(frozen=True, kw_only=True)
class Owner:
    """A home and the catalogue that it works on, by their ids."""

    catalogue: str
    home: str

    @property
    def tag(self) -> str:
        """The tag of its deployments and runs."""
        return f"waybill-{self.catalogue}-{self.home}"


def owner_in(tags: Iterable[str]) -> Owner | None:
    """Return the owner that one of *tags* names, if any."""
    for tag in tags:
        if found := _TAG.fullmatch(tag):
            return Owner(catalogue=found[1], home=found[2])
    return None


def is_of_another_catalogue(run: FlowRun, catalogue: str) -> bool:
    """Return whether *run* is known to belong to another catalogue than *catalogue*."""
    label = run.labels.get(CATALOGUE_LABEL)
    if isinstance(label, str):
        return label != catalogue
    owner = owner_in(run.tags)
    return owner is not None and owner.catalogue != catalogue


async def read_owner(settings: Settings) -> Owner:
    """Return the ids of this home and its catalogue. Raises `StackUnavailable` and the errors of the catalogue."""
    async with single_connection(settings.required_database_url) as connection:
        return Owner(catalogue=await catalogue_id(connection), home=home_id(settings.home))
