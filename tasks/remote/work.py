"""What a remote worker does with an assignment: fetch the inputs, run the stage, send the output, report.

The stage runs in the same limited processes as at home, without database and language model. Decrypted content lies
only below a scratch folder of the worker's home, which is removed in every case. Start at `work`.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

import httpx

from blocks.age import parse_recipient
from blocks.errors import (
    AssignmentLost,
    AuthenticationFailed,
    ContentMismatch,
    EmbeddingModelUnavailable,
    GatewayUnavailable,
    InvalidOptions,
    InvalidSettings,
    MalformedAgeFile,
    NoMatchingIdentity,
    RemoteFailed,
    StorageFull,
    TargetUnwritable,
    TransferConflict,
    TransferNotFound,
    TransferRefused,
    WaybillError,
)
from blocks.hand_over import Declared, download, upload
from blocks.hand_over.session import WorkerSession
from blocks.hand_over.worker_home import WorkerHome
from blocks.runtime.background_tasks import end_tasks
from blocks.runtime.concurrency import bounded_each
from blocks.runtime.threads import to_its_end
from blocks.runtime.write_errors import write_errors
from blocks.settings import Settings
from tasks.contract import Services
from tasks.job import Job, JobResult
from tasks.pool import WorkerPool
from tasks.registry import stage_named
from tasks.remote.desk import AssignmentOffer, Desk, InputOffer, JobOffer
from tasks.remote.report import failure_of, read_document, result_of
from tasks.remote.scratch import scratch_folder

_COPY_BYTES = 1024 * 1024
# What is wrong with this machine, and not with the document: another one may do it.
_OF_THIS_MACHINE = (StorageFull, TargetUnwritable, EmbeddingModelUnavailable, InvalidSettings)
# What arrived is not what was promised.
_OF_THE_TRANSFER = (ContentMismatch, AuthenticationFailed, NoMatchingIdentity, MalformedAgeFile)
# The assignment cannot go on here.
_OF_THE_ASSIGNMENT = (AssignmentLost, TransferConflict, TransferNotFound, TransferRefused, GatewayUnavailable)


@dataclass
class WorkProgress:
    """How far an assignment is: documents, and bytes fetched and sent, of those that are known."""

    documents: int = 0
    done: int = 0
    bytes_moved: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def total_bytes_moved(self) -> int:
        return sum(self.bytes_moved.values())


async def work(
    home: WorkerHome,
    settings: Settings,
    assignment_id: str,
    *,
    token: str,
    remote_run_id: UUID | None,
    progress: WorkProgress,
    say: Callable[[str], None],
) -> int:
    """Claim an assignment, run its jobs, and return how many were reported; *say* logs a line.

    What is wrong with a document is reported as its error. Raises `AssignmentLost` when another worker has the
    assignment or it is over, and what keeps this worker from it: `WorkerRefused`, `LinkExpired`, `GatewayUnavailable`
    and others; then it is given back, if it was claimed.
    """
    async with httpx.AsyncClient(follow_redirects=False) as client, scratch_folder(home.path) as scratch:
        session = WorkerSession(home, client)
        desk = Desk(session, assignment_id)
        offer = await desk.claim(token, remote_run_id)
        progress.documents = len(offer.jobs)
        name = session.config.name
        try:
            if problem := _unfit(offer):
                for job in offer.jobs:
                    await desk.report(job.ordinal, error=failure_of(RemoteFailed(f"worker {name} {problem}")))
                return len(offer.jobs)
            if offer.time_limit_seconds is not None:
                settings = replace(settings, stage_timeout_seconds=offer.time_limit_seconds)
            async with WorkerPool.open(settings, Services(home=home.path)) as pool:
                machine = _Machine(
                    client=client, session=session, desk=desk, pool=pool, scratch=scratch, progress=progress, say=say
                )
                await _while_leased(desk, offer, machine, at_once=settings.workers)
        except AssignmentLost:
            raise
        except BaseException as error:
            why = error.message if isinstance(error, WaybillError) else "it is stopping"
            await to_its_end(desk.give_back(why))
            raise
        return len(offer.jobs)


def _unfit(offer: AssignmentOffer) -> str | None:
    """Return why this worker does not run the stage, if so: another version would make another output."""
    try:
        stage = stage_named(offer.stage)
    except InvalidOptions:
        return f"does not have the stage {offer.stage}; install it, or leave the label away from this worker"
    if stage.version != offer.stage_version:
        return (
            f"has version {stage.version} of {offer.stage}, and the run needs {offer.stage_version}; install the same "
            "version of Waybill"
        )
    return None


async def _while_leased(desk: Desk, offer: AssignmentOffer, machine: _Machine, *, at_once: int) -> None:
    """Run the jobs while the lease is renewed. A lost assignment stops them at once, and is raised."""
    loop = asyncio.get_running_loop()
    lease = loop.create_task(desk.keep(offer.lease_seconds))
    jobs = loop.create_task(bounded_each(at_once, offer.jobs, lambda job: machine.do(offer.stage, job)))
    try:
        done, _ = await asyncio.wait({lease, jobs}, return_when=asyncio.FIRST_COMPLETED)
        (jobs if jobs in done else lease).result()
    finally:
        await end_tasks([lease, jobs])


@dataclass(frozen=True, kw_only=True)
class _Machine:
    """This worker at its work on one assignment."""

    client: httpx.AsyncClient
    session: WorkerSession
    desk: Desk
    pool: WorkerPool
    scratch: Path
    progress: WorkProgress
    say: Callable[[str], None]

    async def do(self, stage_name: str, offer: JobOffer) -> None:
        """Do one job and report it. Raises what ends the assignment."""
        folder = self.scratch / str(offer.ordinal)
        try:
            with write_errors(folder):
                folder.mkdir(mode=0o700)
            result = await self._made(stage_name, offer, folder)
        except _OF_THE_ASSIGNMENT:
            raise
        except (*_OF_THIS_MACHINE, *_OF_THE_TRANSFER) as error:
            await self._fail(offer, RemoteFailed(f"worker {self.session.config.name}: {error.message}"))
        except WaybillError as error:
            await self._fail(offer, error)
        else:
            await self.desk.report(offer.ordinal, result=result)
            self.say(f"job {offer.ordinal} is done")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.progress.done += 1

    async def _fail(self, offer: JobOffer, error: WaybillError) -> None:
        await self.desk.report(offer.ordinal, error=failure_of(error))
        self.say(f"job {offer.ordinal} has failed with {type(error).__name__}")

    async def _made(self, stage_name: str, offer: JobOffer, folder: Path) -> dict[str, object]:
        """Fetch the inputs, run the stage and send the output; return the result to report."""
        files: dict[str, Path] = {}
        for number, one in enumerate(offer.inputs):
            files[one.name] = await self._fetched(one, folder / f"input-{number}")
        job = Job(
            stage_name=stage_name,
            stage_key=offer.stage_key,
            document=read_document(offer.document),
            files=files,
            options=offer.options,
            target=folder / "output",
        )
        result = await self.pool.run(job)
        for path in files.values():
            path.unlink(missing_ok=True)
        return await self._sent(offer, job.target, result)

    async def _fetched(self, offer: InputOffer, target: Path) -> Path:
        await download(
            self.client,
            self.desk.url(offer),
            offer.token,
            target,
            identities=[self.session.identity],
            expected_sha256=offer.content_sha256,
            expected_size=offer.content_size,
            on_progress=self._moved(offer.transfer_id),
            renew_token=lambda: self.desk.new_token(offer),
        )
        return target

    async def _sent(self, offer: JobOffer, output: Path, result: JobResult) -> dict[str, object]:
        sha256, size = await asyncio.to_thread(_hashed, output)
        reported = result_of(result, sha256=sha256, size=size)
        recipient = offer.upload.recipient
        await upload(
            self.desk.url(offer.upload),
            offer.upload.token,
            output,
            recipients=[parse_recipient(recipient)] if recipient else None,
            declared=Declared(content_size=size, content_sha256=sha256),
            on_progress=self._moved(offer.upload.transfer_id),
            renew_token=lambda: self.desk.new_token(offer.upload),
        )
        return reported

    def _moved(self, transfer_id: str) -> Callable[[int, int], None]:
        def moved(done: int, _all: int) -> None:
            self.progress.bytes_moved[transfer_id] = done

        return moved


def _hashed(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while piece := stream.read(_COPY_BYTES):
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size
