"""kill -9 of whatever takes part in a run and in telling of it, at random moments, under a real `waybill up`.

Each round starts a run of some documents through Prefect's API, with a `webhook_url` of a real receiver that now and
then refuses, and kills one or two of: the flow's process, the flow server with what it runs, the Prefect server,
the dispatcher (with the reconciler in it); or cancels the run. In the end Prefect's history, the outbox and the
receiver must agree: every state that is told has exactly one event, every event has arrived, and what has arrived
twice is the same. Run as a program for the long form: ``python -m tests.fault.webhook_chaos --rounds 30``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg

from tests.corpus.generated import write_documents
from tests.stack_driver import (
    end_everything,
    eventually,
    left_running,
    plain_environment,
    prefect_login,
    private_directory,
    unused_port,
)
from tests.webhooks.answers import RESET, Answer
from tests.webhooks.receiver import Receiver, Request, running_receiver

VICTIMS = ("flow", "serve", "prefect", "dispatch", "cancel")
# What a run of twenty documents takes when nobody disturbs it.
_WORK_SECONDS = 2.5
# A server or flow server that was killed is noticed, ended with its children and started again.
_RECOVERY_SECONDS = 120.0
# W2: within 30 s of the reconciler's run everything is told. It has to be back first.
_TOLD_SECONDS = 45.0

_TOLD = {
    "RUNNING": "task_started",
    "COMPLETED": "task_completed",
    "FAILED": "task_failed",
    "CANCELLED": "task_cancelled",
    "CRASHED": "task_crashed",
}
# Enough for events of several stages; the later ones only add to what each round takes.
_STAGES = (1, 2)
_NOT_BEGUN = {"SCHEDULED", "PENDING"}
_TERMINAL = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}
# So short that nothing is dead in the end, however long the receiver or the dispatcher were away.
_SCHEDULE = ",".join(["0", "1s", "1s", *["2s"] * 60])

_UP = """
import sys
from functools import partial
from blocks.settings import load_settings
from waybill.commands.servers import _register
from waybill.stack.up import run_up
sys.exit(run_up(load_settings(), port=0, ui_port=int(sys.argv[1]), on_ready=partial(_register, None)))
"""


@dataclass
class Counts:
    """What happened in all rounds."""

    rounds: int = 0
    kills: Counter[str] = field(default_factory=Counter[str])
    ends: Counter[str] = field(default_factory=Counter[str])
    states: int = 0
    events: int = 0
    requests: int = 0
    repeated: int = 0
    taken_twice: int = 0


class Stack:
    """A running `waybill up` and what a test does to it."""

    def __init__(self, home: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.home = home
        self.api = f"http://127.0.0.1:{port}/api"
        self.process = process

    def get(self, path: str, **query: str) -> Any:
        """An answer of Prefect's API; waits for a server that is being started again."""
        return self._patiently("GET", path, params=query)

    def post(self, path: str, body: Any) -> Any:
        return self._patiently("POST", path, json=body)

    def _patiently(self, method: str, path: str, **given: Any) -> Any:
        deadline = time.monotonic() + _RECOVERY_SECONDS
        while True:
            try:
                answer = httpx.request(method, f"{self.api}{path}", auth=prefect_login(self.home), timeout=10, **given)
                answer.raise_for_status()
                return answer.json()
            except httpx.HTTPError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def trigger(self, key: str, **parameters: Any) -> str:
        """The id of a new run. Asked again with the same *key*, the run is the same."""
        deployment = self.get("/deployments/name/process-documents/waybill")
        body = {"parameters": parameters, "idempotency_key": key}
        return self.post(f"/deployments/{deployment['id']}/create_flow_run", body)["id"]

    def state(self, run_id: str) -> str:
        return self.get(f"/flow_runs/{run_id}")["state"]["type"]

    def history(self, run_id: str) -> list[dict[str, Any]]:
        """Every state of the run in Prefect's history."""
        return self.get("/flow_run_states/", flow_run_id=run_id)

    def told_states(self, run_id: str) -> dict[str, str]:
        """Event id and type for every state in Prefect's history that has to be told."""
        states = self.history(run_id)
        return {f"evt_{state['id']}": _TOLD[state["type"]] for state in states if state["type"] in _TOLD}

    def events(self, run_id: str) -> list[tuple[str, str, bytes]]:
        """Id, type and body of everything in the outbox about a run."""
        url = f"postgresql://postgres@/waybill?host={self.home / 'postgres'}"
        with psycopg.connect(url) as connection:
            return connection.execute(
                "select event_id, event_type, body from webhook_events where task_id = %s", [run_id]
            ).fetchall()

    def disturb(self, victim: str, run_id: str) -> bool:
        """Kill or cancel; whether there was anything to be killed."""
        if victim == "cancel":
            with suppress(httpx.HTTPError):
                body = {"state": {"type": "CANCELLING"}, "force": False}
                login = prefect_login(self.home)
                answer = httpx.post(f"{self.api}/flow_runs/{run_id}/set_state", json=body, auth=login, timeout=2)
                return answer.is_success and answer.json()["status"] == "ACCEPT"
            return False
        pid = _flow_process(run_id) if victim == "flow" else self._recorded(victim)
        if pid is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    def _recorded(self, victim: str) -> int | None:
        try:
            if victim == "prefect":
                return int(json.loads((self.home / "stack.json").read_text())["prefect_server"]["process"]["pid"])
            return int(json.loads((self.home / f"{victim}.json").read_text())["pid"])
        except (OSError, ValueError, KeyError):
            return None  # it is just being started again


def _flow_process(run_id: str) -> int | None:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            ours = process.environ().get("PREFECT__FLOW_RUN_ID") == run_id
            if ours and "prefect" in " ".join(words) and not any("multiprocessing" in word for word in words):
                return process.pid
    return None


@contextmanager
def running_up(home: Path, output: Path) -> Generator[Stack]:
    """`waybill up` with a home of its own; ended and checked for what it leaves."""
    port = unused_port()
    environment = {
        **plain_environment(),
        "WAYBILL_HOME": str(home),
        "WAYBILL_ALLOW_PRIVATE_WEBHOOKS": "loopback",
        "WAYBILL_WEBHOOK_SCHEDULE": _SCHEDULE,
        "WAYBILL_WORKERS": "1",
    }
    with output.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-u", "-c", _UP, str(port)],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        eventually(lambda: b"waybill is up" in output.read_bytes(), "up is up", _RECOVERY_SECONDS)
        yield Stack(home, port, process)
        process.terminate()
        assert process.wait(_RECOVERY_SECONDS) == 0
        assert left_running(home) == []
    finally:
        process.kill()
        process.wait()
        end_everything(home)


Victims = Sequence[str]
Round = Sequence[Victims]
"""The victims of each of the runs that are under way at the same time."""


def disturbed_runs(
    stack: Stack, receiver: Receiver, documents: Path, victims: Round, chance: random.Random, counts: Counts
) -> list[tuple[str, str]]:
    """One round; for each run its id and where it is told about."""
    began = time.monotonic()
    runs: list[tuple[str, str]] = []
    for number in range(len(victims)):
        path = f"/round-{counts.rounds}-{number}"
        parameters: dict[str, Any] = {"sources": [str(documents)], "stages": list(_STAGES), "reuse": False}
        runs.append((stack.trigger(f"{stack.home}{path}", **parameters, webhook_url=receiver.url(path)), path))
    # Most of the interesting moments are those in which documents are on their way.
    if chance.random() < 0.8:
        for run_id, _ in runs:
            eventually(lambda run_id=run_id: stack.state(run_id) not in _NOT_BEGUN, "the run begins", _RECOVERY_SECONDS)
    _disturb_at_moments(stack, runs, victims, chance, counts)
    for one, (run_id, _) in zip(victims, runs, strict=True):
        try:
            eventually(lambda run_id=run_id: stack.state(run_id) in _TERMINAL, "the run has an end", _RECOVERY_SECONDS)
        except AssertionError:
            states = [(state["timestamp"], state["name"]) for state in stack.history(run_id)]
            print(f"run {run_id} ({' and '.join(one)}): {states}", file=sys.stderr)
            raise
        counts.ends[stack.state(run_id).lower()] += 1
    counts.rounds += 1
    told = ", ".join(
        f"{' and '.join(one)}: {stack.state(run[0]).lower()}" for one, run in zip(victims, runs, strict=True)
    )
    print(f"round {counts.rounds}: {told} in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return runs


def _disturb_at_moments(
    stack: Stack, runs: Sequence[tuple[str, str]], victims: Round, chance: random.Random, counts: Counts
) -> None:
    began = time.monotonic()
    moments = [
        (chance.uniform(0, _WORK_SECONDS), victim, run_id)
        for one, (run_id, _) in zip(victims, runs, strict=True)
        for victim in one
    ]
    for moment, victim, run_id in sorted(moments):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        if stack.disturb(victim, run_id):
            counts.kills[victim] += 1


def check(stack: Stack, receiver: Receiver, runs: Sequence[tuple[str, str]], counts: Counts) -> None:
    """Prefect's history, the outbox and the receiver agree. Raises AssertionError saying what is missing."""
    for run_id, path in runs:

        def has_event(run_id: str = run_id) -> bool:
            return set(stack.told_states(run_id)) <= {event_id for event_id, _, _ in stack.events(run_id)}

        eventually(has_event, f"every state of {run_id} is told", _TOLD_SECONDS)
        states = stack.told_states(run_id)
        events = stack.events(run_id)
        of_states = {event_id: kind for event_id, kind, _ in events if kind in _TOLD.values()}
        assert of_states == states, f"{run_id}: told {of_states}, in the history {states}"
        bodies = {event_id: bytes(body) for event_id, _, body in events}

        def has_arrived(path: str = path, ids: set[str] = set(bodies)) -> bool:  # noqa: B006 - bound now
            return ids <= {request.event_id for request in receiver.received(path)}

        eventually(has_arrived, f"every event of {run_id} is at the receiver", _TOLD_SECONDS)
        arrived = Counter(request.event_id for request in receiver.received(path))
        for request in receiver.received(path):
            assert request.body == bodies[request.event_id], f"{request.event_id} arrived with another body"
        counts.states += len(states)
        counts.events += len(events)
        counts.requests += sum(arrived.values())
        counts.repeated += sum(1 for count in arrived.values() if count > 1)


class Mood:
    """A receiver that refuses or breaks off one request in ten, and counts what it has taken."""

    def __init__(self, chance: random.Random) -> None:
        self.taken: Counter[str] = Counter()
        self._chance = chance

    def __call__(self, request: Request) -> Answer:
        roll = self._chance.random()
        if roll < 0.03:
            return RESET
        if roll < 0.1:
            return Answer(status=503)
        self.taken[request.event_id] += 1
        return Answer()


def disturb(rounds: Sequence[Round], *, documents: int, seed: int) -> Counts:
    """The whole experiment: one round after the other. Raises AssertionError when anything is wrong."""
    chance = random.Random(seed)
    print(f"seed {seed}", file=sys.stderr)
    counts = Counts()
    with private_directory() as directory, running_receiver() as receiver:
        mood = Mood(random.Random(seed))
        receiver.answer(mood)
        sources = directory / "documents"
        sources.mkdir()
        write_documents(sources, documents)
        output = directory / "up.txt"
        try:
            with running_up(directory / "home", output) as stack:
                runs = [run for one in rounds for run in disturbed_runs(stack, receiver, sources, one, chance, counts)]
                check(stack, receiver, runs, counts)
                counts.taken_twice = sum(1 for count in mood.taken.values() if count > 1)
        except BaseException:
            print(output.read_text(), file=sys.stderr)
            raise
    return counts


def random_victims(count: int, chance: random.Random) -> list[list[str]]:
    """One or two of them for each round, every one of them as often as the others."""
    bag: list[str] = []
    rounds: list[list[str]] = []
    for _ in range(count):
        size = chance.choice((1, 2))
        while len(bag) < size or len(set(bag[:size])) < size:
            bag += chance.sample(VICTIMS, len(VICTIMS))
            chance.shuffle(bag)
        rounds.append([bag.pop(0) for _ in range(size)])
    return rounds


def main() -> None:
    """The long form."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--documents", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()
    rounds = [[victims] for victims in random_victims(arguments.rounds, random.Random(arguments.seed))]
    counts = disturb(rounds, documents=arguments.documents, seed=arguments.seed)
    killed = ", ".join(f"{victim} {count}" for victim, count in sorted(counts.kills.items()))
    ended = ", ".join(f"{count} {end}" for end, count in sorted(counts.ends.items()))
    print(
        f"{counts.rounds} rounds of {arguments.documents} documents; killed: {killed}; ended: {ended}\n"
        f"{counts.states} states told by exactly one event each; {counts.events} events in all, none missing at the "
        f"receiver\n{counts.requests} requests; {counts.repeated} events came more than once, with the same id and "
        f"body: "
        f"{counts.repeated - counts.taken_twice} after a refusal, {counts.taken_twice} although they had been taken"
    )


if __name__ == "__main__":
    main()
