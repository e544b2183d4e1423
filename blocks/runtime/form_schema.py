"""What a JSON schema says to the form that is drawn from it: titles, and the order of the fields.

Prefect draws the form of a run from the signature of its flow. It takes the texts from the docstring; the rest is here.
Its database does not keep the order of an object's keys, so each field says its own place.
"""

from __future__ import annotations

from typing import Annotated, Any, cast

from pydantic import Field
from pydantic.config import JsonDict

LeftOut = Annotated[None, Field(title="Left out")]
"""No value, as the form names it; the descriptions say what happens then."""


def shown_as(title: str, **keywords: Any) -> Any:
    """Return the field information of a flow's parameter: its title in the form, and *keywords* of its JSON schema.

    The keywords are for Prefect's API, which refuses other values; the flow gets whatever its type takes.
    """
    return Field(json_schema_extra=cast("JsonDict", {"title": title, **keywords}))


def in_order(schema: JsonDict) -> None:
    """Give each property of an object's *schema* its place; for a model's `ConfigDict(json_schema_extra=...)`."""
    properties = cast("dict[str, JsonDict]", schema.get("properties", {}))
    for place, field in enumerate(properties.values()):
        field.setdefault("position", place)


def without_other_fields(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the *schema* of a flow's parameters, in which a name that the flow does not have is refused."""
    return {**schema, "additionalProperties": False}
