"""`waybill worker start`: Prefect's worker behind the forwarder, heartbeats to the gateway, and new labels.

Owns being the only process of its folder, and following the labels that an administrator gives this worker: with other
labels Prefect's worker is started anew, once what it works on has ended.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from blocks.errors import InvalidSettings, Transient, WaybillError
from blocks.hand_over.session import WorkerSession
from blocks.hand_over.worker_home import WorkerHome
from blocks.runtime.background_tasks import first_done, running
from blocks.runtime.file_lock import open_lock_file, try_lock
from blocks.runtime.write_errors import write_errors
from blocks.settings import inherited_environment, settings_file_for_children
from tasks.remote.scratch import remove_dead
from waybill import __version__
from waybill.worker.prefect_forwarder import PrefectForwarder
from waybill.worker.prefect_worker import WorkerOptions, ending_on_signals, keep_prefect_worker

# `waybill worker list` shows when a worker was last seen, to this accuracy.
HEARTBEAT_SECONDS = 15.0
# The settings that say how stages run. No others of this machine are for flow runs.
_STAGE_SETTINGS = ("WORKERS", "STAGE_TIMEOUT_SECONDS", "STAGE_SILENCE_SECONDS", "STAGE_MEMORY_MIB", "EXTRA_STAGES")

Say = Callable[[str], None]


async def keep_worker(home: WorkerHome, *, most_runs: int, say: Say) -> None:
    """Take jobs until a signal; wait for a gateway that is away.

    Raises `InvalidSettings` for a machine that is not enrolled or works already, and what the gateway refuses, such as
    `WorkerRefused` for a worker that was revoked.
    """
    config = home.config()
    with _only_one(home.path), ending_on_signals() as ending:
        await asyncio.to_thread(remove_dead, home.path)
        async with httpx.AsyncClient(base_url=config.gateway_url, follow_redirects=False) as client:
            session = WorkerSession(home, client)
            heartbeats = _Heartbeats(session, ending, say)
            async with running(heartbeats.send()):
                while not ending.is_set():
                    labels, changed = heartbeats.labels_now()
                    if not labels:
                        await first_done(ending.wait(), changed.wait())
                        continue
                    say(f"worker {config.name} takes jobs from {config.gateway_url}: {', '.join(labels)}")
                    async with PrefectForwarder.running(client, session.token, heartbeats.hurry) as forwarder:
                        options = WorkerOptions(
                            name=config.name,
                            labels=labels,
                            home=home.path,
                            most_runs=most_runs,
                            environment=_environment(home.path),
                        )
                        await keep_prefect_worker(options, forwarder, ending, finishing=changed)
            if heartbeats.refused is not None:
                raise heartbeats.refused
    say("stopped")


class _Heartbeats:
    """Reports that this worker lives, and learns its labels. A gateway that refuses the worker sets *ending*."""

    def __init__(self, session: WorkerSession, ending: asyncio.Event, say: Say) -> None:
        self.refused: WaybillError | None = None
        self._session = session
        self._ending = ending
        self._say = say
        self._labels: tuple[str, ...] = ()
        self._changed = asyncio.Event()
        self._hurry = asyncio.Event()
        self._said: str | None = None

    def hurry(self) -> None:
        """Send the next one now: the gateway has refused something."""
        self._hurry.set()

    def labels_now(self) -> tuple[tuple[str, ...], asyncio.Event]:
        """Return the labels, and an event that is set once there are others."""
        self._changed = asyncio.Event()
        return self._labels, self._changed

    async def send(self) -> None:
        """Send one after the other, until the gateway refuses this worker."""
        while True:
            try:
                found = await self._session.heartbeat(version=__version__)
            except Transient as error:
                self._say_once(f"waiting for the gateway: {error.message}")
            except WaybillError as error:
                self.refused = error
                self._ending.set()
                return
            else:
                self._said = None
                if not found.labels:
                    self._say_once("this worker has no label; 'waybill worker label' on the server gives it some")
                if found.labels != self._labels:
                    self._labels = found.labels
                    self._changed.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), HEARTBEAT_SECONDS)
            self._hurry.clear()

    def _say_once(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._say(text)


@contextmanager
def _only_one(home: Path) -> Generator[None]:
    path = home / "start.lock"
    with write_errors(path):
        descriptor = open_lock_file(path)
    try:
        if not try_lock(descriptor):
            raise InvalidSettings(
                f"a worker of {home} is running already; for another one name another folder with --home"
            )
        yield
    finally:
        os.close(descriptor)


def _environment(home: Path) -> dict[str, str]:
    """Return the variables of Waybill for the flow runs."""
    given = inherited_environment()
    names = [f"WAYBILL_{name}" for name in _STAGE_SETTINGS]
    return {
        **{name: given[name] for name in names if name in given},
        **settings_file_for_children(),
        "WAYBILL_HOME": str(home),
        "WAYBILL_WORKER_HOME": str(home),
    }
