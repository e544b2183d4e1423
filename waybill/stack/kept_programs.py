"""The programs that `waybill up` keeps running next to the servers: deployed flows, webhook dispatcher, gateway."""

from __future__ import annotations

import socket
from pathlib import Path

from waybill.stack.kept_process import Program, running_code

FLOWS, DISPATCHER, GATEWAY = "serve", "dispatch", "gateway"
_CALLED = {FLOWS: "the flow server", DISPATCHER: "the dispatcher", GATEWAY: "the gateway"}


def kept_names() -> tuple[str, ...]:
    """Return the names that the programs' records and logs have."""
    return tuple(_CALLED)


def flows_program(project: Path) -> Program:
    """The flow server of *project*. Its flow runs are in its group, end with it, and go on when it is back."""
    return Program(
        name=FLOWS,
        called=_CALLED[FLOWS],
        module="waybill.stack.flow_server",
        arguments=("--project", str(project)),
        cwd=project,
        environment={"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING"},
    )


def dispatcher_program(cwd: Path | None) -> Program:
    """The dispatcher, and what compares its events with Prefect's history."""
    return Program(name=DISPATCHER, called=_CALLED[DISPATCHER], module="waybill.process.dispatcher_process", cwd=cwd)


def gateway_program(listener: socket.socket, cwd: Path | None) -> Program:
    """The gateway, answering on *listener*, which stays open here: while the process starts again, clients wait."""
    return Program(
        name=GATEWAY,
        called=_CALLED[GATEWAY],
        module="waybill.process.gateway_process",
        arguments=("--listen-fd", str(listener.fileno())),
        cwd=cwd,
        pass_fds=(listener.fileno(),),
    )


def with_other_code(home: Path, installed: str) -> dict[str, str]:
    """Return the running processes of *home* that were started with other code than *installed*, and that code."""
    running = {called: running_code(home, name) for name, called in _CALLED.items()}
    return {called: code for called, code in running.items() if code not in (None, installed)}
