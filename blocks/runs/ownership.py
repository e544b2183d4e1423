"""Whose a run or a deployment is, where several homes share one Prefect server.

A tag of Prefect's says it: `waybill-CATALOGUE-HOME`. The home is the one whose processes run it; several homes may
share a catalogue, whose outbox has the run's events. Runs get the tag from their deployment, or from the command that
begins them; runs of a work pool have a label with the catalogue instead, from when they begin. What has neither counts
as everyone's: it was made by hand, or by an earlier version.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from prefect.client.schemas.objects import FlowRun

from blocks.catalog import Connection
from blocks.errors import StackUnavailable
from blocks.postgres import fetch_row, single_connection
from blocks.runtime.atomic_file import write_atomically
from blocks.settings import Settings

# The label of a run that has begun.
CATALOGUE_LABEL = "waybill.catalogue"

_HOME_FILE = "home-id"
# Few enough digits for people to compare, and enough for the homes of one Prefect server to differ.
_ID_CHARS = 8
_TAG = re.compile(rf"waybill-([0-9a-f]{{{_ID_CHARS}}})-([0-9a-f]{{{_ID_CHARS}}})")
_HOME_ID = re.compile(rf"[0-9a-f]{{{_ID_CHARS}}}")


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


async def catalogue_id(connection: Connection) -> str:
    """Return the id of the connected catalogue: it stays when the database moves with its cluster."""
    row = await fetch_row(
        connection,
        "select s.system_identifier::text || '/' || d.oid::text as id from pg_control_system() s, pg_database d "
        "where d.datname = current_database()",
        {},
    )
    return hashlib.sha256(str(row["id"]).encode()).hexdigest()[:_ID_CHARS]


def home_id(home: Path) -> str:
    """Return the id of *home*, a random one that is made once. Raises `StackUnavailable`."""
    path = home / _HOME_FILE
    try:
        if not path.exists():
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Of several commands that start at the same time, one makes it.
            with contextlib.suppress(FileExistsError):
                write_atomically(path, secrets.token_hex(_ID_CHARS // 2).encode(), replace=False)
        found = path.read_text(errors="replace").strip()
    except OSError as exc:
        raise StackUnavailable(f"cannot use {path}: {exc.strerror}; the id of the home belongs there") from exc
    if not _HOME_ID.fullmatch(found):
        raise StackUnavailable(f"{path} holds no id of a home; remove it to have another one made")
    return found
