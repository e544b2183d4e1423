"""The Prefect block `webhook-endpoint`: an endpoint that is edited in Prefect's UI or in code.

Owns the fields and their validation. Whether the URL may be reached is checked where webhooks are sent: the machine
that saves a block may be in another network. `flows.events.endpoint_blocks` syncs endpoints with saved blocks.
"""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, SecretStr, field_validator

from blocks.errors import WaybillError
from blocks.webhooks.event_types import EVENT_TYPES, check_event_types
from blocks.webhooks.secrets import secret_bytes
from blocks.webhooks.send.address import parse_webhook_url


class WebhookEndpoint(Block):
    """An endpoint that Waybill sends signed webhooks to."""

    _block_type_name = "Webhook Endpoint"
    _block_type_slug = "webhook-endpoint"
    _description = "A URL that receives signed webhooks about runs and documents of Waybill."
    _logo_url = None

    # A URL may hold a token in its query, and pydantic quotes what it refuses.
    model_config = ConfigDict(hide_input_in_errors=True)

    url: str = Field(
        description="The URL to send to: https://host/path. Private networks must be allowed where Waybill runs.",
        examples=["https://hooks.example.com/waybill"],
    )
    events: list[str] | None = Field(
        default=None,
        description=f"The event types to send; all of them when left empty. They are {', '.join(EVENT_TYPES)}.",
    )
    secret: SecretStr | None = Field(
        default=None,
        description="The secret that webhooks are signed with: whsec_ and base64 of 24 to 64 random bytes. Without it, "
        "one is generated; 'waybill webhooks rotate' shows a new one. After a change here, both sign for a day.",
    )
    description: str = Field(default="", description="A note for people: what receives the events.")

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
        # The UI sends an empty field as an empty text.
        if value is None or not value.get_secret_value():
            return None
        try:
            secret_bytes(value.get_secret_value())
        except WaybillError as exc:
            raise ValueError(exc.message) from exc
        return value
