"""The stage key: equal keys mean equal outputs; pure.

sha256 over canonical JSON of everything that decides a stage's output: its name and version, its options, its declared
`identity`, and the sha256 of each input. Names of documents are not part of it, so the same content is processed once,
whatever it is called.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, cast

from pydantic_core import to_jsonable_python

from tasks.contract import Services, Stage, StageOptions


def stage_key(stage: Stage[Any], options: StageOptions, services: Services, inputs: Mapping[str, str]) -> str:
    """Return the key (64 hex digits) of *stage* on *inputs*, a mapping from stage name (or `SOURCE`) to sha256."""
    return key_of(stage_material(stage, options, services), inputs)


def stage_material(stage: Stage[Any], options: StageOptions, services: Services) -> Mapping[str, Any]:
    """Return what the keys of *stage* on any inputs have in common, for `key_of`."""
    identity: Mapping[str, str] = stage.identity(options, services) if stage.identity else {}
    return {
        "stage": stage.name,
        "version": stage.version,
        "options": {name: _ordered(value) for name, value in options.model_dump().items()},
        "identity": dict(identity),
    }


def key_of(material: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """Return the key of the stage with this *material* on *inputs*."""
    return hashlib.sha256(_canonical({**material, "inputs": dict(inputs)}).encode()).hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _ordered(value: Any) -> Any:
    """Return *value* in JSON types; sets, whose order differs between processes, are sorted."""
    if isinstance(value, Mapping):
        return {str(_ordered(key)): _ordered(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, AbstractSet):
        return sorted((_ordered(item) for item in cast("AbstractSet[Any]", value)), key=_canonical)
    if isinstance(value, (list, tuple)):
        return [_ordered(item) for item in cast("list[Any]", value)]
    return to_jsonable_python(value)
