"""What a running `waybill up` serves flows with, so that a command can leave its run to it.

`up` records fingerprints of its settings and of its process's surroundings; a command compares them with its own. A run
that `up` would do with other settings, or that may need what only the command's shell has, is not left to it. The
record holds hashes only, because settings hold passwords.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from blocks.runtime.atomic_file import atomic_file
from blocks.settings import Secret, Settings, inherited_environment, setting_names
from waybill.stack.processes import ProcessId, is_running, this_process

_NAME = "up.json"
# Settings that no run reads.
_OF_OTHER_COMMANDS = frozenset({"answer_seconds", "passphrase", "webhook_secret", "worker_home"})
# Variables that decide which code a stage runs and which models it finds.
_OF_STAGES = ("PYTHONPATH", "TESSDATA_PREFIX")
# What differs between two shells of one person and is no credential, address or program of a source. Everything else
# counts: which variables a driver of fsspec reads is known to that driver alone.
_OF_A_SHELL = (
    "_", "COLORTERM", "COLUMNS", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "EDITOR", "HISTFILE", "HISTSIZE", "HOSTNAME",
    "INVOCATION_ID", "JOURNAL_STREAM", "LINES", "LOGNAME", "LS_COLORS", "MAIL", "OLDPWD", "PAGER", "PROMPT_COMMAND",
    "PS1", "PS2", "PWD", "SHELL", "SHLVL", "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "STY", "SYSTEMD_EXEC_PID", "TERM",
    "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "TMUX", "TMUX_PANE", "USER", "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "VISUAL",
    "VTE_VERSION", "WINDOWID",
)  # fmt: skip
# As a process of this kind sees files and networks; a container or a sandbox has its own.
_NAMESPACES = ("mnt", "net", "user")


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A running `up`: its process, and what decides how it does a run, as fingerprints."""

    process: ProcessId
    settings: Mapping[str, str]
    # The rights of the account, and the file systems and networks that it sees.
    rights: str
    # The environment that stages read, and the one that drivers of sources read.
    stage_environment: str
    source_environment: str

    @property
    def is_running(self) -> bool:
        """Whether exactly this `up` still runs."""
        return is_running(self.process)

    def difference(self, settings: Settings, *, remote_sources: bool) -> str | None:
        """Return why a run of this process cannot be left to it, None when it can.

        *remote_sources*: the run has sources that drivers read, which find credentials in the environment.
        """
        mine = serving_with(settings)
        names = [name for name, value in mine.settings.items() if self.settings.get(name) != value]
        if names:
            return f"its settings differ: {', '.join(names)}"
        if self.rights != mine.rights:
            return "it has other rights, or sees other file systems"
        if self.stage_environment != mine.stage_environment:
            return f"its {' or '.join(_OF_STAGES)} differs"
        if remote_sources and self.source_environment != mine.source_environment:
            return "its environment differs, in which drivers of sources find credentials"
        return None


@contextmanager
def recorded(home: Path, up: Serving) -> Generator[None]:
    """Record for the length of the block that *up* serves the flows of *home*."""
    path = home / _NAME
    with atomic_file(path) as stream:
        stream.write(json.dumps(asdict(up)).encode())
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def running_up(home: Path) -> Serving | None:
    """Return the `up` of *home* that serves flows now, if there is one."""
    try:
        found = json.loads((home / _NAME).read_bytes())
        up = Serving(
            process=ProcessId(pid=int(found["process"]["pid"]), started=str(found["process"]["started"])),
            settings=dict(found["settings"]),
            **{name: str(found[name]) for name in ("rights", "stage_environment", "source_environment")},
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return up if up.is_running else None


def serving_with(settings: Settings) -> Serving:
    """Return how this process would serve flows. Call it before the stack changes the environment."""
    given = inherited_environment()
    of_sources = {name: value for name, value in given.items() if not _is_read_elsewhere(name)}
    return Serving(
        process=this_process(),
        settings={
            name: _fingerprint(_plain(getattr(settings, name)))
            for name in setting_names()
            if name not in _OF_OTHER_COMMANDS
        },
        rights=_fingerprint([os.geteuid(), os.getegid(), sorted(os.getgroups()), *map(_namespace, _NAMESPACES)]),
        stage_environment=_fingerprint([given.get(name) for name in _OF_STAGES]),
        source_environment=_fingerprint({name: of_sources[name] for name in sorted(of_sources)}),
    )


def _is_read_elsewhere(name: str) -> bool:
    return name in _OF_A_SHELL or name.startswith(("WAYBILL_", "PREFECT_"))


def _plain(value: object) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        named = cast("Mapping[str, object]", value)
        return {str(name): _plain(named[name]) for name in sorted(named)}
    return repr(value)


def _fingerprint(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _namespace(kind: str) -> str:
    try:
        return str((Path("/proc/self/ns") / kind).readlink())
    except OSError:
        return ""
