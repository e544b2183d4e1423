"""Which stages of a run go to remote workers, and what happens when none comes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blocks.errors import InvalidOptions
from blocks.retention.policy import Period
from blocks.runtime.form_schema import in_order
from blocks.workers import NAME_PATTERN
from tasks.contract import Services, Stage, StageOptions
from tasks.registry import all_stages, option_name


class RunOn(BaseModel):
    """The workers for a stage, and how long to wait for one."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="One stage", json_schema_extra=in_order)

    label: str = Field(pattern=NAME_PATTERN, description="A label that the workers have, such as gpu-pool.")
    wait: Period = Field(
        timedelta(minutes=10),
        description="How long to wait until a worker takes the documents.",
        json_schema_extra={"default": "10m"},  # as a caller writes it; pydantic would write PT10M
    )
    otherwise: Literal["fail", "home"] = Field(
        "fail", description="What happens to documents that no worker has processed: they fail, or are processed here."
    )


def read_run_on(given: Mapping[str, Any], what: str = "run_on") -> dict[str, RunOn]:
    """Return the places by stage name; names may have ``_`` for ``-``. Errors name *what*. Raises `InvalidOptions`."""
    places = {name: _read_place(name, one, what) for name, one in given.items()}
    by_name = {option_name(stage): stage for stage in all_stages()}
    named: dict[str, RunOn] = {}
    for name, place in places.items():
        stage = by_name.get(name.replace("-", "_"))
        if stage is None:
            known = ", ".join(one.name for one in all_stages())
            raise InvalidOptions(f"{what} names the stage {name[:64]!r}, and there is none; known are {known}")
        named[stage.name] = place
    return named


def _read_place(name: str, given: object, what: str) -> RunOn:
    try:
        return RunOn.model_validate({"label": given} if isinstance(given, str) else given)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join([name[:64], *map(str, first["loc"])])
        raise InvalidOptions(
            f"{what} holds a worker's label for each stage, such as gpu-pool, or an object such as "
            f'{{"label": "gpu-pool", "wait": "10m", "otherwise": "home"}}; wrong at {where}: {first["msg"]}'
        ) from exc


def check_run_on(
    places: Mapping[str, RunOn], options: Mapping[str, StageOptions], services: Services | None = None
) -> None:
    """Refuse stages that need what only this home has. *options* by stage name; the default ones where left out.

    Without *services*, a stage that depends on them is taken to have none. Raises `InvalidOptions`.
    """
    for stage in all_stages():
        if stage.name in places and needs_home(stage, options.get(stage.name), services):
            raise InvalidOptions(
                f"run_on: {stage.name} needs the catalogue or the language model's key, which no remote worker has; "
                "leave it out of run_on"
            )


def needs_home(stage: Stage[Any], options: StageOptions | None, services: Services | None) -> bool:
    """Return whether *stage* runs at home only."""
    if stage.needs_home is None:
        return False
    return stage.needs_home(options or cast("StageOptions", stage.options()), services)
