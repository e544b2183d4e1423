"""The form of a run, of every deployment: each field has words and a place, each number has bounds, defaults fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from waybill.stack.deployments import Deployment, read_deployments

PROJECT = Path(__file__).parents[2]
DEPLOYMENTS = read_deployments(PROJECT)


@pytest.fixture(params=DEPLOYMENTS, ids=lambda one: f"{one.entrypoint.split(':')[-1]}-{one.name}")
def deployment(request: pytest.FixtureRequest) -> Deployment:
    return request.param


@pytest.fixture
def schema(deployment: Deployment) -> dict[str, Any]:
    """What a process that serves the deployment sends to Prefect, and `prefect deploy` too."""
    return parameter_schema(load_flow_from_entrypoint(deployment.entrypoint)).model_dump_for_openapi()


def _numbers(schema: object, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(schema, dict):
        if schema.get("type") in ("integer", "number"):
            yield path, schema
        for name, part in schema.items():
            yield from _numbers(part, f"{path}/{name}")
    elif isinstance(schema, list):
        for part in schema:
            yield from _numbers(part, path)


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """The fields of the form, and those of each object in it."""
    yield "parameters", schema["properties"]
    for name, definition in schema.get("definitions", {}).items():
        yield name, definition.get("properties", {})


def test_every_number_has_bounds(schema: dict[str, Any]) -> None:
    for path, number in _numbers(schema):
        low = number.get("minimum", number.get("exclusiveMinimum"))
        high = number.get("maximum", number.get("exclusiveMaximum"))
        assert low is not None and high is not None, path
        assert -(2**63) <= low < high < 2**63, path


def test_every_field_has_a_title_a_description_and_its_place(schema: dict[str, Any]) -> None:
    for where, found in fields(schema):
        for place, (name, field) in enumerate(found.items()):
            assert field.get("title") not in {None, name}, (where, name)
            assert field.get("description"), (where, name)
            assert field.get("position") == place, (where, name)


def test_the_defaults_and_what_the_deployment_presets_are_accepted(
    schema: dict[str, Any], deployment: Deployment
) -> None:
    for where, found in fields(schema):
        given = {name: field["default"] for name, field in found.items() if "default" in field}
        if where == "parameters":
            given |= deployment.parameters
        for name, value in given.items():
            alone = {"type": "object", "properties": {name: found[name]}, "definitions": schema.get("definitions", {})}
            assert validate({name: value}, alone) == [], (where, name)


def test_every_deployment_says_what_it_does(deployment: Deployment) -> None:
    assert deployment.description and deployment.description.endswith(".")
    assert "waybill" in deployment.tags
