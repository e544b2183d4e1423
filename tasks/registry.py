"""The stages, in order. A further stage is one file and one line here, or one name in the environment.

`WAYBILL_EXTRA_STAGES=package.module:STAGE` adds stages without touching this file; the module must be importable by the
flow and by its worker processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, cast

from pydantic import ConfigDict, Field, create_model

from blocks.errors import InvalidOptions, InvalidSettings
from blocks.settings import current_settings
from tasks.chunk import CHUNK
from tasks.contract import SOURCE, Stage, StageOptions
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


def select_stages(chosen: Sequence[int] | Sequence[str] | None) -> tuple[AnyStage, ...]:
    """Return the *chosen* stages, by number or name, in running order; all for None. Raises `InvalidOptions`."""
    stages = all_stages()
    if chosen is None:
        return stages
    wanted = set[int | str](chosen)
    unknown = wanted - {stage.number for stage in stages} - {stage.name for stage in stages}
    if unknown or not wanted:
        described = ", ".join(f"{stage.number} {stage.name}" for stage in stages)
        raise InvalidOptions(f"no such stage: {sorted(map(str, unknown)) or 'none given'}; known are {described}")
    return tuple(stage for stage in stages if {stage.number, stage.name} & wanted)


def check_inputs(chosen: Sequence[AnyStage]) -> None:
    """Raise `InvalidOptions` when one of the *chosen* stages, in running order, reads what none before it makes."""
    made = {SOURCE}
    for stage in chosen:
        for read in stage.reads:
            if read.required and not made & {*read.any_of}:
                raise InvalidOptions(
                    f"stage {stage.number} {stage.name} reads the output of {' or '.join(read.any_of)}, which these "
                    f"stages do not make: choose the earlier ones too, such as 1-{stage.number}; what is stored of "
                    "them is reused"
                )
        made.add(stage.name)


def stage_schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the JSON schemas of a stage's name and of its number: each lists what there is, in running order."""
    names, numbers = zip(*((stage.name, stage.number) for stage in all_stages()), strict=True)
    return (
        {"type": "string", "enum": list(names)},
        {"type": "integer", "enum": list(numbers), "minimum": min(numbers), "maximum": max(numbers)},
    )


def option_name(stage: AnyStage) -> str:
    """Return the name of a stage's options in `options_model`: ``fact-generator`` -> ``fact_generator``."""
    return stage.name.replace("-", "_")


def options_model() -> type[StageOptions]:
    """Return a model with a field per stage, from whose JSON schema a form can be drawn."""
    fields: dict[str, Any] = {
        option_name(stage): (
            stage.options,
            Field(
                default_factory=stage.options,
                title=f"{stage.number} {stage.name}",
                description=f"Options of stage {stage.number}.",
            ),
        )
        for stage in all_stages()
    }
    return create_model("ProcessOptions", __base__=_ByStage, **fields)


class _ByStage(StageOptions):
    model_config = ConfigDict(title="By stage")


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
