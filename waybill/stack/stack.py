"""The local stack of a home: its servers, and when they start and stop.

Owns the order of starting (Prefect is imported while Postgres starts), the decision between starting a server, sharing
one and taking over one that a killed command left, and that the last user stops the servers.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from blocks.errors import StackUnavailable
from blocks.settings import Settings, absolute_paths, prefect_api_url
from waybill.process.signals import holding_signals, unwinding_on_signals
from waybill.stack.environment import client_environment, exported, prefect_database_url
from waybill.stack.home import bound_logs, prepare_home
from waybill.stack.postgres import EmbeddedPostgres
from waybill.stack.prefect_credential import FILE_NAME, fingerprint_of, is_given, prefect_credential
from waybill.stack.prefect_server import (
    PrefectServer,
    StartingServer,
    fingerprint,
    installed_version,
    launch,
    recorded_server,
    stop_server,
)
from waybill.stack.processes import is_running
from waybill.stack.project_files import ignore_project_files
from waybill.stack.stack_lock import StackLock
from waybill.stack.watch import watched

# A server that a killed command has left answers immediately, or is not worth waiting for.
_ORPHAN_SECONDS = 5.0
# One that others keep busy on a loaded machine may take its time.
_BUSY_SECONDS = 60.0
# The records of a thousand task runs take some seconds; a server that no longer answers must not delay the end.
_SEND_SECONDS = 15.0

OnStep = Callable[[str], None]


@dataclass(frozen=True)
class StackAddresses:
    """The addresses of the servers; *started* names those that this process started ("postgres", "prefect")."""

    database_url: str
    prefect_api_url: str | None
    prefect_ui_url: str | None
    home: Path
    started: tuple[str, ...]
    # The file of the credential that our own Prefect server asks for; None where it is another's server, or no file.
    prefect_credential_file: Path | None = None


@contextmanager
def running_stack(
    settings: Settings,
    *,
    prefect: bool = True,
    ui_port: int | None = None,
    on_step: OnStep | None = None,
    on_repair: OnStep | None = None,
    reads_only: bool = False,
) -> Generator[StackAddresses]:
    """Provide Postgres, migrated, and with *prefect* a Prefect server, for the length of the block.

    Sets `WAYBILL_*` and `PREFECT_*` in the environment, which Prefect reads when it is first imported: import it
    inside the block. *ui_port* is the port of the Prefect server; without it a free one is taken. *on_step* is called
    with each step. With *on_repair*, which a thread calls with each step of it, what dies during the block is started
    again. SIGTERM and SIGHUP unwind the block. *reads_only*: migrate nothing, leave the home's rights as they are, and
    use a Prefect server only where one answers. Raises `StackUnavailable`, and `InvalidSettings` for a database that
    cannot be used.
    """
    with (
        open_stack(settings, prefect=prefect, ui_port=ui_port, on_step=on_step, reads_only=reads_only) as stack,
        watched(stack, on_repair) if on_repair is not None else nullcontext(),
    ):
        yield stack.addresses


@contextmanager
def open_stack(
    settings: Settings,
    *,
    prefect: bool = True,
    ui_port: int | None = None,
    on_step: OnStep | None = None,
    reads_only: bool = False,
) -> Generator[Stack]:
    """The same as `running_stack`, for a caller that keeps the servers running (`Stack.repair`)."""
    if not reads_only:
        prepare_home(settings.home)
    owner = os.getpid()
    with unwinding_on_signals(), contextlib.closing(StackLock(settings.home)) as lock:
        stack = Stack(
            settings,
            lock,
            prefect=prefect,
            ui_port=ui_port,
            on_step=on_step or (lambda _: None),
            reads_only=reads_only,
        )
        stack.join()
        try:
            with exported(stack.environment()):
                if stack.working_directory is not None:
                    ignore_project_files(stack.working_directory)
                try:
                    yield stack
                finally:
                    if os.getpid() == owner:
                        with holding_signals():
                            send_pending_records()
        finally:
            # A forked worker that unwinds this far has nothing to do with the servers.
            if os.getpid() == owner:
                with holding_signals():
                    stack.leave()


def send_pending_records() -> None:
    """Wait until log lines and events of this process have reached the Prefect server, at most 15 s.

    Prefect sends them from background threads, which it drains when the interpreter exits: too late for a server that
    stops with the command. Does nothing where Prefect was never imported.
    """
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (EventsWorker, APILogWorker):
        # Called outside of an event loop it waits; inside of one it would return a coroutine, hence the thread.
        with concurrent.futures.ThreadPoolExecutor(max_workers=1) as thread:
            thread.submit(worker.drain_all, timeout=_SEND_SECONDS).result()


class Stack:
    """One command's view of the servers of a home."""

    def __init__(
        self,
        settings: Settings,
        lock: StackLock,
        *,
        prefect: bool,
        ui_port: int | None,
        on_step: OnStep,
        reads_only: bool = False,
    ) -> None:
        self._home = settings.home
        self._answer_seconds = settings.answer_seconds
        self._history = settings.retention.period("history")
        self._paths = absolute_paths(settings)
        self._given_database = settings.database_url.reveal() if settings.database_url else None
        self._given_api = prefect_api_url() if prefect else None
        self._own_server = prefect and self._given_api is None
        self._reads_only = reads_only
        self._server: PrefectServer | None = None
        if reads_only:
            self._find_prefect()
        self._credential = prefect_credential(settings.home) if self._own_server else None
        self._credential_file = settings.home / FILE_NAME if self._own_server and not is_given() else None
        self._ui_port = ui_port
        self._lock = lock
        self._on_step = on_step
        self._postgres = EmbeddedPostgres(settings.home)
        self._database_url = self._given_database or self._postgres.url("waybill")
        self._started: list[str] = []

    @property
    def addresses(self) -> StackAddresses:
        """The addresses of the servers now."""
        if self._server is not None:
            api, ui = self._server.api_url, self._server.ui_url
        else:
            api, ui = self._given_api, _ui_url(self._given_api)
        return StackAddresses(
            database_url=self._database_url,
            prefect_api_url=api,
            prefect_ui_url=ui,
            home=self._home,
            started=tuple(self._started),
            prefect_credential_file=self._credential_file,
        )

    def environment(self) -> dict[str, str | None]:
        """What this process and its children need to find the servers and the home's files."""
        return self._paths | client_environment(
            database_url=self._database_url,
            home=self._home,
            api_url=self.addresses.prefect_api_url,
            own_credential=self._credential,
        )

    @property
    def working_directory(self) -> Path | None:
        """The folder in which children that use Prefect work: one without settings files of Prefect.

        None, this process's own, for a server that the user has named: the user's files say how to reach it.
        """
        return self._home / "prefect" if self._own_server else None

    def join(self) -> None:
        """Become a user of the stack, starting what does not run. A failure leaves other users' servers alone."""
        with self._lock.changing(self._on_step):
            self._lock.join()
            try:
                if self._given_database is not None:
                    from waybill.stack.databases import check_database_answers

                    check_database_answers(self._given_database, within_seconds=self._answer_seconds)
                self._ensure()
            except BaseException:
                with holding_signals():
                    self._stop_if_alone()
                raise

    def is_intact(self) -> bool:
        """Return whether the servers still run. A server that is only slow counts as running."""
        postgres_runs = self._given_database is not None or self._postgres.is_running()
        return postgres_runs and (self._server is None or is_running(self._server.process))

    def repair(self) -> None:
        """Restart what has died, on the same port. Raises `StackUnavailable`."""
        with self._lock.changing(self._on_step):
            # A Prefect server that still runs connects to its database again; without it, it would be replaced.
            self._ensure_databases()
            self._ensure()

    def bound_logs(self) -> None:
        """Keep the logs of the home's servers from growing for ever."""
        bound_logs(self._home)

    def leave(self) -> None:
        """Stop being a user; the last one stops the servers."""
        with self._lock.changing(self._on_step):
            self._stop_if_alone()

    def _ensure(self) -> None:
        if self._reads_only:
            self._ensure_databases()
            return
        if self._given_api is not None:
            from waybill.stack.external import check_prefect_api

            check_prefect_api(self._given_api, within_seconds=self._answer_seconds)
        starting = self._find_or_launch_server(self._credential) if self._credential is not None else None
        try:
            self._ensure_databases()
            if starting is not None:
                starting.release()
            self._migrate()
            if starting is not None:
                self._on_step("starting Prefect")
                self._server = starting.wait()
                self._note_started("prefect")
        except BaseException:
            if starting is not None:
                starting.abandon()
            raise

    def _find_prefect(self) -> None:
        """Use the Prefect server that answers, if any; start none."""
        found = recorded_server(self._home) if self._own_server else None
        if found is not None and is_running(found.process) and found.is_ready(within_seconds=_ORPHAN_SECONDS):
            self._server = found
        self._own_server = self._server is not None
        if self._given_api is not None:
            from waybill.stack.external import check_prefect_api

            try:
                check_prefect_api(self._given_api, within_seconds=self._answer_seconds)
            except StackUnavailable:
                self._given_api = None

    def _find_or_launch_server(self, credential: str) -> StartingServer | None:
        """Take the running server over, or begin to start one, which then waits for its database."""
        database = self._prefect_database()
        found = recorded_server(self._home)
        if found is not None and self._is_postgres_up() and self._may_keep(found, database, credential):
            self._server = found
            return None
        stop_server(self._home)
        # The port of a server that died is what other commands of this home still hold as its address.
        before = found or self._server
        port = self._ui_port or (before.port if before is not None else None)
        return launch(
            self._home,
            prefect_database_url=database,
            credential=credential,
            port=port,
            fallback=self._ui_port is None,
            history=self._history,
        )

    def _may_keep(self, found: PrefectServer, database: str, credential: str) -> bool:
        """Return whether to use the recorded server. One that others use is never replaced while it runs."""
        fits = found.database == fingerprint(database)
        if self._lock.is_alone():
            # Left by a command from before an upgrade of Prefect: replaced, so that its database is migrated.
            fits = fits and found.version == installed_version() and found.credential == fingerprint_of(credential)
            return fits and self._ui_port in (None, found.port) and found.is_ready(within_seconds=_ORPHAN_SECONDS)
        if not found.is_ready(within_seconds=_BUSY_SECONDS):
            if is_running(found.process):
                raise StackUnavailable(
                    f"the Prefect server that other waybill commands use (process {found.process.pid}) gave no answer "
                    f"in {_BUSY_SECONDS:.0f} s; try again when they are done"
                )
            return False
        if not fits:
            raise StackUnavailable(
                f"another waybill command is using {self._home} with another database; wait for its end, or give this "
                "one its own WAYBILL_HOME"
            )
        if not found.credential:
            self._on_step(
                "the Prefect server that runs here asks for no credential, so any account of this machine can use it; "
                "stop 'waybill up' and start it again"
            )
        elif found.credential != fingerprint_of(credential):
            raise StackUnavailable(
                f"the Prefect server of {self._home} was started with another credential; stop 'waybill up' and start "
                "it again, or set PREFECT_SERVER_API_AUTH_STRING and PREFECT_API_AUTH_STRING as they were set for it"
            )
        if self._ui_port not in (None, found.port):
            self._on_step(f"another waybill command has started Prefect already, on port {found.port}")
        return True

    def _prefect_database(self) -> str:
        """SQLAlchemy's URL of the Prefect server's database; one next to a given catalogue is created."""
        named = prefect_database_url()
        if named is not None:
            return named
        # Imports the database's driver, which a command that leaves its run to `up` needs nowhere else.
        from waybill.stack.databases import create_prefect_database, sqlalchemy_url

        if self._given_database is not None:
            return sqlalchemy_url(create_prefect_database(self._given_database))
        return sqlalchemy_url(self._postgres.url("prefect"))

    def _is_postgres_up(self) -> bool:
        return self._given_database is not None or self._postgres.is_up()

    def _ensure_databases(self) -> None:
        if self._given_database is not None:
            return
        if self._postgres.ensure(self._on_step):
            self._note_started("postgres")
        for name in ("waybill", "prefect"):
            self._postgres.create_database(name)

    def _migrate(self) -> None:
        # Imports SQLAlchemy where there is something to do; commands that only want addresses need none of it.
        from blocks.catalog.migrate import migrate

        migrate(self._database_url)

    def _note_started(self, name: str) -> None:
        if name not in self._started:
            self._started.append(name)

    def _stop_if_alone(self) -> None:
        try:
            if self._lock.is_alone():
                # Prefect first: it writes what it still holds.
                try:
                    stop_server(self._home)
                finally:
                    self._postgres.stop()
        finally:
            self._lock.leave()


def _ui_url(api_url: str | None) -> str | None:
    """Return the UI's address of a self-hosted server: the API's without its last part. None when that does not fit."""
    trimmed = (api_url or "").rstrip("/")
    return trimmed.removesuffix("/api") if trimmed.endswith("/api") else None
