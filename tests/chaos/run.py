"""One world from its start to its audit: load, disturbances in random order, a calm time, and the counts."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos import disturbances as what
from tests.chaos.apart import GUEST, HOST, network, postgres_pair
from tests.chaos.audit import Audit, audit
from tests.chaos.disturbances import Act, Place
from tests.chaos.load import Load
from tests.chaos.samples import GROWTH_DESCRIPTORS, GROWTH_MIB, Growth, Sampler, growth
from tests.chaos.world import World, second_checkout
from tests.s3.fault_proxy import Fault, FaultProxy, running_fault_proxy
from tests.s3.server import running_s3_server
from tests.stack_driver import eventually, private_directory
from tests.webhooks.answers import RESET, Answer
from tests.webhooks.receiver import Request, running_receiver

# Room for Postgres and the documents of half an hour, and soon full.
_DISK_MIB = 3000
_FEWEST_SECONDS, _MOST_SECONDS = 1.0, 5.0

EVERYWHERE: tuple[Act, ...] = (
    what.kill_server,
    what.kill_of_run,
    what.kill_command,
    what.kill_up,
    what.stop_process,
    what.few_descriptors,
    what.little_memory,
    what.restart_prefect,
)
LOCAL: tuple[Act, ...] = (
    *EVERYWHERE,
    what.cancel_run,
    what.end_sessions,
    what.restart_postgres,
    what.read_only_postgres,
    what.full_disk,
    what.jumping_clock,
    what.other_checkout,
    what.downgrade,
)


@dataclass
class Outcome:
    """What happened to one world, what was counted and what was found."""

    name: str
    happened: Counter[str] = field(default_factory=Counter[str])
    result: Audit = field(default_factory=Audit)
    flat: dict[str, Growth] = field(default_factory=dict[str, Growth])


def random_acts(acts: Sequence[Act], seconds: float, chance: random.Random) -> Iterator[Act]:
    """Give *acts* in random order, each as often as the others, with pauses, for *seconds*."""
    until = time.monotonic() + seconds
    bag: list[Act] = []
    while time.monotonic() < until:
        bag = bag or chance.sample(acts, len(acts))
        yield bag.pop()
        time.sleep(chance.uniform(_FEWEST_SECONDS, _MOST_SECONDS))


def disturb(
    world: World, acts: Iterable[Act], *, calm_seconds: float, chance: random.Random, uploaders: int = 2
) -> Outcome:
    """Let *acts* happen, one after the other, under load; then calm, audit, and stop.

    The load goes on in the calm time: what a process holds then must stay what it is.
    """
    outcome = Outcome(world.folder.name)
    copy = second_checkout(world.folder)
    world.start()
    sampler = Sampler(world)
    load = Load(world, copy, chance, uploaders=uploaders)
    place = Place(world, load, chance, copy)
    began = time.monotonic()
    try:
        for act in acts:
            done = act(place)
            at = time.monotonic() - began
            print(f"{world.folder.name} {at:5.0f} s  {act.__name__}: {done or 'nothing there'}", file=sys.stderr)
            if done:
                outcome.happened[act.__name__] += 1
            if ended := world.start_again_if_ended():
                load.ledger.findings.append(f"after {act.__name__} ({done}): {ended}")
        calm_since = time.monotonic() - began
        time.sleep(calm_seconds)
    except BaseException:
        # What is under way will not come to an outcome.
        load.abandon()
        raise
    finally:
        ledger = load.finish()
        samples = sampler.stop()
    outcome.result = audit(world, ledger)
    outcome.flat = growth(samples, calm_since, calm_since + calm_seconds)
    _judge_growth(outcome)
    world.stop()
    if left := world.end():
        outcome.result.findings.append(f"still running: {left}")
    return outcome


def _judge_growth(outcome: Outcome) -> None:
    for role, (mib, later_mib, descriptors, later_descriptors) in outcome.flat.items():
        if later_mib - mib > GROWTH_MIB or later_descriptors - descriptors > GROWTH_DESCRIPTORS:
            outcome.result.findings.append(
                f"{role} grew in the calm time: {mib:.0f} to {later_mib:.0f} MiB, "
                f"{descriptors:.0f} to {later_descriptors:.0f} descriptors"
            )


@contextmanager
def local_world(seed: int, logs: Path | None) -> Generator[World]:
    """A world with everything on this machine; run by root, its home is on a disk of its own."""
    with private_directory() as directory, running_receiver() as receiver:
        receiver.answer(_Mood(random.Random(seed)))
        world = World(directory / "local", receiver)
        world.home.mkdir(parents=True)
        mounts = os.geteuid() == 0
        if mounts:
            # The account of Postgres passes through it.
            options = f"size={_DISK_MIB}m,mode=0755"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "waybill-chaos", str(world.home)], check=True)
        try:
            yield world
        finally:
            _end(world, logs)
            # A killed process holds its files until the kernel is done with it.
            unmount = ["umount", str(world.home)]
            if mounts:
                eventually(lambda: not subprocess.run(unmount, capture_output=True).returncode, "the disk is free")


@contextmanager
def world_apart(seed: int, logs: Path | None) -> Generator[tuple[World, tuple[Act, ...]]]:
    """A world in a network namespace, with S3 storage and a pair of Postgres servers outside of it; its own acts."""
    with (
        private_directory() as directory,
        network() as link,
        running_receiver(host=HOST) as receiver,
        postgres_pair(directory / "postgres") as pair,
        running_s3_server() as s3,
        running_fault_proxy(s3.address, host=HOST) as proxy,
    ):
        receiver.answer(_Mood(random.Random(seed)))
        bucket = s3.new_bucket()
        variables = {
            "WAYBILL_DATABASE_URL": pair.url,
            "WAYBILL_STORAGE_URL": f"s3://{bucket}/files",
            "WAYBILL_STORAGE_OPTIONS": json.dumps({**s3.options, "endpoint_url": proxy.address}),
        }
        world = World(
            directory / "apart", receiver, host=GUEST, prefix=link.prefix, variables=variables, database_url=pair.url
        )
        world.home.mkdir(parents=True)

        def cut_off(place: Place) -> str:
            """Cut the link to storage, database, receiver and clients."""
            link.cut()
            try:
                what.wait(place)
            finally:
                link.mend()
            return "the link"

        def fail_over(_: Place) -> str:
            """Kill the primary; its standby takes over."""
            pair.fail_over()
            return f"to server {pair.primary}"

        def broken_storage(place: Place) -> str:
            """Have S3 refuse, answer late, lose answers, or cut connections."""
            return _break(proxy, place)

        try:
            yield world, (*EVERYWHERE, cut_off, fail_over, broken_storage, cut_off, broken_storage)
        finally:
            _end(world, logs)


def _end(world: World, logs: Path | None) -> None:
    if logs is not None:
        shutil.copytree(world.home / "logs", logs / world.folder.name, dirs_exist_ok=True)
        shutil.copy(world.log, logs / world.folder.name)
    if world.up is not None and world.up.poll() is None:
        world.up.kill()
        world.up.wait()
    world.end()


def _break(proxy: FaultProxy, place: Place) -> str:
    faults = {
        "503": Fault(refuse_with=(503, "SlowDown")),
        "500": Fault(refuse_with=(500, "InternalError")),
        "slow": Fault(hold_up_seconds=3.0),
        "lost answers": Fault(lose_answer=True),
        "cut requests": Fault(cut_request_after_bytes=100),
        "cut answers": Fault(cut_answer_after_bytes=10),
    }
    name = place.chance.choice(sorted(faults))
    chance = random.Random(place.chance.random())
    share = place.chance.choice((0.3, 1.0))
    proxy.inject(lambda _: chance.random() < share, faults[name])
    try:
        what.wait(place)
    finally:
        proxy.heal()
    return f"{name}, {share:.0%} of requests"


class _Mood:
    """A receiver that refuses or breaks off one request in ten."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def __call__(self, _: Request) -> Answer:
        roll = self._chance.random()
        return RESET if roll < 0.03 else Answer(status=503) if roll < 0.1 else Answer()
