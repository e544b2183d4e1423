"""The OpenAPI document as a page shows it: operations by subject, with their parameters, bodies and answers; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

Schema = Mapping[str, Any]
_METHODS = ("get", "head", "post", "put", "patch", "delete")
# A list of a list of a type is the deepest that the API has.
_MOST_LEVELS = 6


@dataclass(frozen=True, kw_only=True)
class Field:
    """A parameter of an operation, or a field of a body."""

    name: str
    place: str
    kind: str
    is_required: bool
    description: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A status that an operation answers with."""

    status: str
    description: str
    fields: Sequence[Field]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path."""

    anchor: str
    method: str
    path: str
    summary: str
    description: str
    needs_key: bool
    parameters: Sequence[Field]
    body_type: str
    body: Sequence[Field]
    answers: Sequence[Answer]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The operations that share a tag."""

    name: str
    operations: Sequence[Operation]


def api_reference(document: Schema) -> list[Subject]:
    """Return the operations of an OpenAPI *document* by their first tag, in the order of the document."""
    found: dict[str, list[Operation]] = {}
    for path, methods in cast("Mapping[str, Schema]", document["paths"]).items():
        for method in _METHODS:
            if method in methods:
                operation = cast("Schema", methods[method])
                tag = str((operation.get("tags") or ["other"])[0])
                found.setdefault(tag, []).append(_operation(document, path, method, operation))
    return [Subject(name=name, operations=operations) for name, operations in found.items()]


def _operation(document: Schema, path: str, method: str, operation: Schema) -> Operation:
    summary = str(operation.get("summary", ""))
    described = " ".join(str(operation.get("description", "")).split())
    content = cast("Schema", cast("Schema", operation.get("requestBody") or {}).get("content") or {})
    body_type = next(iter(content), "")
    return Operation(
        anchor=str(operation.get("operationId", f"{method}-{path}")),
        method=method.upper(),
        path=path,
        summary=summary,
        description=described.removeprefix(summary).strip(),
        needs_key=bool(operation.get("security")),
        parameters=[
            Field(
                name=str(one["name"]),
                place=str(one["in"]),
                kind=_kind(document, _schema(one)),
                is_required=bool(one.get("required")),
                description=str(one.get("description") or _schema(one).get("description") or ""),
            )
            for one in cast("list[Schema]", operation.get("parameters") or [])
        ],
        body_type=body_type,
        body=_fields(document, _schema(content[body_type])) if body_type else [],
        answers=[
            _answer(document, status, answer)
            for status, answer in sorted(cast("Mapping[str, Schema]", operation["responses"]).items())
        ],
    )


def _schema(described: Schema) -> Schema:
    return cast("Schema", described.get("schema") or {})


def _answer(document: Schema, status: str, answer: Schema) -> Answer:
    content = cast("Schema", answer.get("content") or {})
    schema = cast("Schema", cast("Schema", content.get("application/json") or {}).get("schema") or {})
    fields = _fields(document, schema) if status.startswith("2") else []
    return Answer(status=status, description=str(answer.get("description", "")), fields=fields)


def _fields(document: Schema, schema: Schema) -> list[Field]:
    """Return the fields of an object; those of all choices where there are several."""
    found: dict[str, Field] = {}
    for one in _objects(document, schema, 0):
        required = set(cast("list[str]", one.get("required") or []))
        for name, field in cast("Mapping[str, Schema]", one.get("properties") or {}).items():
            found.setdefault(
                name,
                Field(
                    name=name,
                    place="body",
                    kind=_kind(document, field),
                    is_required=name in required,
                    description=str(field.get("description") or ""),
                ),
            )
    return list(found.values())


def _objects(document: Schema, schema: Schema, level: int) -> Iterator[Schema]:
    schema = _resolved(document, schema)
    if level > _MOST_LEVELS:
        return
    if "properties" in schema:
        yield schema
    for choice in _choices(schema):
        yield from _objects(document, choice, level + 1)


def _kind(document: Schema, schema: Schema, level: int = 0) -> str:
    """Return the type of a value in a few words: ``list of string``, ``integer or null``."""
    title = str(schema.get("$ref", "")).rpartition("/")[2]
    schema = _resolved(document, schema)
    if level > _MOST_LEVELS:
        return "value"
    if choices := _choices(schema):
        return " or ".join(dict.fromkeys(_kind(document, choice, level + 1) for choice in choices))
    if "enum" in schema:
        return " or ".join(str(value) for value in cast("list[Any]", schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    kind = schema.get("type", "value")
    if kind == "array":
        return f"list of {_kind(document, schema.get('items') or {}, level + 1)}"
    if kind == "object":
        return title or "object"
    return str(schema.get("format") or kind)


def _choices(schema: Schema) -> list[Schema]:
    return [*(schema.get("anyOf") or []), *(schema.get("oneOf") or []), *(schema.get("allOf") or [])]


def _resolved(document: Schema, schema: Schema) -> Schema:
    """Return what *schema* refers to within the document."""
    for _ in range(_MOST_LEVELS):
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            break
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        schema = cast("Schema", found)
    return schema
