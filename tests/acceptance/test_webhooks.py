"""Webhooks as a user has them: commands, a receiver, and what arrives."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.conftest import WITH_UP, CommandLine
from tests.acceptance.webhook_runs import ALL_OF_A_RUN, bodies, document, of_run, require_signed, wait_for_events_of
from tests.stack_driver import PATIENCE_SECONDS
from tests.webhooks import Answer, Receiver, Request

pytestmark = WITH_UP


@pytest.fixture
def endpoint(waybill: CommandLine, receiver: Receiver) -> Iterator[dict[str, Any]]:
    """An endpoint for everything; removed afterwards, so that it hears nothing of other tests."""
    made = waybill.json("webhooks", "add", receiver.url("/everything"), "--description", "for a test")
    yield made
    waybill.run("webhooks", "remove", made["endpoint_id"], expect=None)


def is_test(request: Request) -> bool:
    return json.loads(request.body)["event_type"] == "webhook_test"


def test_an_endpoint_hears_of_a_run_and_its_links_work_with_curl(
    waybill: CommandLine, endpoint: dict[str, Any], receiver: Receiver, curl: str, tmp_path: Path
) -> None:
    report = waybill.json("process", document(tmp_path), "--stages", "1-2")
    # started, 25, 50 and 75 %, two stages, the chain, completed
    arrived = wait_for_events_of(receiver, report["run_id"], 8)
    for request in arrived:
        require_signed(request, endpoint["secret"])
        assert request.headers["content-type"] == "application/json"
        assert request.headers["user-agent"].startswith("Waybill/")
    told = sorted(bodies(arrived), key=lambda body: body["data"]["sequence"])
    assert {body["event_type"] for body in told} == ALL_OF_A_RUN
    assert (told[0]["event_type"], told[-1]["event_type"]) == ("task_started", "task_completed")
    (file,) = next(body for body in told if body["event_type"] == "stage_completed")["data"]["output_files"]
    saved = tmp_path / "saved"
    subprocess.run([curl, "-fsS", "-o", saved, file["download_url"]], check=True, timeout=PATIENCE_SECONDS)
    assert len(saved.read_bytes()) == file["size"]
    assert "INFO waybill.delivery: the dispatcher begins" in (waybill.home / "logs" / "dispatch.log").read_text()


def test_a_failing_run_and_its_documents_are_told(
    waybill: CommandLine, endpoint: dict[str, Any], receiver: Receiver, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.md"
    empty.touch()
    run_id = waybill.json("process", empty, expect=1)["run_id"]

    def seen() -> dict[str, dict[str, Any]]:
        return {body["event_type"]: body for body in bodies(of_run(receiver, run_id))}

    # Their order is not promised.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not seen().keys() >= {"task_failed", "stage_failed", "stage_chain_completed"}:
        assert time.monotonic() < deadline, sorted(seen())
        time.sleep(0.05)
    assert "empty.md is empty" in seen()["stage_failed"]["data"]["stage"]["error_message"]
    assert seen()["stage_chain_completed"]["data"]["overall_success"] is False
    assert seen()["task_failed"]["data"]["error"]
    del endpoint


def test_an_endpoint_hears_only_what_it_asked_for(waybill: CommandLine, receiver: Receiver, tmp_path: Path) -> None:
    picky = waybill.json("webhooks", "add", receiver.url(), "--events", "task_completed,stage_failed")
    assert picky["events"] == ["task_completed", "stage_failed"]
    run_id = waybill.json("process", document(tmp_path), "--stages", "1")["run_id"]
    (only,) = bodies(wait_for_events_of(receiver, run_id, 1))
    assert only["event_type"] == "task_completed"
    assert {body["event_type"] for body in bodies(receiver.received())} <= {"task_completed", "stage_failed"}
    waybill.run("webhooks", "remove", picky["endpoint_id"])


def test_a_test_says_what_came_back(waybill: CommandLine, endpoint: dict[str, Any], receiver: Receiver) -> None:
    good = waybill.json("webhooks", "test", endpoint["endpoint_id"])
    assert (good["state"], good["last_status"], good["last_error"]) == ("delivered", 204, None)
    assert good["last_peer"].startswith("127.0.0.1:")
    receiver.answer(Answer(status=500, body=b"out of order"))
    bad = waybill.json("webhooks", "test", endpoint["endpoint_id"], expect=1)
    assert (bad["state"], bad["last_status"]) == ("pending", 500)
    shown = waybill.json("webhooks", "deliveries", bad["delivery_id"])
    # The next attempt comes after five seconds, and may be there already.
    assert {attempt["answer"] for attempt in shown["attempts_made"]} == {"out of order"}
    people = waybill.run("webhooks", "test", endpoint["endpoint_id"], expect=1).stdout
    assert "500" in people


def test_during_a_rotation_both_secrets_verify_and_afterwards_one(
    waybill: CommandLine, endpoint: dict[str, Any], receiver: Receiver
) -> None:
    def signatures_of_a_test() -> tuple[Request, int]:
        event_id = waybill.json("webhooks", "test", endpoint["endpoint_id"])["event_id"]
        latest = receiver.received(lambda request: request.event_id == event_id)[-1]
        return latest, len(latest.headers["webhook-signature"].split())

    def test_with_signatures(count: int) -> Request:
        # A dispatcher that holds the endpoint, because it had anything to send, looks for changes every few seconds.
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (tested := signatures_of_a_test())[1] != count:
            assert time.monotonic() < deadline
        return tested[0]

    rotated = waybill.json("webhooks", "rotate", endpoint["endpoint_id"])
    both = test_with_signatures(2)
    require_signed(both, endpoint["secret"])
    require_signed(both, rotated["secret"])
    over = waybill.json("webhooks", "rotate", endpoint["endpoint_id"], "--overlap", "0")
    require_signed(test_with_signatures(1), over["secret"])


def test_what_waits_for_a_disabled_endpoint_is_sent_when_it_is_enabled(
    waybill: CommandLine, endpoint: dict[str, Any], receiver: Receiver
) -> None:
    # Of the test alone: what other tests have left may have an event meanwhile.
    receiver.answer(Answer(status=410), times=1, when=is_test)
    gone = waybill.json("webhooks", "test", endpoint["endpoint_id"], expect=1)
    assert gone["state"] == "pending"
    listed = {one["endpoint_id"]: one for one in waybill.json("webhooks", "list")["endpoints"]}
    assert listed[endpoint["endpoint_id"]]["state"] == "disabled"
    assert waybill.json("webhooks", "enable", endpoint["endpoint_id"])["state"] == "enabled"
    first, second = receiver.wait_for(2, when=is_test)
    assert first.event_id == second.event_id == gone["event_id"]
    assert first.body == second.body


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://10.0.0.1/", "AddressRefused"),
        ("http://169.254.169.254/latest/meta-data", "AddressRefused"),
        ("http://[::ffff:10.0.0.1]/", "AddressRefused"),
        ("ftp://example.org/", "InvalidWebhookUrl"),
        ("https://user:word@example.org/", "InvalidWebhookUrl"),
        ("no address", "InvalidWebhookUrl"),
    ],
)
def test_an_address_that_must_not_be_reached_is_refused_everywhere(
    waybill: CommandLine, tmp_path: Path, url: str, code: str
) -> None:
    assert waybill.json("webhooks", "add", url, expect=2)["error"]["code"] == code
    refused = waybill.json("process", document(tmp_path), "--webhook-url", url, expect=2)
    assert refused["error"]["code"] == code


def test_this_machine_is_reached_where_the_operator_has_named_it_on_the_command_line(
    waybill: CommandLine, receiver: Receiver, database_url: str
) -> None:
    url = receiver.url("/named").replace("127.0.0.1", "localhost")
    added = waybill.json("webhooks", "add", url)
    assert added["loopback_allowed"]
    assert waybill.json("webhooks", "test", added["endpoint_id"])["state"] == "delivered"
    waybill.run("webhooks", "remove", added["endpoint_id"])
    # Over HTTP, the same address is refused, also to an admin key.
    headers = {"Authorization": f"Bearer {(waybill.home / 'api-key').read_text().strip()}"}
    with httpx.Client(base_url=waybill.gateway, headers=headers, timeout=PATIENCE_SECONDS) as client:
        for answer in (
            client.post("/api/v1/webhooks/endpoints", json={"url": url}),
            client.post("/api/v1/webhooks/endpoints", json={"url": receiver.url()}),
            client.post("/api/v1/ingest/file", files={"file": b"text"}, data={"webhook_url": receiver.url()}),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "AddressRefused")
    # The setting decides alone, and so it does where the database is not the home's own.
    for elsewhere in (
        waybill.with_environment(WAYBILL_ALLOW_PRIVATE_WEBHOOKS="off"),
        waybill.with_environment(WAYBILL_DATABASE_URL=database_url),
    ):
        assert elsewhere.json("webhooks", "add", url, expect=2)["error"]["code"] == "AddressRefused"


def test_wrong_use_is_told(waybill: CommandLine, receiver: Receiver) -> None:
    unknown = "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"
    for arguments, expect, code in (
        (("webhooks", "add", receiver.url(), "--events", "everything"), 2, "InvalidOptions"),
        (("webhooks", "add", receiver.url(), "--secret", "whsec_visible"), 2, "InvalidOptions"),
        (("webhooks", "test", unknown), 1, "EndpointNotFound"),
        (("webhooks", "rotate"), 2, "InvalidOptions"),
        (("webhooks", "deliveries", unknown), 1, "DeliveryNotFound"),
        (("webhooks", "deliveries", "--state", "lost"), 2, "InvalidOptions"),
        (("webhooks", "replay"), 2, "InvalidOptions"),
        (("webhooks", "replay", unknown), 1, "DeliveryNotFound"),
        (("webhooks", "replay", "--since", "yesterday"), 2, "InvalidOptions"),
        (("webhooks", "replay", "--since", "2026-01-01T00:00:00"), 2, "InvalidOptions"),
    ):
        assert waybill.json(*arguments, expect=expect)["error"]["code"] == code, arguments


def test_a_secret_of_ones_own_comes_from_standard_input(waybill: CommandLine, receiver: Receiver) -> None:
    own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    made = json.loads(
        waybill.run("webhooks", "add", receiver.url(), "--secret", "-", "--json", given=f"{own}\n").stdout
    )
    waybill.run("webhooks", "test", made["endpoint_id"])
    require_signed(receiver.received(is_test)[0], own)
    waybill.run("webhooks", "remove", made["endpoint_id"])
    short = waybill.run("webhooks", "add", receiver.url(), "--secret", "-", given="whsec_c2hvcnQ=\n", expect=2)
    assert "c2hvcnQ" not in short.stderr
