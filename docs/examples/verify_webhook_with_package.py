"""Check that a webhook comes from Waybill with the package `standardwebhooks` (or `svix.webhooks`, the same way)."""

from typing import Any

from standardwebhooks import Webhook


def verified(secret: str, headers: dict[str, str], body: bytes) -> Any:
    """The event in `body`. Raises `standardwebhooks.WebhookVerificationError`."""
    return Webhook(secret).verify(body, headers)
