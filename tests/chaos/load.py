"""The clients: programs that upload and wait, a person with the command line, a reader. They keep a ledger.

Each is a closed loop in a thread and as patient as a good client: what fails for the moment is sent again with the same
`Idempotency-Key`. What the product has accepted, it owes an outcome for; the ledger holds that debt.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.chaos.world import World
from tests.corpus.generated import write_documents

# While a world is disturbed; what is still not there after this long is a finding.
OUTCOME_SECONDS = 600.0
_TERMINAL = {"completed", "failed", "cancelled", "crashed"}
# One run in eight goes through all stages; the others spare the processor for what is to be disturbed.
_STAGES = ("1-2",) * 7 + ("1-5",)
_COMMAND_DOCUMENTS = 4
# For a command that a disturbance has ended: the same again, as a person would.
_COMMAND_ATTEMPTS = 20
_PAUSE_SECONDS = 0.5


@dataclass
class Ingest:
    """A document that was sent over HTTP."""

    name: str
    sha256: str
    stages: int
    run_id: str = ""
    # Empty until it has ended.
    status: str = ""
    # Whether a disturbance has cancelled the run.
    cancelled: bool = False


@dataclass
class Ledger:
    """What was asked for, what was accepted, and what clients saw."""

    ingests: list[Ingest] = field(default_factory=list[Ingest])
    # Sources that a command has reported as completed.
    commanded: list[str] = field(default_factory=list[str])
    answers: Counter[str] = field(default_factory=Counter[str])
    reads: int = 0
    # What must never happen, in words.
    findings: list[str] = field(default_factory=list[str])


class Load:
    """Clients of one world that run until `finish`."""

    def __init__(self, world: World, checkout: Path, chance: random.Random, *, uploaders: int = 2) -> None:
        self.ledger = Ledger()
        self.commands: list[subprocess.Popen[str]] = []
        self._world = world
        self._checkout = checkout
        self._seed = chance.randrange(2**32)
        self._ending = threading.Event()
        self._abandoned = threading.Event()
        self._threads = [
            *(threading.Thread(target=self._guarded, args=(self._upload, number)) for number in range(uploaders)),
            threading.Thread(target=self._guarded, args=(self._command, uploaders)),
            threading.Thread(target=self._guarded, args=(self._read, uploaders + 1)),
        ]
        for thread in self._threads:
            thread.start()

    def finish(self) -> Ledger:
        """Have each client finish what it is at, and wait for it."""
        self._ending.set()
        for thread in self._threads:
            thread.join()
        return self.ledger

    def abandon(self) -> None:
        """Have the clients give up at once."""
        self._abandoned.set()
        self._ending.set()

    def _guarded(self, loop: Callable[[int, random.Random], None], number: int) -> None:
        try:
            loop(number, random.Random(f"{self._seed}/{number}"))
        except Exception as error:  # noqa: BLE001 - reported with the other findings
            self.ledger.findings.append(f"{loop.__name__.strip('_')} gave up: {type(error).__name__}: {error}")

    # Programs ---------------------------------------------------------------------------------------------------------

    def _upload(self, number: int, chance: random.Random) -> None:
        sent = 0
        while not self._ending.is_set():
            sent += 1
            name = f"upload-{number}-{sent}.md"
            content = f"# Report {number}/{sent}\n\n{_words(chance, 200)}\n\n## Findings\n\n{_words(chance, 200)}\n"
            stages = chance.choice(_STAGES)
            one = Ingest(name, hashlib.sha256(content.encode()).hexdigest(), int(stages[-1]))
            hook = self._world.receiver.url(f"/{self._world.folder.name}")
            fields = {"stages": stages, "webhook_url": hook}
            headers = {"Idempotency-Key": f"{self._world.folder.name}-{name}"}
            answer = self._patiently(
                "POST",
                "/ingest/file",
                files={"file": (name, content.encode(), "text/markdown")},
                data=fields,
                headers=headers,
            )
            one.run_id = answer["task_id"]
            self.ledger.ingests.append(one)
            one.status = self._end_of(one)

    def _end_of(self, one: Ingest) -> str:
        deadline = time.monotonic() + OUTCOME_SECONDS
        while (status := self._patiently("GET", f"/status/{one.run_id}")["status"]) not in _TERMINAL:
            if time.monotonic() > deadline:
                self.ledger.findings.append(f"run {one.run_id} of {one.name} is {status} for {OUTCOME_SECONDS} s")
                break
            time.sleep(_PAUSE_SECONDS)
        return status

    def _patiently(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """The answer, however often it has to be asked for."""
        deadline = time.monotonic() + OUTCOME_SECONDS
        while True:
            try:
                headers = {"Authorization": f"Bearer {self._world.key}", **request.get("headers", {})}
                answer = httpx.request(
                    method, f"{self._world.url}/api/v1{path}", **{**request, "headers": headers, "timeout": 30.0}
                )
            except (httpx.HTTPError, OSError) as error:
                self.ledger.answers[type(error).__name__] += 1
            else:
                self.ledger.answers[str(answer.status_code)] += 1
                if answer.is_success:
                    return answer.json()
                # 409: an earlier attempt with the same key is still under way.
                if answer.status_code < 500 and answer.status_code not in (409, 429):
                    raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
            assert not self._abandoned.is_set(), "abandoned"
            assert time.monotonic() < deadline, f"{method} {path} does not succeed for {OUTCOME_SECONDS} s"
            time.sleep(_PAUSE_SECONDS)

    # A person ---------------------------------------------------------------------------------------------------------

    def _command(self, number: int, _: random.Random) -> None:
        batch = 0
        while not self._ending.is_set():
            batch += 1
            folder = self._world.folder / f"sources-{batch}"
            paths = write_documents(folder, _COMMAND_DOCUMENTS, seed=self._seed + number + batch)
            words = ("process", str(folder), "--json", "--stages", "1-2")
            for attempt in range(1, _COMMAND_ATTEMPTS + 1):
                command = self._world.spawn(*words, checkout=self._checkout)
                self.commands = [command]
                output, errors = command.communicate()
                if self._abandoned.is_set():
                    return
                if command.returncode == 0:
                    self.ledger.commanded += [str(path) for path in paths]
                    break
                self.ledger.answers[f"command exit {command.returncode}"] += 1
                if "Traceback" in errors:
                    self.ledger.findings.append(f"traceback of waybill process: {errors[-6000:]}")
                if attempt == _COMMAND_ATTEMPTS:
                    self.ledger.findings.append(f"{words} failed {attempt} times: {errors[-500:]} {output[-500:]}")
                time.sleep(_PAUSE_SECONDS)
            self._ending.wait(3)

    # A reader ---------------------------------------------------------------------------------------------------------

    def _read(self, _: int, chance: random.Random) -> None:
        while not self._ending.wait(1):
            done = [one for one in self.ledger.ingests if one.status == "completed"]
            if not done:
                continue
            one = chance.choice(done[-20:])
            found = self._patiently("GET", f"/files/list/by-source?source_file={one.name}")["files"]
            if not found:
                self.ledger.findings.append(f"{one.name} is completed and has no files")
                continue
            file = chance.choice(found)
            with suppress(httpx.HTTPError, OSError):
                headers = {"Authorization": f"Bearer {self._world.key}"}
                url = f"{self._world.url}/api/v1/files/download/{file['file_id']}"
                answer = httpx.get(url, headers=headers, timeout=30)
                if answer.status_code == 200:
                    self.ledger.reads += 1
                    if hashlib.sha256(answer.content).hexdigest() != file["sha256"]:
                        self.ledger.findings.append(f"{file['filename']} of {one.name} was read with other content")
                elif answer.status_code < 500:
                    self.ledger.findings.append(f"download of {file['file_id']}: {answer.status_code} {answer.text}")


def _words(chance: random.Random, count: int) -> str:
    known = ("bridge", "valve", "report", "meter", "river", "winter", "motor", "cable", "north", "repair", "of", "the")
    return " ".join(
        " ".join(chance.choices(known, k=12)).capitalize() + f" {chance.randrange(10**6)}." for _ in range(count // 12)
    )
