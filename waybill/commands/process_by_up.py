"""``waybill process`` where a ``waybill up`` is running: the run is left to it, followed and reported.

The command then imports neither Prefect nor a stage, which take longer than most runs of stored outputs. What `up`
cannot do as this command would, is done by the command itself: other settings, other rights, or sources that only this
shell can read.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from blocks.errors import PrefectUnavailable, RunCancelled, StackUnavailable, WaybillError
from blocks.runs.deployment_names import PROCESS_DEPLOYMENT
from blocks.runs.expected_report import ExpectedReport
from blocks.runtime.in_words import first_and_more
from blocks.settings import Settings, current_settings, prefect_api_url
from tasks.sources import display_name
from waybill.commands.output import print_notice, progress_bar
from waybill.commands.session import report_surroundings, stack_session
from waybill.services.deployed_run import DeployedRuns, RunState
from waybill.stack import StackAddresses
from waybill.stack.code_version import code_on_disk
from waybill.stack.kept_process import running_code
from waybill.stack.kept_programs import FLOWS
from waybill.stack.prefect_credential import FILE_NAME, fingerprint_of, is_given, prefect_credential
from waybill.stack.prefect_server import PrefectServer, recorded_server
from waybill.stack.processes import is_running
from waybill.stack.serving import Serving, running_up

# A run takes seconds to begin, and one that takes longer than this takes minutes.
_FIRST_SECONDS = 30.0
_POLL_SECONDS, _LATER_POLL_SECONDS = 0.25, 1.0
# `waybill up` may queue a run again that was taken for crashed.
_CRASHED_SECONDS = 5.0
# What a process has open, and what belongs to it alone.
_OF_A_PROCESS = ("/dev/", "/proc/")

ResultT = TypeVar("ResultT")


def run_by_up(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], StackAddresses] | None:
    """Let the running `waybill up` of this home do the run; return its report and addresses, None without one.

    Ctrl-C cancels the run and waits for its end; a command that is killed leaves it going. Raises the error that ends
    the run, `StackUnavailable` when `up` ends meanwhile, and `PrefectUnavailable`.
    """
    settings = current_settings()
    up, server = running_up(settings.home), recorded_server(settings.home)
    if up is None or server is None or prefect_api_url() is not None or not is_running(server.process):
        return None
    credential = prefect_credential(settings.home)
    if why := _difference(up, server, settings, credential, parameters["sources"]):
        print_notice(f"'waybill up' is running, but {why}: this command processes the documents itself")
        return None
    if (url := parameters["webhook_url"]) is not None:
        _check_webhook(url, own_database=settings.database_url is None)
    else:
        report_surroundings()
    started = time.perf_counter()
    with (
        ExpectedReport.open(settings.home) as expected,
        DeployedRuns.open(server.api_url, credential, lambda: up.is_running) as runs,
        progress_bar("processing") as show,
    ):
        given = {name: value for name, value in parameters.items() if value is not None}
        named = _name(parameters["sources"])
        begin = partial(runs.begin, PROCESS_DEPLOYMENT, given, name=named, key=expected.key)
        try:
            run_id = begin()
            state = _follow(runs, run_id, up, show)
        except KeyboardInterrupt:
            # With the same key it is the same run, also when the interruption came before its id.
            _cancel(runs, begin(), up)
            raise
        report = expected.read()
    if state.type == "CANCELLED":
        raise RunCancelled(state.message or "the run was cancelled")
    if report is None:
        raise WaybillError(f"the run ended as {state.name}: {state.message}")
    return {**report, "seconds": round(time.perf_counter() - started, 3)}, _addresses(settings, server)


def _difference(
    up: Serving, server: PrefectServer, settings: Settings, credential: str, sources: Sequence[str]
) -> str | None:
    """Return why *up* would not do the run as this command does it; None when it would."""
    if server.credential != fingerprint_of(credential):
        return "its Prefect server asks for another credential"
    if running_code(settings.home, FLOWS) != code_on_disk():
        return "it runs other code than is installed now"
    if any(_is_of_this_process(source) for source in sources):
        return "it cannot read what only this process has open"
    return up.difference(settings, remote_sources=any("://" in source for source in sources))


def _is_of_this_process(source: str) -> bool:
    return "://" not in source and any(path.startswith(_OF_A_PROCESS) for path in (source, str(Path(source).resolve())))


def _check_webhook(url: str, *, own_database: bool) -> None:
    """Refuse an unusable URL now; the run would only log it."""
    from waybill.services.webhooks import check_run_url

    with stack_session(prefect=False) as (settings, _):
        asyncio.run(check_run_url(settings, url, own_database=own_database))


def _name(sources: Sequence[str]) -> str:
    """Return the run's name until it begins and names itself."""
    return first_and_more(display_name(sources[0]), len(sources))


def _follow(runs: DeployedRuns, run_id: str, up: Serving, show: Callable[[float, str], None]) -> RunState:
    """Wait for the end of the run, and show how far it is. Raises `StackUnavailable` when *up* ends before."""
    began, crashed_at = time.monotonic(), None
    while True:
        state = _read(lambda: runs.state(run_id), run_id, up)
        now = time.monotonic()
        crashed_at = (crashed_at or now) if state.type == "CRASHED" else None
        if state.has_ended and (crashed_at is None or now - crashed_at > _CRASHED_SECONDS):
            return state
        if not up.is_running:
            raise _up_has_ended(run_id)
        if sys.stderr.isatty() and (progress := _read(lambda: runs.progress(run_id), run_id, up)) is not None:
            show(*progress)
        time.sleep(_POLL_SECONDS if now - began < _FIRST_SECONDS else _LATER_POLL_SECONDS)


def _read(call: Callable[[], ResultT], run_id: str, up: Serving) -> ResultT:
    try:
        return call()
    except PrefectUnavailable as exc:
        if up.is_running:
            raise
        raise _up_has_ended(run_id) from exc


def _up_has_ended(run_id: str) -> StackUnavailable:
    return StackUnavailable(
        f"'waybill up' has ended, and run {run_id} with it. The run goes on from what it has stored when 'waybill up' "
        f"is started again; 'waybill status {run_id}' shows it"
    )


def _cancel(runs: DeployedRuns, run_id: str, up: Serving) -> None:
    """Cancel the run and wait until it has ended."""
    runs.cancel(run_id, "Cancelled by the command that began it.")
    while not _read(lambda: runs.state(run_id), run_id, up).has_ended:
        if not up.is_running:
            raise _up_has_ended(run_id)
        time.sleep(_POLL_SECONDS)


def _addresses(settings: Settings, server: PrefectServer) -> StackAddresses:
    return StackAddresses(
        database_url=settings.database_url.reveal() if settings.database_url else "",
        prefect_api_url=server.api_url,
        prefect_ui_url=server.ui_url,
        home=settings.home,
        started=(),
        prefect_credential_file=None if is_given() else settings.home / FILE_NAME,
    )
