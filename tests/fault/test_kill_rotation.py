"""``waybill keys rotate-storage`` killed at random moments: files stay readable, and the next call finishes it."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from typing import Any

from blocks.age import parse_identities
from blocks.open_custody import open_custody
from blocks.settings import Settings
from blocks.settings.parsing import Secret
from tests.acceptance.conftest import CommandLine, alone
from tests.integration.custody_place import draft
from tests.stack_driver import PATIENCE_SECONDS
from waybill.stack import running_stack

__all__ = ["alone"]  # the fixture

FILES = 25
KILLS = 4


def test_a_rotation_that_is_killed_again_and_again_is_finished_with_the_same_key(
    alone: CommandLine,
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with running_stack(Settings(home=alone.home), prefect=False) as addresses:
        asyncio.run(store_letters(Settings(home=alone.home, database_url=Secret(addresses.database_url))))
    before = {entry["file_id"]: entry["sha256"] for entry in alone.json("files", "list")["files"]}
    for _ in range(KILLS):
        kill_soon_after_it_begins(alone, chance)
    last = rotated(alone)
    assert last["failed"] == []
    verified = alone.json("files", "verify", "--all")
    assert (verified["verified"], verified["stored_bytes_only"]) == (FILES, 0)
    shown = alone.json("files", "list")["files"]
    assert {entry["file_id"]: entry["sha256"] for entry in shown} == before
    recipients = {alone.json("files", "show", entry["file_id"])["encrypted_for"] for entry in shown[:3]}
    assert recipients == {last["recipient"]}
    # Each blob with its manifest inside, and nothing of the interrupted moves.
    assert len([path for path in (alone.home / "artifacts").rglob("*") if path.is_file()]) == FILES
    # A call that finds an unfinished rotation makes no other key: the first one, at most one a call, and no more.
    keys = parse_identities((alone.home / "storage-identity").read_text())
    assert 2 <= len(keys) <= KILLS + 2


def rotated(waybill: CommandLine) -> dict[str, Any]:
    """The answer of a rotation. Postgres lets go of a killed one's lock a moment after its connection is gone."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = json.loads(waybill.run("keys", "rotate-storage", "--json", expect=None).stdout)
        if answer.get("error", {}).get("code") != "RotationUnderWay":
            return answer
        assert time.monotonic() < deadline


async def store_letters(settings: Settings) -> None:
    async with open_custody(settings) as custody:
        for number in range(FILES):
            await custody.take(draft(), f"Letter {number}.\n".encode())


def kill_soon_after_it_begins(waybill: CommandLine, chance: random.Random) -> None:
    """SIGKILL within the fraction of a second that moving the files takes; where it ends before that, so be it."""
    identity = waybill.home / "storage-identity"
    blobs = sorted((waybill.home / "artifacts").glob("*/*/*"))
    rotation = subprocess.Popen(
        [sys.executable, "-m", "waybill", "keys", "rotate-storage"],
        env=waybill.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    keys, deadline = identity.read_bytes(), time.monotonic() + PATIENCE_SECONDS
    while rotation.poll() is None and time.monotonic() < deadline:
        if identity.read_bytes() != keys or sorted((waybill.home / "artifacts").glob("*/*/*")) != blobs:
            time.sleep(chance.uniform(0, 0.2))
            break
        time.sleep(0.002)
    rotation.kill()
    rotation.wait()
