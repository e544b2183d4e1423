"""Part 4: consumers are notified.

A *consumer* registers an *endpoint*, an address that receives webhooks. What happens is recorded as an event in the
*outbox*, in the catalogue's database, with a *delivery* for each endpoint that wants it. A *dispatcher* sends the
deliveries, apart from any run. The receiver of these tests is a real HTTP server on loopback.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from datetime import timedelta

import pytest
import standardwebhooks

from tests.delivery import OutboxPlace, open_place
from tests.gateway import Gateway
from tests.integration.conftest import Workspace
from tests.integration.test_process_flow import process
from tests.webhooks import Answer, Receiver

WEBHOOKS = "/api/v1/webhooks"


@pytest.fixture
async def outbox(gateway: Gateway) -> AsyncGenerator[OutboxPlace]:
    """The outbox of the gateway's catalogue, with a dispatcher where a test starts one."""
    async with open_place(gateway.database_url, gateway.resources.settings.home) as place:
        yield place


async def test_a_consumer_is_notified_of_a_run_and_verifies_it(workspace: Workspace, receiver: Receiver) -> None:
    """Register an endpoint, run a document, and receive a signed webhook.

    The consumer verifies the signature with its secret before it uses the content; here with a package that knows
    nothing of Waybill. Another secret does not fit.
    """
    path = workspace.write("letter.txt", "the plough leaves at six")
    async with open_place(workspace.database_url, workspace.home) as outbox:
        endpoint = await outbox.register(receiver.url(), event_types=["stage_completed"])
        _, report = await process(path)
        async with outbox.sending():
            (webhook,) = await receiver.until(1)

    event = standardwebhooks.Webhook(endpoint.secret).verify(webhook.body, webhook.headers)
    assert (event["event_type"], event["task_id"]) == ("stage_completed", report["run_id"])
    assert event["source_file"] == str(path)
    with pytest.raises(standardwebhooks.webhooks.WebhookVerificationError):
        standardwebhooks.Webhook("whsec_" + "A" * 32).verify(webhook.body, webhook.headers)


async def test_a_failed_attempt_is_repeated_with_the_same_id(outbox: OutboxPlace, receiver: Receiver) -> None:
    """Let the receiver refuse the first attempt: the dispatcher sends the same webhook again.

    Delivery is *at least once*. A consumer may get an event twice and recognizes it by the header `webhook-id`.
    """
    receiver.answer(Answer(status=503), times=1)
    await outbox.register(receiver.url())
    (event_id,) = await outbox.happen()

    async with outbox.sending():
        await outbox.until_states(delivered=1)

    assert [webhook.event_id for webhook in receiver.received()] == [event_id, event_id]


async def test_a_dead_delivery_is_replayed(gateway: Gateway, outbox: OutboxPlace, receiver: Receiver) -> None:
    """Let every attempt fail: the delivery is dead. Replay it once the receiver is well again.

    A dead delivery is kept with its event, so nothing is lost: an operator lists dead deliveries and replays them.
    """
    headers = await gateway.headers("read", "write")
    receiver.answer(Answer(status=503), times=1)
    await outbox.register(receiver.url())
    await outbox.happen()

    only_one_attempt = [timedelta(0)]
    async with outbox.sending(schedule=only_one_attempt):
        await outbox.until_states(dead=1)
        listed = await gateway.client.get(f"{WEBHOOKS}/deliveries", params={"state": "dead"}, headers=headers)
        (dead,) = listed.json()["deliveries"]
        replayed = await gateway.client.post(f"{WEBHOOKS}/deliveries/{dead['delivery_id']}/replay", headers=headers)
        await outbox.until_states(delivered=1)

    assert replayed.json() == {"replayed": 1}
    refused, accepted = receiver.received()
    assert json.loads(refused.body) == json.loads(accepted.body)
