"""The form of answers about webhooks, and of what is asked for with them: what the OpenAPI document says.

The gateway answers with what endpoints and deliveries say of themselves, as the command line does with ``--json``;
these models describe it, and tests hold one against the other.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from blocks.webhooks.endpoints import EndpointState, Origin
from blocks.webhooks.event_types import EVENT_TYPES
from blocks.webhooks.outbox import DeliveryState
from blocks.webhooks.send.address import MAX_URL_CHARS
from waybill.gateway.http.params import DurationOrNone, Text

EventType = Annotated[Text, Field(json_schema_extra={"enum": list(EVENT_TYPES)})]


class NewEndpoint(BaseModel):
    """Where events are to go."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"url": "https://hooks.example.com/waybill", "events": ["task_completed", "task_failed"]}]
        },
    )

    url: str = Field(max_length=MAX_URL_CHARS, pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://")
    events: list[EventType] | None = Field(
        default=None, min_length=1, max_length=len(EVENT_TYPES), description="Everything where it is left out"
    )
    description: Text = Field(default="", max_length=500, description="A word for people on what is behind it")


class Endpoint(BaseModel):
    """Where events go; without its secret."""

    endpoint_id: UUID
    url: str = Field(examples=["https://hooks.example.com/waybill"])
    events: list[str] | None = Field(examples=[["task_completed"]], description="Null for everything")
    origin: Origin = Field(description="Registered, following a Prefect block, or given with a run")
    name: str | None = Field(description="Of the block")
    description: str
    state: EndpointState
    disabled_because: str | None
    failures: int = Field(description="Failed attempts since something was last taken")
    held_until: datetime | None = Field(description="Nothing is sent there before: it asked for patience, or fails")
    held_because: str | None
    created_at: datetime


class ListedEndpoint(Endpoint):
    """An endpoint and what it has still to take."""

    pending: int = Field(description="Deliveries that wait")
    dead: int = Field(description="Deliveries that were given up")


class EndpointList(BaseModel):
    """Every endpoint that was not removed, oldest first."""

    endpoints: list[ListedEndpoint]


class RegisteredEndpoint(Endpoint):
    """A new endpoint with what is sent to it is signed with: shown now and never again."""

    secret: str = Field(examples=["whsec_..."])


class RotationOptions(BaseModel):
    """How long the old secret is to sign too."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"overlap": "7d"}, {"overlap": 3600}]})

    overlap: DurationOrNone = "24h"


class RotatedSecret(BaseModel):
    """The new secret of an endpoint: shown now and never again."""

    endpoint_id: UUID
    secret: str = Field(examples=["whsec_..."])
    previous_until: datetime = Field(description="Until then everything is signed with both")


class Delivery(BaseModel):
    """One event for one endpoint."""

    delivery_id: UUID
    event_id: str = Field(examples=["evt_0d6b3b52-6f0a-4d7c-9a3c-3d8f6f4e2b1a"])
    event_type: str = Field(examples=["task_completed"])
    task_id: UUID | None
    source_file: str | None
    endpoint_id: UUID
    url: str = Field(examples=["https://hooks.example.com/waybill"])
    state: DeliveryState
    attempts: int = Field(description="In this round; sending again begins a new one")
    created_at: datetime
    due_at: datetime | None = Field(description="When it is tried next")
    settled_at: datetime | None
    last_attempt_at: datetime | None
    last_status: int | None = Field(examples=[204])
    last_milliseconds: float | None
    last_peer: str | None
    last_error: str | None


class Attempt(BaseModel):
    """One try to deliver."""

    started_at: datetime
    milliseconds: float
    status: int | None
    peer: str | None
    error: str | None
    answer: str | None = Field(description="The beginning of what came back")


class DeliveryDetails(Delivery):
    """A delivery with every attempt, oldest first."""

    attempts_made: list[Attempt]


class DeliveryList(BaseModel):
    """One page of deliveries, newest first."""

    deliveries: list[Delivery]
    next: str | None = Field(examples=["MjAyNi0x..."], description="`after` of the next page; null on the last one")


class Replayed(BaseModel):
    """How many deliveries are due again: none when it is still being tried, or its endpoint was removed."""

    replayed: int = Field(examples=[1])


class TestedEndpoint(BaseModel):
    """Which endpoint to send a test to."""

    model_config = ConfigDict(extra="forbid")

    endpoint_id: UUID
