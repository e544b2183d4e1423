"""The form of a run: each field is described, and each number has bounds, so that Prefect refuses others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from prefect import Flow
from prefect.utilities.callables import parameter_schema

from flows.expire import expire_artifacts
from flows.export import export_table
from flows.history import trim_history
from flows.process import process_documents
from flows.webhooks import deliver_webhooks, reconcile_events

FLOWS = [process_documents, deliver_webhooks, reconcile_events, expire_artifacts, trim_history, export_table]


def _numbers(schema: object, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if schema.get("type") in ("integer", "number"):
            yield path, schema
        for name, part in schema.items():
            yield from _numbers(part, f"{path}/{name}")
    elif isinstance(schema, list):
        for part in schema:
            yield from _numbers(part, path)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_every_number_in_the_served_schema_has_bounds(flow: Flow[..., Any]) -> None:
    for path, number in _numbers(parameter_schema(flow).model_dump()):
        low = number.get("minimum", number.get("exclusiveMinimum"))
        high = number.get("maximum", number.get("exclusiveMaximum"))
        assert low is not None and high is not None, path
        assert -(2**63) <= low < high < 2**63, path


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_every_field_is_described(flow: Flow[..., Any]) -> None:
    for name, field in parameter_schema(flow).model_dump()["properties"].items():
        assert field.get("description"), name
