"""The stages, in order. A further stage is one file and one line here, or one name in the environment.

`WAYBILL_EXTRA_STAGES=package.module:STAGE` adds stages without touching this file; the module must be importable by the
flow and by its worker processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, cast

from pydantic import Field, create_model

from blocks.errors import InvalidOptions, InvalidSettings
from blocks.settings import current_settings
from tasks.chunk import CHUNK
from tasks.contract import Stage, StageOptions
from tasks.convert import CONVERT
from tasks.facts import FACTS
from tasks.ingest import INGEST
from tasks.optimize import OPTIMIZE

AnyStage = Stage[Any]

BUILT_IN: tuple[AnyStage, ...] = (CONVERT, OPTIMIZE, CHUNK, FACTS, INGEST)


@lru_cache(maxsize=1)
def all_stages() -> tuple[AnyStage, ...]:
    """Return every stage by rising number. Raises `InvalidSettings` when two share a number or a name."""
    stages = sorted((*BUILT_IN, *map(_load, current_settings().extra_stages)), key=lambda stage: stage.number)
    for label, values in (("number", [str(s.number) for s in stages]), ("name", [s.name for s in stages])):
        doubled = [value for value in values if values.count(value) > 1]
        if doubled:
            raise InvalidSettings(f"two stages share the {label} {doubled[0]}; give each its own")
    return tuple(stages)


def stage_named(name: str) -> AnyStage:
    """Return the stage called *name*. Raises `InvalidOptions`."""
    for stage in all_stages():
        if stage.name == name:
            return stage
    raise InvalidOptions(f"there is no stage {name!r}; known are {', '.join(s.name for s in all_stages())}")


def select_stages(numbers: Sequence[int] | None) -> tuple[AnyStage, ...]:
    """Return the stages with these numbers in running order; all of them for None. Raises `InvalidOptions`."""
    stages = all_stages()
    if numbers is None:
        return stages
    known = {stage.number for stage in stages}
    unknown = sorted(set(numbers) - known)
    if unknown or not numbers:
        described = ", ".join(f"{stage.number} {stage.name}" for stage in stages)
        raise InvalidOptions(f"no such stage: {unknown or 'none given'}; known are {described}")
    return tuple(stage for stage in stages if stage.number in set(numbers))


def option_name(stage: AnyStage) -> str:
    """Return the name of a stage's options in `options_model`: ``fact-generator`` -> ``fact_generator``."""
    return stage.name.replace("-", "_")


def options_model() -> type[StageOptions]:
    """Return a model with a field per stage, from whose JSON schema a form can be drawn."""
    fields: dict[str, Any] = {
        option_name(stage): (
            stage.options,
            Field(default_factory=stage.options, description=f"Stage {stage.number}, {stage.name}"),
        )
        for stage in all_stages()
    }
    return create_model("ProcessOptions", __base__=StageOptions, **fields)


def _load(reference: str) -> AnyStage:
    module, _, attribute = reference.partition(":")
    try:
        stage = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as exc:
        raise InvalidSettings(f"WAYBILL_EXTRA_STAGES names {reference!r}, which cannot be imported: {exc}") from exc
    if not isinstance(stage, Stage):
        raise InvalidSettings(
            f"WAYBILL_EXTRA_STAGES names {reference!r}, which is a {type(stage).__name__}, not a Stage"
        )
    return cast("AnyStage", stage)
