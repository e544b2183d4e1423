"""Transfers whose gateway and client are killed with SIGKILL at random bytes, or whose link fails, and what they cost.

The first part is a gateway with its clients, and what is looked at afterwards. Run as a program, this is the long form:

    python -m tests.fault.kill_transfer [--megabytes 1024] [--kills 10] [--direction download|upload|both|link]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg

from blocks.access import create_key
from blocks.age import X25519Identity
from blocks.catalog import Catalog
from tests.fault.transferring import Client, Order
from tests.gateway.process import gateway_process
from tests.postgres_server import Postgres, running_postgres
from tests.s3 import S3Server, running_s3_server
from tests.stack_driver import PATIENCE_SECONDS, eventually
from tests.two_hosts import Host, Wire, can_have_hosts, two_hosts, two_hosts_on_a_wire
from waybill.process.gateway_socket import address_of, listen

MIB = 2**20
MOST_SENT = 1.05
"""Bytes that are sent of a transfer at most, in those of its file."""
MOST_PER_KILL = int((MOST_SENT - 1) * 1024 * MIB / 20)
"""What a kill may cost when twenty of them, in 1 GiB, must keep to `MOST_SENT`."""
_TRANSFERS = "/api/v1/transfers"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a transfer has cost, in bytes."""

    size: int
    counted_by_gateway: int
    """In the row of the transfer. What a killed gateway had not written there is missing."""
    counted_by_client: int
    """Read from the network by all processes of a client, or given to it; some of that never left."""
    on_wire: int | None
    """What has left the sender's network device, with all headers; None without a link."""
    seconds: float

    @property
    def sent(self) -> int:
        """What was sent: on the wire, where that is counted, and never less than what the gateway knows of."""
        return max(self.counted_by_gateway, self.counted_by_client if self.on_wire is None else self.on_wire)

    def __str__(self) -> str:
        counts = {"gateway": self.counted_by_gateway, "client": self.counted_by_client, "wire": self.on_wire}
        shown = ", ".join(f"{name} {count / self.size:.4f}" for name, count in counts.items() if count is not None)
        return f"{self.size} bytes in {self.seconds:.1f} s; sent by the count of {shown}"


class Place:
    """A gateway that can be killed and started again at one port, and a folder for its clients.

    With *hosts* it answers on the first and clients run on the second; its database and storage stay on neither.
    """

    def __init__(
        self, folder: Path, database_url: str, hosts: tuple[Host, Host] | None = None, s3: S3Server | None = None
    ) -> None:
        self.folder, self.home, self._hosts = folder, folder / "home", hosts
        self._database_url, self._s3 = database_url, s3
        self._variables: dict[str, str] = {}
        if s3 is not None:
            self._bucket = s3.new_bucket()
            options = json.dumps(s3.options)
            self._variables = {"WAYBILL_STORAGE_URL": f"s3://{self._bucket}/store", "WAYBILL_STORAGE_OPTIONS": options}
        # On the first host. A socket stays on the host of the thread that made it, whoever holds it.
        self._there = ThreadPoolExecutor(1, initializer=hosts[0].enter if hosts else None)
        self._running = ExitStack()
        self._gateway_pid = 0

    def __enter__(self) -> Self:
        self.home.mkdir(parents=True)
        key = asyncio.run(self._make_key())
        self._listener = self._there.submit(listen, self._hosts[0].address if self._hosts else "127.0.0.1", 0).result()
        self._client = httpx.Client(
            base_url=address_of(self._listener),
            headers={"Authorization": f"Bearer {key}"},
            timeout=PATIENCE_SECONDS,
        )
        self.start_gateway()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()
        self._client.close()
        self._listener.close()
        self._there.shutdown()

    def start_gateway(self) -> None:
        """Start the gateway, and wait until it answers."""
        running = gateway_process(self.home, self._database_url, listener=self._listener, **self._variables)
        self._gateway_pid = self._running.enter_context(running).pid

    def kill_gateway(self) -> None:
        """Kill the gateway with SIGKILL."""
        os.kill(self._gateway_pid, signal.SIGKILL)
        self._running.close()

    def ask(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        """What the gateway answers to a request below `/transfers`."""
        answer = self._there.submit(self._client.request, method, f"{_TRANSFERS}{path}", **given).result()
        assert answer.is_success, answer.text
        return answer.json()

    def upload(self, content: Path) -> Order:
        """The order to send *content*."""
        wanted = {"direction": "upload", "filename": content.name, "sealed_for": "storage"}
        made = self.ask("POST", "", json=wanted)
        folder = self.folder / made["transfer_id"]
        folder.mkdir()
        (folder / content.name).hardlink_to(content)
        return self._order(made, folder / content.name, made["recipient"])

    def download(self, file_id: str) -> Order:
        """The order to fetch a file."""
        identity = X25519Identity.generate()
        wanted = {"direction": "download", "file_id": file_id, "recipient": identity.recipient.text}
        made = self.ask("POST", "", json=wanted)
        folder = self.folder / made["transfer_id"]
        folder.mkdir()
        return self._order(made, folder / "fetched", identity.text)

    def start_client(self, order: Order, hold_at: int | None = None) -> Client:
        """Start a client, or start it again."""
        return Client(order, self._hosts[1] if self._hosts else None, hold_at)

    def wire_bytes(self, direction: str) -> int | None:
        """What has left the network device of the side that sends."""
        return self._hosts[0 if direction == "download" else 1].sent_bytes() if self._hosts else None

    def check(self, order: Order, content: Path) -> dict[str, Any]:
        """*content* has arrived, the transfer is over with one event, and nothing is left over. Its row."""
        eventually(lambda: self._status(order)["state"] == "completed", "the transfer is completed")
        row = self._status(order)
        assert row["bytes_done"] == row["size"]
        assert self._events(order) == ["transfer_completed"]
        assert [one.name for one in order.path.parent.iterdir()] == [order.path.name], "something is left of the client"
        if order.direction == "download":
            assert sha256_of(order.path) == sha256_of(content)
        else:
            assert (row["content_sha256"], row["content_size"]) == (sha256_of(content), content.stat().st_size)
        self._check_nothing_is_left()
        return row

    def _check_nothing_is_left(self) -> None:
        waiting = self.home / "incoming"
        assert not waiting.exists() or list(waiting.iterdir()) == []
        partial = [path for path in self.home.rglob("*") if "resumable-upload" in path.name]
        assert partial == []
        if self._s3 is not None:
            list_uploads = self._s3.administrator.list_multipart_uploads
            # Swift lists what has just gone for a moment more when it is busy.
            eventually(lambda: "Uploads" not in list_uploads(Bucket=self._bucket), "no upload is left in the bucket")

    def _status(self, order: Order) -> dict[str, Any]:
        return self.ask("GET", f"/{order.transfer_id}/status")

    def _events(self, order: Order) -> list[str]:
        with psycopg.connect(self._database_url) as connection:
            rows = connection.execute("select event_type, coalesce(whole_body, body) from webhook_events").fetchall()
        return [name for name, body in rows if json.loads(bytes(body))["data"].get("transfer_id") == order.transfer_id]

    def _order(self, made: dict[str, Any], path: Path, key: str) -> Order:
        return Order(direction=made["direction"], url=made["url"], token=made["token"], path=path, key=key)

    async def _make_key(self) -> str:
        async with Catalog.open(self._database_url) as catalog, catalog.connection() as connection:
            return (await create_key(connection, name="a test", scopes=["read", "write", "admin"])).text


# What happens to transfers --------------------------------------------------------------------------------------------


def kill_again_and_again(
    place: Place, order: Order, content: Path, *, kills: int, chance: random.Random, flowing_seconds: float = 0.0
) -> Cost:
    """Transfer *content* while gateway and client are killed *kills* times each, at random bytes.

    Each kill comes up to *flowing_seconds* after its byte, with data on the way; without them at the byte itself.
    """
    size = content.stat().st_size
    places = sorted(chance.randrange(size // 50, size * 19 // 20) for _ in range(2 * kills))
    victims = ["gateway", "client"] * kills
    chance.shuffle(victims)
    begun, on_wire = time.monotonic(), place.wire_bytes(order.direction)
    client = place.start_client(order, places[0])
    try:
        for victim, hold_at in zip(victims, [*places[1:], None], strict=True):
            client.wait_until_held()
            if flowing_seconds:
                client.go_on(hold_at)
                time.sleep(chance.uniform(0, flowing_seconds))
            if victim == "gateway":
                place.kill_gateway()
                if not flowing_seconds:
                    client.go_on(hold_at)
                place.start_gateway()
            else:
                client.kill()
                client = place.start_client(order, hold_at)
        client.finish()
    finally:
        client.kill()
    return cost_of(place, order, content, begun, on_wire)


def break_the_link(place: Place, order: Order, content: Path, wire: Wire, *, down_seconds: float) -> Cost:
    """Transfer *content* over a link that loses and delays packets, and is down in the middle."""
    begun, on_wire = time.monotonic(), place.wire_bytes(order.direction)
    wire.order("delay 0.01")
    wire.order("loss 0.005")
    client = place.start_client(order, content.stat().st_size // 2)
    try:
        client.wait_until_held()
        client.go_on()
        wire.order("down")
        time.sleep(down_seconds)
        wire.order("up")
        client.finish()
    finally:
        client.kill()
    wire.order("loss 0")
    wire.order("delay 0")
    return cost_of(place, order, content, begun, on_wire)


def cost_of(place: Place, order: Order, content: Path, begun: float, on_wire: int | None) -> Cost:
    seconds, after = time.monotonic() - begun, place.wire_bytes(order.direction)
    row = place.check(order, content)
    return Cost(
        size=row["size"],
        counted_by_gateway=row["bytes_sent"],
        counted_by_client=order.moved_bytes,
        on_wire=after - on_wire if after is not None and on_wire is not None else None,
        seconds=seconds,
    )


def new_content(path: Path, size: int) -> Path:
    """A file of random bytes."""
    with path.open("wb") as file:
        for place in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - place)))
    return path


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# The long form --------------------------------------------------------------------------------------------------------

_FLOWING_SECONDS = 0.02


@contextmanager
def hosts_if_possible() -> Iterator[tuple[Host, Host] | None]:
    """Two hosts, so that the bytes between them are counted; nothing where this process may not make them."""
    if not can_have_hosts():
        print("no network namespaces here: the bytes on the wire are not counted")
        yield None
        return
    with two_hosts() as hosts:
        yield hosts


def stored(place: Place, content: Path) -> str:
    """The id of *content* as a file in custody."""
    order = place.upload(content)
    with place.start_client(order) as client:
        client.finish()
    return str(place.check(order, content)["file_id"])


def order_for(place: Place, direction: str, content: Path) -> Order:
    return place.upload(content) if direction == "upload" else place.download(stored(place, content))


def long_form(postgres: Postgres, folder: Path, content: Path, arguments: argparse.Namespace) -> None:
    def report(what: str, cost: Cost) -> None:
        print(f"{what}: {cost}", flush=True)
        assert cost.sent <= MOST_SENT * cost.size, what

    print(f"seed {arguments.seed}", flush=True)
    chance, kills = random.Random(arguments.seed), arguments.kills
    directions = ["download", "upload"] if arguments.direction == "both" else [arguments.direction]
    with running_s3_server() as s3:
        for direction, storage in (("download", None), ("upload", None), ("upload", s3)):
            if direction not in directions:
                continue
            name = f"{direction}-{'s3' if storage else 'local'}"
            with (
                hosts_if_possible() as hosts,
                postgres.database() as url,
                Place(folder / name, url, hosts, storage) as place,
            ):
                order = order_for(place, direction, content)
                cost = kill_again_and_again(
                    place, order, content, kills=kills, chance=chance, flowing_seconds=_FLOWING_SECONDS
                )
                report(f"{name}, {kills} kills of each side", cost)
    if "link" not in directions:
        return
    if not can_have_hosts():
        print("no network namespaces here: no link can be disturbed")
        return
    with (
        two_hosts_on_a_wire() as (server, other, wire),
        postgres.database() as url,
        Place(folder / "link", url, (server, other)) as place,
    ):
        for direction in ("upload", "download"):
            cost = break_the_link(
                place, order_for(place, direction, content), content, wire, down_seconds=arguments.down_seconds
            )
            report(f"{direction} over a bad link, down for {arguments.down_seconds:.0f} s", cost)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--kills", type=int, default=10, help="of the gateway, and as many of the client")
    parser.add_argument("--direction", choices=["download", "upload", "both", "link"], default="both")
    parser.add_argument("--down-seconds", type=float, default=30.0, help="of the link")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waybill-kill-transfer-") as name, running_postgres() as postgres:
        content = new_content(Path(name) / "content", arguments.megabytes * MIB)
        long_form(postgres, Path(name), content, arguments)


if __name__ == "__main__":
    main()
