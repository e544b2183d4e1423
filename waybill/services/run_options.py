"""Parse the stages and the options that a run is asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import ValidationError

from blocks.errors import InvalidOptions
from blocks.json_cleaning import cleaned

# A stage's number has one digit, and those of extra stages two.
_RANGE = re.compile(r"([0-9]{1,2})(?:-([0-9]{1,2}))?")

# Pydantic's own words for these are about its models.
_REASONS = {"extra_forbidden": "there is no such stage or option"}


def read_stages(text: str) -> list[int]:
    """Return [1, 2, 3, 5] for ``1-3,5``. Raises `InvalidOptions`, also when a stage would have nothing to read."""
    numbers: set[int] = set()
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            raise _unreadable(text)
        numbers.update(range(int(found[1]), int(found[2] or found[1]) + 1))
    if not numbers:
        raise _unreadable(text)
    from tasks.registry import check_inputs, select_stages

    chosen = select_stages(sorted(numbers))
    check_inputs(chosen)
    return [stage.number for stage in chosen]


def read_options(text: str, what: str) -> dict[str, Any]:
    """Return options from a JSON object with one entry per stage, checked against their schema; errors name *what*.

    Keys are stage names, with ``-`` or ``_``. Raises `InvalidOptions`.
    """
    return check_options(_read_object(text, what), what)


def read_options_and_run_on(text: str, what: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the same, and what its entry ``run_on`` holds, checked too; None without one."""
    raw = _read_object(text, what)
    given = raw.pop("run_on", None)
    return check_options(raw, what), None if given is None else _checked_run_on(given, f"run_on in {what}")


def read_run_on_json(text: str) -> dict[str, Any]:
    """Return the remote workers of stages from a JSON object. Raises `InvalidOptions`."""
    return _checked_run_on(_read_object(text, "run_on"), "run_on")


def read_run_on_pairs(pairs: Sequence[str]) -> dict[str, Any]:
    """Return the same from texts like ``chunker=gpu-pool``. Raises `InvalidOptions`."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, label = pair.partition("=")
        if not equals:
            raise InvalidOptions(f"--run-on is a stage and a label such as chunker=gpu-pool, not {pair[:40]!r}")
        found[name.strip()] = label.strip()
    return _checked_run_on(found, "--run-on")


def check_remote_stages(run_on: Mapping[str, Any] | None, options: Mapping[str, Any]) -> None:
    """Refuse stages that run at home only, as far as that is known before the run. Raises `InvalidOptions`."""
    if not run_on:
        return
    from tasks.registry import all_stages, option_name, options_model
    from tasks.remote.run_on import check_run_on, read_run_on

    given = options_model().model_validate(dict(options))
    check_run_on(read_run_on(run_on), {stage.name: getattr(given, option_name(stage)) for stage in all_stages()})


def _checked_run_on(given: Any, what: str) -> dict[str, Any]:
    """Return *given* as a parameter of a run, with the names of the stages as they are."""
    if not isinstance(given, dict):
        raise InvalidOptions(f"{what} must hold an object with one entry per stage")
    from tasks.remote.run_on import read_run_on

    places = read_run_on(cast("dict[str, Any]", given), what)
    return {name: place.model_dump(mode="json") for name, place in places.items()}


def _read_object(text: str, what: str) -> dict[str, Any]:
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidOptions(f"{what} is not JSON: {exc}") from exc
    if not isinstance(raw, dict):
        raise InvalidOptions(f"{what} must hold an object with one entry per stage")
    return cast("dict[str, Any]", raw)


def check_options(raw: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Return options by stage, checked against their schema. Raises `InvalidOptions`, which names *what*."""
    from tasks.registry import options_model

    named = {str(key).replace("-", "_"): value for key, value in raw.items()}
    try:
        options_model().model_validate(named)
    except ValidationError as exc:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {_REASONS.get(e['type'], e['msg'])}" for e in exc.errors()
        )
        raise InvalidOptions(f"{what} does not fit the stages' options: {problems}") from exc

    def check(leaf: Any) -> Any:
        # Prefect keeps a run's parameters in a form that has no place for it, and would only say that it cannot.
        if isinstance(leaf, str) and "\0" in leaf:
            raise InvalidOptions(f"{what} holds U+0000, which no option means anything by")
        return leaf

    cleaned(named, leaf=check)
    return named


def _unreadable(text: str) -> InvalidOptions:
    return InvalidOptions(f"stages are numbers and ranges such as 1-5 or 1,3-5, not {text[:40]!r}")
