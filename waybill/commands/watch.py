"""``waybill watch``: take what is new in a folder, a bucket or a URL, again and again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blocks.durations import parse_duration, read_duration
from blocks.errors import InvalidOptions
from blocks.settings import current_settings
from waybill.commands.arguments import AsJson, KeepFor, check_webhook_url, options_text, read_keep_for, this_account
from waybill.commands.output import human_time, print_json, print_line, print_notice
from waybill.commands.session import with_prefect
from waybill.commands.tables import print_table

if TYPE_CHECKING:
    from blocks.catalog import Catalog
    from blocks.runs.prefect_api import PrefectApi
    from blocks.settings import Settings


def watch(
    what: Annotated[
        list[str],
        typer.Argument(metavar="PLACE", help="A folder, glob or URL; or list; or remove, and a place or an id."),
    ],
    every: Annotated[str, typer.Option(metavar="5m", help="How often it is looked at; 15s at least.")] = "5m",
    once: Annotated[bool, typer.Option("--once", help="Look once, now, and make no schedule.")] = False,
    stages: Annotated[str | None, typer.Option(metavar="1-5", help="Stages to run; all when left out.")] = None,
    options: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Options by stage.")] = None,
    webhook_url: Annotated[str | None, typer.Option(metavar="URL", help="Also send the runs' events there.")] = None,
    keep_for: KeepFor = None,
    settle: Annotated[
        str, typer.Option(metavar="10s", help="A local file that changed within this time is left for the next look.")
    ] = "10s",
    as_json: AsJson = False,
) -> int:
    """Process what is new in a folder, a bucket or a URL.

    Now, and again on a schedule: 'waybill up' looks and processes. Each version of a file is taken once; one that is
    being written is left for the next look. A folder called list or remove is written ./list.

    Examples: waybill watch /data/inbox / waybill watch s3://inbox/letters/ --every 1m / waybill watch list / waybill
    watch remove /data/inbox
    """
    if what == ["list"]:
        return _list(as_json)
    if what[0] == "remove" and len(what) == 2:
        return _remove(what[1], as_json)
    if len(what) != 1 or what == ["remove"]:
        raise InvalidOptions("give one place to watch, or list, or remove and one place or id")
    from tasks.sources import absolute_source

    source = absolute_source(what[0])
    read_keep_for(keep_for)
    parameters = _parameters(stages, options, webhook_url, keep_for, settle)
    return _look(source, parameters, as_json) if once else _start(source, every, parameters, as_json)


def _parameters(
    stages: str | None, options: Path | None, webhook_url: str | None, keep_for: str | None, settle: str
) -> dict[str, Any]:
    """Return the parameters of watch-source, checked."""
    from waybill.services.run_options import read_options, read_stages

    read_duration("--settle", settle)
    check_webhook_url(webhook_url)
    given: dict[str, Any] = {}
    if options is not None:
        given = read_options(options_text(options), str(options))
    found = {
        "stages": read_stages(stages) if stages is not None else None,
        "options": given or None,
        "webhook_url": webhook_url,
        "keep_for": keep_for,
        "settle": settle,
    }
    return {name: value for name, value in found.items() if value is not None}


def _start(source: str, every: str, parameters: dict[str, Any], as_json: bool) -> int:
    from tasks.sources import names_nothing

    often = read_duration("--every", every)
    # Read before the stack sets it.
    own_database = current_settings().database_url is None

    async def work(settings: Settings, catalog: Catalog, prefect: PrefectApi) -> dict[str, Any]:
        from waybill.services.watches import start_watch
        from waybill.services.webhooks import check_run_url

        if (url := parameters.get("webhook_url")) is not None:
            await check_run_url(settings, url, own_database=own_database)
        return await start_watch(
            catalog, prefect, settings, source, every=often, parameters=parameters, by=this_account()
        )

    made = with_prefect(work)
    if as_json:
        print_json(made)
    else:
        print_line(f"{made['watch_id']}  {source}  every {made['every']}")
        print_notice(f"'waybill up' looks at it; the first look is run {made['task_id'][:13]}")
        if names_nothing(source):
            print_notice(f"there is nothing at {source} now; 'waybill watch remove {made['watch_id']}' ends the watch")
    return 0


def _look(source: str, parameters: dict[str, Any], as_json: bool) -> int:
    async def work(settings: Settings, catalog: Catalog, prefect: PrefectApi) -> dict[str, Any]:
        from tasks.watching import Watch, look

        settle = parse_duration(str(parameters["settle"]))
        of_runs = {name: value for name, value in parameters.items() if name != "settle"}
        report = await look(settings, catalog, prefect, Watch(source=source, settle=settle, parameters=of_runs))
        return {**report.as_json(), "message": report.line()}

    found = with_prefect(work)
    if as_json:
        print_json(found)
        return 0
    print_line(found["message"])
    for run_id in found["run_ids"]:
        print_line(f"run {run_id}")
    return 0


def _list(as_json: bool) -> int:
    async def work(settings: Settings, catalog: Catalog, prefect: PrefectApi) -> dict[str, Any]:
        from waybill.services.watches import list_watches

        return await list_watches(catalog, prefect, settings)

    found = with_prefect(work)
    if as_json:
        print_json(found)
        return 0
    print_table(
        ("watch", "every", "looked", "files", "waiting", "failed", "place"),
        [
            (
                one["watch_id"],
                (one["every"] or "once") if one["active"] or not one["every"] else "paused",
                human_time(one["looked_at"]) if one["looked_at"] else "",
                f"{one['files']:,}",
                f"{one['waiting']:,}",
                f"{one['failed']:,}",
                one["source"],
            )
            for one in found["watches"]
        ],
        numeric=("files", "waiting", "failed"),
        cut=("place",),
        spare=("looked",),
    )
    for one in found["watches"]:
        if one["problem"]:
            print_notice(f"{one['source']}: {one['problem']}")
    return 0


def _remove(which: str, as_json: bool) -> int:
    async def work(settings: Settings, catalog: Catalog, prefect: PrefectApi) -> dict[str, Any]:
        from tasks.sources import absolute_source
        from waybill.services.watches import end_watch

        named = which if which.startswith("wat_") else absolute_source(which)
        return await end_watch(catalog, prefect, settings, named, by=this_account())

    gone = with_prefect(work)
    if as_json:
        print_json(gone)
    else:
        print_line(f"{gone['watch_id']}  removed")
    return 0
