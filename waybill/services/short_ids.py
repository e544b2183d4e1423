"""Ids as people type them: whole, or their first eight or more digits; and names of files.

A beginning that fits several things is refused with a list of them: no command guesses which one was meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

from blocks.errors import (
    AmbiguousId,
    ArtifactNotFound,
    DeliveryNotFound,
    EndpointNotFound,
    InvalidOptions,
    PlanNotFound,
    RunNotFound,
    WaybillError,
)
from blocks.postgres import Connection, fetch_all

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

LEAST_DIGITS = 8
# A longer list is no help to choose from.
_MOST_CANDIDATES = 10
# The newest runs in Prefect, which has no search by the beginning of an id. Older ones with files are in the catalogue.
_MOST_RUNS = 2000
_DIGITS = re.compile(r"[0-9a-f]{8,32}")
# The dashes of an id are where they belong, or left out.
_WITH_DASHES = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{0,4}|-[0-9a-f]{4}(-[0-9a-f]{0,4}|-[0-9a-f]{4}(-[0-9a-f]{0,4}|-.*)))?")

_FILES = """
    select file_id::text as id, filename || coalesce(' of ' || source_file, ', which is being stored') as about,
           state = 'available' as usable from artifacts
     where file_id between %(first)s and %(last)s order by usable desc, file_id limit %(limit)s
"""
_FILES_NAMED = """
    select file_id::text as id, 'made ' || to_char(created_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC of '
           || source_file as about, state from artifacts
     where filename = %(name)s and state = 'available' order by created_at desc, file_id limit %(limit)s
"""
_ENDPOINTS = """
    select endpoint_id::text as id, url as about, state <> 'removed' as usable from webhook_endpoints
     where endpoint_id between %(first)s and %(last)s order by usable desc, endpoint_id limit %(limit)s
"""
_DELIVERIES = """
    select d.delivery_id::text as id, event.event_type || ' to ' || e.url as about, true as usable
      from webhook_deliveries d join webhook_events event using (event_id) join webhook_endpoints e using (endpoint_id)
     where d.delivery_id between %(first)s and %(last)s order by d.delivery_id limit %(limit)s
"""
_PLANS = """
    select plan_id::text as id, 'made ' || to_char(created_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC, '
           || state as about, true as usable from retention_plans
     where plan_id between %(first)s and %(last)s order by plan_id limit %(limit)s
"""
_RUNS = """
    select distinct run_id::text as id, '' as about, true as usable from run_outputs
     where run_id between %(first)s and %(last)s limit %(limit)s
"""
_RUNS_WITH_EVENTS = """
    select distinct task_id::text as id, '' as about, true as usable from webhook_events
     where task_id between %(first)s and %(last)s limit %(limit)s
"""
# Uploads that share a run: their ids stand for those of runs.
_UPLOADS = """
    select task_id::text as id, filename as about from upload_tasks
     where task_id between %(first)s and %(last)s order by task_id limit %(limit)s
"""


def id_digits(text: str) -> str | None:
    """Return the digits of a whole id or of its beginning; None for other text, and for less than eight digits."""
    lower = text.strip().lower()
    if not (_DIGITS.fullmatch(lower) or _WITH_DASHES.fullmatch(lower)):
        return None
    digits = lower.replace("-", "")
    return digits if _DIGITS.fullmatch(digits) else None


def read_digits(text: str) -> str:
    """Return the digits of a whole id or of its beginning. Raises `InvalidOptions`."""
    digits = id_digits(text)
    if digits is None:
        raise InvalidOptions(
            f"{text!r} is not an id; ids look like 0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a, and their first "
            f"{LEAST_DIGITS} digits are enough"
        )
    return digits


async def find_file(connection: Connection, text: str) -> UUID:
    """Return the id of the file that *text* is, or begins. Raises `ArtifactNotFound`, `AmbiguousId`, `InvalidOptions`.

    A whole id is returned as it is: what needs the file says that there is none.
    """
    return await _find(connection, _FILES, text, "files", ArtifactNotFound, "waybill files list")


async def find_endpoint(connection: Connection, text: str) -> UUID:
    """Return the id of the webhook endpoint that *text* is, or begins. Raises `EndpointNotFound`, as `find_file`."""
    return await _find(connection, _ENDPOINTS, text, "endpoints", EndpointNotFound, "waybill webhooks list")


async def find_delivery(connection: Connection, text: str) -> UUID:
    """Return the id of the delivery that *text* is, or begins. Raises `DeliveryNotFound`, as `find_file`."""
    return await _find(connection, _DELIVERIES, text, "deliveries", DeliveryNotFound, "waybill webhooks deliveries")


async def find_plan(connection: Connection, text: str) -> UUID:
    """Return the id of the plan of the retention that *text* is, or begins. Raises `PlanNotFound`, as `find_file`."""
    return await _find(connection, _PLANS, text, "plans", PlanNotFound, "waybill expire --list")


async def find_file_by_name(connection: Connection, text: str) -> UUID:
    """Return the id of the file that *text* names: its id, the beginning of that, or its whole file name."""
    if id_digits(text) is not None:
        with suppress(ArtifactNotFound):
            return await find_file(connection, text)
    rows = await fetch_all(connection, _FILES_NAMED, {"name": text, "limit": _MOST_CANDIDATES + 1})
    if not rows:
        raise ArtifactNotFound(f"no file has the id or the name {text}; 'waybill files list' shows both")
    return UUID(_only(text, "files", [(row["id"], row["about"]) for row in rows]))


async def find_run_with_files(connection: Connection, text: str) -> UUID:
    """Return the id of the run with files that *text* is, or begins. Raises `RunNotFound`, as `find_file`."""
    return await _find(connection, _RUNS, text, "runs with files", RunNotFound, "waybill runs list")


async def find_run_with_events(connection: Connection, text: str) -> UUID:
    """Return the id of the run with events that *text* is, or begins. Raises `RunNotFound`, as `find_file`."""
    return await _find(connection, _RUNS_WITH_EVENTS, text, "runs with events", RunNotFound, "waybill runs list")


async def find_run(client: PrefectClient, connection: Connection, text: str) -> UUID:
    """Return the id of the run that *text* is, or begins: of one with files, or of one of the newest in Prefect.

    Raises `RunNotFound`, as `find_file` does, and *client*'s errors.
    """
    digits = read_digits(text)
    if len(digits) == 32:
        return UUID(digits)
    from blocks.runs.ownership import catalogue_id
    from waybill.services.run_status import read_run

    catalogue = await catalogue_id(connection)
    uploads = await fetch_all(connection, _UPLOADS, {**_range(digits), "limit": _MOST_CANDIDATES + 1})
    found = [(str(row["id"]), str(row["about"])) for row in uploads]
    candidates = set(await _runs_with_files(connection, digits)) | await _runs_in_prefect(client, digits)
    for one in sorted(candidates - {upload_id for upload_id, _ in found})[: _MOST_CANDIDATES + 1]:
        with suppress(RunNotFound):  # of another catalogue, or trimmed from Prefect's history
            found.append((one, (await read_run(client, UUID(one), catalogue)).name))
    if not found:
        raise RunNotFound(
            f"none of the newest {_MOST_RUNS:,} runs has an id that begins with {text}; 'waybill runs list' shows them"
        )
    return UUID(_only(text, "runs", found))


async def _find(
    connection: Connection, query: str, text: str, what: str, missing: type[WaybillError], shown_by: str
) -> UUID:
    digits = read_digits(text)
    if len(digits) == 32:
        return UUID(digits)
    rows = await fetch_all(connection, query, {**_range(digits), "limit": _MOST_CANDIDATES + 1})
    # Of what was deleted only the record is left: it counts where nothing else is meant.
    usable = [row for row in rows if row["usable"]] or rows
    if not usable:
        raise missing(f"none of the {what} has an id that begins with {text}; '{shown_by}' shows them")
    return UUID(_only(text, what, [(row["id"], row["about"]) for row in usable]))


async def _runs_with_files(connection: Connection, digits: str) -> list[str]:
    rows = await fetch_all(connection, _RUNS, {**_range(digits), "limit": _MOST_CANDIDATES + 1})
    return [row["id"] for row in rows]


async def _runs_in_prefect(client: PrefectClient, digits: str) -> set[str]:
    from blocks.runs.prefect_lists import newest_run_ids
    from blocks.runs.run_events import OUR_FLOWS

    newest = await newest_run_ids(client, OUR_FLOWS, limit=_MOST_RUNS)
    return {str(run_id) for run_id in newest if run_id.hex.startswith(digits)}


def _only(text: str, what: str, found: Sequence[tuple[str, str]]) -> str:
    if len(found) == 1:
        return found[0][0]
    listed = [f"  {one}  {about}".rstrip() for one, about in found[:_MOST_CANDIDATES]]
    if len(found) > _MOST_CANDIDATES:
        listed.append("  ... and more")
    raise AmbiguousId("\n".join([f"{text} fits several {what}; give more of the id:", *listed]))


def _range(digits: str) -> dict[str, UUID]:
    return {"first": UUID(digits.ljust(32, "0")), "last": UUID(digits.ljust(32, "f"))}
