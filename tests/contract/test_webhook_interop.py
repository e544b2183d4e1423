"""What Waybill signs is verified by the packages that consumers use, and by the examples of the documentation (W14)."""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks

from blocks.webhooks.secrets import new_secret, secret_bytes
from blocks.webhooks.send.address import AddressGuard
from blocks.webhooks.send.client import EndpointClient
from tests.webhooks import Receiver, running_receiver
from tests.webhooks.node_packages import node_packages, run_node

EXAMPLES = Path(__file__).parents[2] / "docs/examples"
RUNNER = Path(__file__).parents[1] / "webhooks/verify_with_packages.mjs"
GUARD = AddressGuard((ip_network("127.0.0.0/8"),))

NEW, OLD, OTHER = new_secret(), new_secret(), new_secret()
BODY = json.dumps({"event_type": "task_completed", "source_file": "Bücher 📚.pdf"}, ensure_ascii=False).encode()


@dataclass(frozen=True, kw_only=True)
class Case:
    """What arrived, with the secret that the consumer has, and whether it is to be believed."""

    name: str
    secret: str
    headers: dict[str, str]
    body: bytes
    genuine: bool


@pytest.fixture
async def cases() -> AsyncIterator[list[Case]]:
    """Real requests, and what an attacker or a wrong clock makes of them; to be verified within two minutes."""
    with running_receiver() as receiver:
        single = await arrived(receiver, [NEW])
        overlap = await arrived(receiver, [NEW, OLD])
        late = await arrived(receiver, [NEW], clock=lambda: datetime.now(UTC) - timedelta(minutes=6))
        early = await arrived(receiver, [NEW], clock=lambda: datetime.now(UTC) + timedelta(minutes=7))
        nearly_late = await arrived(receiver, [NEW], clock=lambda: datetime.now(UTC) - timedelta(minutes=3))
        yield [
            Case(name="signed", secret=NEW, headers=single, body=BODY, genuine=True),
            Case(name="without the prefix", secret=NEW[6:], headers=single, body=BODY, genuine=True),
            Case(name="overlap, new secret", secret=NEW, headers=overlap, body=BODY, genuine=True),
            Case(name="overlap, old secret", secret=OLD, headers=overlap, body=BODY, genuine=True),
            Case(name="three minutes ago", secret=NEW, headers=nearly_late, body=BODY, genuine=True),
            Case(name="another secret", secret=OTHER, headers=overlap, body=BODY, genuine=False),
            Case(name="another body", secret=NEW, headers=single, body=BODY + b" ", genuine=False),
            Case(name="another id", secret=NEW, headers=single | {"webhook-id": "evt_2"}, body=BODY, genuine=False),
            Case(name="another time", secret=NEW, headers=shifted(single), body=BODY, genuine=False),
            Case(name="too late", secret=NEW, headers=late, body=BODY, genuine=False),
            Case(name="too early", secret=NEW, headers=early, body=BODY, genuine=False),
            *(
                Case(name=f"without {gone}", secret=NEW, headers=without(single, gone), body=BODY, genuine=False)
                for gone in ("webhook-id", "webhook-timestamp", "webhook-signature")
            ),
        ]


async def arrived(receiver: Receiver, secrets: list[str], **options: Any) -> dict[str, str]:
    """The headers of a webhook that the client has sent."""
    client = EndpointClient(receiver.url(), guard=GUARD, **options)
    attempt = await client.send(event_id="evt_1", body=BODY, keys=[secret_bytes(secret) for secret in secrets])
    await client.aclose()
    assert attempt.succeeded
    assert receiver.requests[-1].body == BODY
    return receiver.requests[-1].headers


def shifted(headers: dict[str, str]) -> dict[str, str]:
    return headers | {"webhook-timestamp": str(int(time.time()) - 2)}


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key != name}


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def passes(verify: Callable[[], Any]) -> bool:
    try:
        verify()
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


def test_python_packages_and_examples_verify_what_is_sent(cases: list[Case]) -> None:
    plain, packaged = example("verify_webhook"), example("verify_webhook_with_package")
    for case in cases:
        said = {
            "standardwebhooks": passes(
                lambda case=case: standardwebhooks.Webhook(case.secret).verify(case.body, case.headers)
            ),
            "svix": passes(lambda case=case: svix.webhooks.Webhook(case.secret).verify(case.body, case.headers)),
            "example": plain.is_genuine(case.secret, case.headers, case.body),
            "example with package": passes(lambda case=case: packaged.verified(case.secret, case.headers, case.body)),
        }
        assert said == dict.fromkeys(said, case.genuine), case.name


@pytest.fixture
def packages() -> Path:
    """To be asked for before the requests are made: it may have to be installed first."""
    return node_packages()


def test_npm_packages_and_examples_verify_what_is_sent(packages: Path, cases: list[Case], tmp_path: Path) -> None:
    # Where a user would have them: beside the packages that they import.
    for path in EXAMPLES.glob("*.mjs"):
        shutil.copy(path, tmp_path)
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    given = [
        {"secret": case.secret, "headers": case.headers, "body": base64.b64encode(case.body).decode()} for case in cases
    ]
    printed = run_node(RUNNER, str(packages), str(tmp_path), stdin=json.dumps(given))
    for case, said in zip(cases, json.loads(printed), strict=True):
        assert len(said) == 4 and said == dict.fromkeys(said, case.genuine), case.name


@pytest.mark.parametrize("signature", ["", "v1,", "v1,é", "v1", "v1a,AAAA", "x" * 10_000, "v1,AAAA " * 1000])
def test_the_example_is_not_upset_by_nonsense(cases: list[Case], signature: str) -> None:
    is_genuine = example("verify_webhook").is_genuine
    headers = cases[0].headers
    assert not is_genuine(NEW, headers | {"webhook-signature": signature}, BODY)
    for timestamp in ("", "-1", "１", "1e9", "9" * 5000, "nan"):
        assert not is_genuine(NEW, headers | {"webhook-timestamp": timestamp}, BODY)
