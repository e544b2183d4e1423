"""Show a run that has ended in Prefect's UI: its summary, the link to its page at the gateway, and tags.

All of it only shows what is stored, so nothing here fails a run.
"""

from __future__ import annotations

import asyncio
from collections import Counter, UserDict
from collections.abc import Awaitable
from typing import Any

from prefect import get_client, get_run_logger
from prefect.artifacts import acreate_link_artifact, acreate_markdown_artifact

from blocks.errors import InvalidSettings
from blocks.links.public_url import public_url
from blocks.runs.run_artifacts import link_key, summary_key
from blocks.settings import Settings
from flows.processing.summary import RunSummary

# By which people find runs of one kind. More kinds than this are a folder of everything.
_MAX_KINDS = 8
# Prefect answers in milliseconds. Its client repeats a request for a minute.
_SECONDS = 10.0


class RunReport(UserDict[str, Any]):
    """The report of a run, as the result of its flow: a mapping that is no `dict`.

    Prefect looks for futures in every value of a dict, list or dataclass that a flow returns: a millisecond for each
    document.
    """

    def __repr__(self) -> str:
        """Return which run it is of. asyncio writes the result of its main task as text to learn what a handler is."""
        return f"RunReport({self.get('run_id')!r})"


async def show_run(summary: RunSummary) -> None:
    """Leave the summary page, the link, and a tag for each type of document, in Prefect."""
    run_id = summary.run_id
    work: list[Awaitable[object]] = [
        acreate_markdown_artifact(
            key=summary_key(run_id), markdown=summary.markdown(), description="The result of each document"
        ),
        _add_tags(summary),
    ]
    if summary.gateway is not None:
        page = f"{summary.gateway}/runs/{run_id}"
        work.append(
            acreate_link_artifact(
                key=link_key(run_id),
                link=page,
                link_text="This run's documents and files",
                description="At the gateway",
            )
        )
    for problem in await asyncio.gather(*map(_in_time, work), return_exceptions=True):
        if isinstance(problem, Exception):
            get_run_logger().warning("a part of the summary is missing: %s", problem or type(problem).__name__)


async def _in_time(work: Awaitable[object]) -> None:
    async with asyncio.timeout(_SECONDS):
        await work


async def _add_tags(summary: RunSummary) -> None:
    tags = {"waybill", *kind_tags(summary.results.kinds)}
    async with get_client() as client:
        # Read again: a person may have added some meanwhile, and an update replaces all.
        present = set((await client.read_flow_run(summary.run_id)).tags)
        if not tags <= present:
            await client.update_flow_run(summary.run_id, tags=sorted(present | tags))


def kind_tags(kinds: Counter[str]) -> list[str]:
    """Return ``type:pdf`` for each of the most frequent *kinds* of documents."""
    return [f"type:{kind}" for kind, _ in kinds.most_common(_MAX_KINDS)]


def gateway_url(settings: Settings) -> str | None:
    """Return the URL that the gateway's pages begin with; None where the setting is none."""
    try:
        return public_url(settings)
    except InvalidSettings:
        return None
