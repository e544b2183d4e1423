"""Every number that a run of a deployed flow can be given has bounds, so that Prefect refuses others at creation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from prefect import Flow
from prefect.utilities.callables import parameter_schema

from flows.process import process_documents
from flows.webhooks import deliver_webhooks, reconcile_events


def _numbers(schema: object, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if schema.get("type") in ("integer", "number"):
            yield path, schema
        for name, part in schema.items():
            yield from _numbers(part, f"{path}/{name}")
    elif isinstance(schema, list):
        for part in schema:
            yield from _numbers(part, path)


@pytest.mark.parametrize("flow", [process_documents, deliver_webhooks, reconcile_events])
def test_every_number_in_the_served_schema_has_bounds(flow: Flow[..., Any]) -> None:
    for path, number in _numbers(parameter_schema(flow).model_dump()):
        low = number.get("minimum", number.get("exclusiveMinimum"))
        high = number.get("maximum", number.get("exclusiveMaximum"))
        assert low is not None and high is not None, path
        assert -(2**63) <= low < high < 2**63, path
