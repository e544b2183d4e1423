"""``waybill doctor``: examine a home and report what does not fit together."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, cast

import typer

from blocks.errors import InvalidSettings, WaybillError
from blocks.runtime.in_words import counted
from blocks.settings import current_settings, prefect_api_url
from waybill.commands.arguments import AsJson
from waybill.commands.output import print_json, print_line, steps_shown

if TYPE_CHECKING:
    from blocks.settings import Settings
    from waybill.services.doctor.findings import Findings
    from waybill.services.doctor.home import HomeProcesses

# A month of runs; their states are read one run at a time.
_MAX_HOURS = 24 * 31


def doctor(
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every stored file and compare its hashes, as 'files verify --all'.")
    ] = False,
    hours: Annotated[
        float, typer.Option(min=0.01, max=_MAX_HOURS, help="How far back Prefect's history is compared with events.")
    ] = 24,
    as_json: AsJson = False,
) -> int:
    """Examine the home: files, keys, runs, webhooks, processes and servers.

    Reports each check as ok, warning or problem, with what to do. Changes nothing, but --deep marks what it has
    verified and what is damaged, as 'files verify' does. May run at any time. Prefect's runs are examined where its
    server answers. The exit code is 1 when there is a problem.
    """
    from waybill.services.doctor.findings import Findings, Tolerances

    found = Findings(tolerances=Tolerances(history=timedelta(hours=hours)))
    examine(found, deep=deep)
    show(found, as_json=as_json)
    return 1 if found.status == "problem" else 0


def examine(found: Findings, *, deep: bool = False) -> None:
    """Examine the home of this process's settings; every failure becomes a finding."""
    from waybill.services.doctor.audit import audit_home
    from waybill.stack.home_processes import processes_of
    from waybill.stack.prefect_credential import check_credential_file

    found.examined.add("settings")
    try:
        settings = current_settings()
    except InvalidSettings as error:
        found.problem("settings", error.message, "correct them; nothing else was examined")
        return
    if not settings.home.is_dir():
        found.examined.add("home")
        found.problem("home", f"there is no home at {settings.home}", "set WAYBILL_HOME; 'waybill up' makes a new one")
        return
    processes = processes_of(settings.home)
    living_runs = audit_home(settings, processes, found)
    try:
        check_credential_file(settings.home)
    except InvalidSettings as error:
        found.problem("key-files", error.message, "or restore it from a backup; until then no server starts")
    _examine_servers(settings, found, processes, living_runs, deep=deep)


def _examine_servers(
    settings: Settings, found: Findings, processes: HomeProcesses, living_runs: set[str], *, deep: bool
) -> None:
    from waybill.services.doctor.audit import audit_servers, cannot_audit_servers
    from waybill.stack import running_stack
    from waybill.stack.postgres import EmbeddedPostgres

    is_own = settings.database_url is None
    if is_own and not EmbeddedPostgres(settings.home).is_made:
        cannot_audit_servers(
            found,
            f"{settings.home} has no database",
            "nothing was stored yet; or it is lost: waybill restore, or waybill catalog rebuild",
        )
        return
    is_shared = not is_own or prefect_api_url() is not None
    dispatcher = any(one.name == "dispatch" and one.is_running for one in processes.recorded)
    try:
        with (
            steps_shown() as step,
            running_stack(settings, prefect=True, on_step=step, reads_only=True) as addresses,
        ):
            asyncio.run(
                audit_servers(
                    current_settings(),
                    found,
                    living_runs=living_runs,
                    prefect_api_url=addresses.prefect_api_url,
                    is_shared=is_shared,
                    dispatcher_is_running=dispatcher,
                    up_is_running=processes.up_is_running,
                    deep=deep,
                )
            )
    except InvalidSettings as error:
        cannot_audit_servers(found, error.message, "correct the setting")
    except WaybillError as error:
        cannot_audit_servers(found, error.message, "see logs/postgres.log in the home")
    except OSError as error:  # such as a log that is a folder
        cannot_audit_servers(found, f"cannot start Postgres: {error}", "mend or move away what it names")


def show(found: Findings, *, as_json: bool) -> None:
    """Print the report: a line for each check that is ok, with what holds, and one for each finding."""
    from waybill.services.doctor.findings import CHECKS

    if as_json:
        print_json(found.as_json())
        return
    for name, expects in CHECKS.items():
        findings = [one for one in found.found if one.check == name]
        if not findings:
            status = found.status_of(name)
            print_line(f"{status:8} {name:16} {expects if status == 'ok' else 'was not examined'}")
        for one in findings:
            print_line(f"{one.status:8} {name:16} {one.message}" + (f" ({one.count})" if one.count > 1 else ""))
            for example in one.examples:
                print_line(f"{'':28}{example}")
            if one.count > len(one.examples) > 0:
                print_line(f"{'':28}and {one.count - len(one.examples):,} more")
            if one.remedy:
                print_line(f"{'':26}-> {one.remedy}")
    print_line("")
    for name, value in found.counts.items():
        print_line(f"{name.replace('_', ' '):18} {_plain(value)}")
    print_line(f"{counted(found.number('problem'), 'problem')}, {counted(found.number('warning'), 'warning')}")


def _plain(value: object) -> str:
    """Return counts in words; what is not known is left out."""
    if isinstance(value, dict):
        named = cast("dict[str, object]", value)
        known = {key.replace("_", " "): one for key, one in named.items() if one is not None}
        return ", ".join(f"{key} {_plain_part(one)}" for key, one in known.items()) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else "unknown" if value is None else str(value)


def _plain_part(value: object) -> str:
    return f"({_plain(cast('object', value))})" if isinstance(value, dict) else _plain(value)
