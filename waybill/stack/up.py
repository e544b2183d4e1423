"""`waybill up`: run everything until Ctrl-C or a signal.

Owns being the only `up` of a home, and keeping the servers, the dispatcher, the flow server and the gateway
running. A second `up` with the same home changes nothing: it prints where the first one is and exits with success.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

from blocks.links import noted_gateway
from blocks.settings import Settings, prefect_api_url
from waybill.process.gateway_socket import announced, bound_to, exposure, listen
from waybill.process.signals import holding_signals, noting_signals
from waybill.services.api_keys import KEY_FILE_NAME
from waybill.stack.backup.wal_receiver import WalReceiver, wal_receiver
from waybill.stack.deployments import project_directory
from waybill.stack.home import prepare_home
from waybill.stack.kept_process import KeptProcess, end_recorded
from waybill.stack.kept_programs import GATEWAY, dispatcher_program, flows_program, gateway_program
from waybill.stack.prefect_server import recorded_server
from waybill.stack.serving import recorded, serving_with
from waybill.stack.stack import OnStep, Stack, StackAddresses, open_stack
from waybill.stack.stack_lock import sole_holder
from waybill.stack.watch import LOOK_SECONDS, StackWatch

GATEWAY_PORT, UI_PORT = 8000, 4200

_AS_ROOT = "running as root: what breaks into a run has this whole machine; run it as an account of its own"


def run_up(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = GATEWAY_PORT,
    ui_port: int = UI_PORT,
    on_ready: Callable[[], None] | None = None,
    on_up: Callable[[], None] | None = None,
    project: Path | None = None,
    say: OnStep = print,
) -> int:
    """Run the stack, serve the deployments of *project* and answer HTTP until SIGINT, SIGTERM or SIGHUP; the exit code.

    *host* and *port* are the gateway's. *on_ready* runs once Postgres and Prefect answer and before flows are served:
    the place to register blocks. *on_up* runs once everything does. What dies is started again; interrupted flow runs
    go on. Raises `StackUnavailable` when the first start fails, and `InvalidSettings` when the gateway cannot listen
    there.
    """
    prepare_home(settings.home)
    serving = serving_with(settings)
    with sole_holder(_lock_file(settings.home)) as is_only_one:
        if not is_only_one:
            say(_already_running(settings.home, port=port, ui_port=ui_port))
            return 0
        _lock_file(settings.home).write_text(str(os.getpid()))
        if os.geteuid() == 0:
            say(_AS_ROOT)
        # The gateway of an `up` that was killed a moment ago may still hold the port.
        end_recorded(settings.home, GATEWAY)
        with (
            # The port first: one that is taken is reported before anything is started.
            listen(host, port) as listener,
            announced(settings, listener),
            # Before the servers: Postgres sends the rest of its log to it before it ends.
            wal_receiver(settings.home, say) as receiver,
            open_stack(settings, ui_port=ui_port, on_step=say) as stack,
        ):
            if on_ready is not None:
                on_ready()
            if warning := exposure(settings, listener):
                say(warning)
            # Stopped from the last to the first: events that flows record while they end are still sent.
            kept = [
                KeptProcess(settings.home, dispatcher_program(stack.working_directory), say),
                KeptProcess(settings.home, flows_program(project or project_directory()), say),
                KeptProcess(settings.home, gateway_program(listener, stack.working_directory), say),
            ]
            say("serving the flows")
            with _running(kept):
                if on_up is not None:
                    on_up()
                with noting_signals() as shutdown_requested, recorded(settings.home, serving):
                    say(_addresses(stack.addresses, bound_to(listener)))
                    watched = [*kept, receiver] if settings.database_url is None else kept
                    _keep_running(stack, watched, shutdown_requested, say)
                    say("stopping")
    return 0


@contextmanager
def _running(kept: Sequence[KeptProcess]) -> Generator[None]:
    """Run *kept* during the block, all of them ready; stop them from the last to the first."""
    try:
        for process in kept:
            process.launch()
        for process in kept:
            process.wait_until_ready()
        yield
    finally:
        with holding_signals():
            for process in reversed(kept):
                process.stop()


def _keep_running(
    stack: Stack, kept: Sequence[KeptProcess | WalReceiver], shutdown_requested: Event, say: OnStep
) -> None:
    watch = StackWatch(stack, say)
    while not shutdown_requested.wait(LOOK_SECONDS):
        if watch.look():
            for process in kept:
                process.keep_running()


def _addresses(addresses: StackAddresses, gateway_url: str) -> str:
    lines = [
        f"waybill is up in {addresses.home}",
        f"  gateway       {gateway_url}",
        f"  its page      {gateway_url}/ , sign in with the API key in {addresses.home / KEY_FILE_NAME}",
        f"  Prefect API   {addresses.prefect_api_url}",
    ]
    if addresses.prefect_ui_url is not None:
        lines.append(f"  Prefect UI    {addresses.prefect_ui_url}")
    if addresses.prefect_credential_file is not None:
        lines.append(f"  its login     USER:PASSWORD, in {addresses.prefect_credential_file}: paste the whole line")
    return "\n".join([*lines, "  stop it with Ctrl-C"])


def _lock_file(home: Path) -> Path:
    """Return the file that the `up` of *home* locks, and in which it writes its process id."""
    return home / "up.lock"


def _already_running(home: Path, *, port: int, ui_port: int) -> str:
    server = recorded_server(home)
    where = server.ui_url if server is not None else prefect_api_url()
    process = _lock_file(home).read_text().strip()
    if where is None:
        return f"waybill up is already starting in {home} (process {process})"
    gateway = noted_gateway(home)
    lines = [f"waybill is already up in {home} (process {process})"]
    if gateway is not None:
        lines.append(f"  gateway       {gateway}")
    lines.append(f"  Prefect       {where}")
    # Those that were not typed are taken for their defaults.
    wanted = {"--port": (port, GATEWAY_PORT, gateway), "--ui-port": (ui_port, UI_PORT, where)}
    ignored = [
        f"{option} {given}"
        for option, (given, default, url) in wanted.items()
        if given != default and url is not None and urlsplit(url).port != given
    ]
    if ignored:
        lines.append(f"  not used      {', '.join(ignored)}: to change that, stop process {process} and start again")
    return "\n".join(lines)
