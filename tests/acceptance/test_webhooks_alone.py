"""Webhooks of commands where no `waybill up` runs: a command delivers what it can before it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.conftest import CommandLine
from tests.acceptance.webhook_runs import ALL_OF_A_RUN, bodies, document, require_signed
from tests.shared_servers import PREFECT_ALONE
from tests.stack_driver import eventually, prefect_variables
from tests.webhooks import BLACK_HOLE, Answer, Receiver, running_receiver

pytestmark = PREFECT_ALONE

# A receiver that a busy machine holds up is waited for; one that is silent is so for a tenth of it.
_DRAIN_SECONDS = 150


@pytest.fixture
def with_prefect(on_postgres: CommandLine, prefect_alone: str) -> CommandLine:
    """Commands on a home of its own, where a Prefect server runs between them, and nothing that delivers webhooks."""
    return on_postgres.with_environment(
        **prefect_variables(prefect_alone),
        PREFECT_HOME=on_postgres.home / "prefect",
        WAYBILL_ALLOW_PRIVATE_WEBHOOKS="loopback",
        WAYBILL_WEBHOOK_DRAIN_SECONDS=_DRAIN_SECONDS,
    )


def test_a_run_alone_tells_its_own_address_before_the_command_ends(
    alone: CommandLine, receiver: Receiver, tmp_path: Path
) -> None:
    alone = alone.with_environment(WAYBILL_WEBHOOK_DRAIN_SECONDS=_DRAIN_SECONDS)
    report = alone.json("process", document(tmp_path), "--stages", "1", "--webhook-url", receiver.url("/mine"))
    arrived = bodies(receiver.received("/mine"))
    assert {body["event_type"] for body in arrived} == ALL_OF_A_RUN
    assert {body["task_id"] for body in arrived} == {report["run_id"]}
    secret = alone.json("webhooks", "secret")["secret"]
    for request in receiver.received("/mine"):
        require_signed(request, secret)
    # A later run without an address is not told there.
    alone.json("process", document(tmp_path), "--stages", "1")
    assert len(receiver.received("/mine")) == len(arrived)


def test_what_died_can_be_replayed_with_the_same_id_and_body(
    with_prefect: CommandLine, receiver: Receiver, tmp_path: Path
) -> None:
    once = with_prefect.with_environment(WAYBILL_WEBHOOK_SCHEDULE="0")
    made = once.json("webhooks", "add", receiver.url(), "--events", "task_completed")
    receiver.answer(Answer(status=503), times=1)
    once.json("process", document(tmp_path), "--stages", "1")
    (dead,) = once.json("webhooks", "deliveries", "--state", "dead")["deliveries"]
    assert dead["last_status"] == 503
    (listed,) = once.json("webhooks", "list")["endpoints"]
    assert (listed["dead"], listed["pending"]) == (1, 0)
    assert once.json("webhooks", "replay", "--endpoint", made["endpoint_id"])["replayed"] == 1

    def is_delivered() -> bool:
        # A command that tests an endpoint sends what else is due, for as long as its own event takes.
        once.json("webhooks", "test", made["endpoint_id"])
        return once.json("webhooks", "deliveries", dead["delivery_id"])["state"] == "delivered"

    eventually(is_delivered, "it is delivered after all")
    first, *again = [request for request in receiver.received() if request.event_id == dead["event_id"]]
    assert {request.body for request in again} == {first.body}
    assert once.json("webhooks", "replay", "--since", "1h")["replayed"] == 0
    assert once.json("webhooks", "replay", dead["delivery_id"])["replayed"] == 1


def test_a_black_hole_delays_no_run_and_no_other_endpoint(
    with_prefect: CommandLine, receiver: Receiver, tmp_path: Path
) -> None:
    with running_receiver() as hole:
        hole.answer(BLACK_HOLE)
        for url in (hole.url(), receiver.url()):
            with_prefect.json("webhooks", "add", url)
        report = with_prefect.json("process", document(tmp_path), "--stages", "1")
    assert report["state"] == "completed"
    assert {body["event_type"] for body in bodies(receiver.received())} == ALL_OF_A_RUN
