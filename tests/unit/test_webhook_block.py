"""The block `webhook-endpoint`: what it takes, and what it says of what it does not."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from blocks.webhooks.block import WebhookEndpoint
from blocks.webhooks.secrets import new_secret

URL = "https://hooks.example.com/waybill?token=s3cret"


def test_holds_an_endpoint_and_masks_its_secret() -> None:
    secret = new_secret()
    block = WebhookEndpoint.model_validate(
        {"url": URL, "events": ["task_failed", "task_completed"], "secret": secret, "description": "for a test"}
    )
    assert block.events == ["task_completed", "task_failed"]
    assert block.secret is not None and block.secret.get_secret_value() == secret
    assert secret not in repr(block) and secret not in str(block.model_dump(mode="json"))
    assert WebhookEndpoint.get_block_type_slug() == "webhook-endpoint"


@pytest.mark.parametrize("empty", [{}, {"events": None, "secret": None}, {"events": [], "secret": ""}])
def test_empty_fields_mean_everything_and_a_secret_of_its_own(empty: dict[str, Any]) -> None:
    block = WebhookEndpoint.model_validate({"url": URL, **empty})
    assert (block.events, block.secret, block.description) == (None, None, "")


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("url", "ftp://hooks.example.com/?token=s3cret", "begin with https://"),
        ("url", "https://s3cret@hooks.example.com/", "leave out the user name"),
        ("url", "http://127.1/s3cret", "four decimal numbers"),
        ("events", ["task_complete"], "unknown event types: task_complete"),
        ("secret", "s3cret", "a webhook secret is whsec_"),
        ("secret", "whsec_czNjcmV0", "24 to 64 bytes, not 6"),
    ],
)
def test_says_what_is_wrong_and_repeats_no_secret(field: str, value: object, told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        WebhookEndpoint.model_validate({"url": URL, field: value})
    assert told in str(caught.value) and field in str(caught.value)
    assert "s3cret" not in str(caught.value) and "czNj" not in str(caught.value)


def test_private_addresses_are_judged_where_webhooks_are_sent() -> None:
    assert WebhookEndpoint.model_validate({"url": "http://10.0.0.7:8001/"}).url == "http://10.0.0.7:8001/"
