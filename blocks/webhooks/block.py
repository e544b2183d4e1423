"""The `webhook-endpoint` block: an endpoint that is kept in Prefect, by its UI or in code.

Owns the fields and what is wrong with them. Whether the address may be reached is decided where webhooks are sent: the
machine that a block is saved on may see other networks. Endpoints follow saved blocks; nothing is sent from here.
"""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, SecretStr, field_validator

from blocks.errors import WaybillError
from blocks.webhooks.event_types import EVENT_TYPES, check_event_types
from blocks.webhooks.secrets import secret_bytes
from blocks.webhooks.send.address import parse_webhook_url


class WebhookEndpoint(Block):
    """Whom Waybill tells what happens."""

    _block_type_name = "Webhook Endpoint"
    _block_type_slug = "webhook-endpoint"
    _description = "An address that Waybill tells what happens to runs and documents, with signed webhooks."
    _logo_url = None

    # A URL may hold a token in its query, and pydantic quotes what it refuses.
    model_config = ConfigDict(hide_input_in_errors=True)

    url: str = Field(
        description="Where to send: https://host/path. Private networks have to be allowed where Waybill runs.",
        examples=["https://hooks.example.com/waybill"],
    )
    events: list[str] | None = Field(
        default=None,
        description=f"The events to be told; all of them when left empty. There are {', '.join(EVENT_TYPES)}.",
    )
    secret: SecretStr | None = Field(
        default=None,
        description="What webhooks are signed with: whsec_ and base64 of 24 to 64 random bytes. Without it one is "
        "made; 'waybill webhooks rotate' shows a new one. When it is exchanged here, both sign for a day.",
    )
    description: str = Field(default="", description="A word for people on what is behind it.")

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        try:
            parse_webhook_url(value)
        except WaybillError as exc:
            raise ValueError(exc.message) from exc
        return value

    @field_validator("events")
    @classmethod
    def _exist(cls, value: list[str] | None) -> list[str] | None:
        try:
            return check_event_types(value) if value else None
        except WaybillError as exc:
            raise ValueError(exc.message) from exc

    @field_validator("secret")
    @classmethod
    def _is_a_secret(cls, value: SecretStr | None) -> SecretStr | None:
        # An empty field of the UI is none.
        if value is None or not value.get_secret_value():
            return None
        try:
            secret_bytes(value.get_secret_value())
        except WaybillError as exc:
            raise ValueError(exc.message) from exc
        return value
