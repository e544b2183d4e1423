"""Transfers go on after kills of both sides and over links that fail, without sending much twice.

Here tens of megabytes; `make chaos` runs the same with 1 GiB and ten kills of each side (`tests.fault.kill_transfer`).
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.fault.kill_transfer import (
    MIB,
    MOST_PER_KILL,
    MOST_SENT,
    Place,
    break_the_link,
    hosts_if_possible,
    kill_again_and_again,
    new_content,
    order_for,
)
from tests.s3 import S3Server
from tests.two_hosts import can_have_hosts, two_hosts_on_a_wire

SEED = int(os.environ.get("WAYBILL_TEST_SEED") or random.SystemRandom().randrange(2**32))
KILLS = 3
DOWN_SECONDS = 3.0


@pytest.mark.parametrize(("direction", "storage"), [("download", "local"), ("upload", "local"), ("upload", "s3")])
def test_it_goes_on_after_kills_of_gateway_and_client(
    direction: str, storage: str, database_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    s3: S3Server | None = request.getfixturevalue("s3_server") if storage == "s3" else None
    print(f"seed {SEED}")
    content = new_content(tmp_path / "content", 48 * MIB + 17)
    with hosts_if_possible() as hosts, Place(tmp_path / "place", database_url, hosts, s3) as place:
        order = order_for(place, direction, content)
        cost = kill_again_and_again(place, order, content, kills=KILLS, chance=random.Random(SEED))
    print(cost)
    assert cost.size <= cost.sent, "all of it was sent"
    assert (cost.sent - cost.size) / (2 * KILLS) <= MOST_PER_KILL


@pytest.mark.skipif(not can_have_hosts(), reason="network namespaces take root, ip and /dev/net/tun")
@pytest.mark.parametrize("direction", ["upload", "download"])
def test_it_goes_on_over_a_link_that_loses_packets_and_is_down_for_a_while(
    direction: str, database_url: str, tmp_path: Path
) -> None:
    content = new_content(tmp_path / "content", 24 * MIB + 17)
    with (
        two_hosts_on_a_wire() as (server, other, wire),
        Place(tmp_path / "place", database_url, (server, other)) as place,
    ):
        order = order_for(place, direction, content)
        cost = break_the_link(place, order, content, wire, down_seconds=DOWN_SECONDS)
    print(cost)
    assert cost.counted_by_client <= MOST_SENT * cost.size
    assert cost.counted_by_gateway <= MOST_SENT * cost.size
