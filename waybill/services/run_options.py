"""Parse the stages and the options that a run is asked for."""

from __future__ import annotations

import json
import re
from typing import Any, cast

from pydantic import ValidationError

from blocks.errors import InvalidOptions
from blocks.json_cleaning import cleaned

# A stage's number has one digit, and those of extra stages two.
_RANGE = re.compile(r"([0-9]{1,2})(?:-([0-9]{1,2}))?")


def read_stages(text: str) -> list[int]:
    """Return [1, 2, 3, 5] for ``1-3,5``. Raises `InvalidOptions`."""
    numbers: set[int] = set()
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            raise _unreadable(text)
        numbers.update(range(int(found[1]), int(found[2] or found[1]) + 1))
    if not numbers:
        raise _unreadable(text)
    from tasks.registry import select_stages

    return [stage.number for stage in select_stages(sorted(numbers))]


def read_options(text: str, what: str) -> dict[str, Any]:
    """Return options from a JSON object with one entry per stage, checked against their schema; errors name *what*.

    Keys are stage names, with ``-`` or ``_``. Raises `InvalidOptions`.
    """
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidOptions(f"{what} is not JSON: {exc}") from exc
    if not isinstance(raw, dict):
        raise InvalidOptions(f"{what} must hold an object with one entry per stage")
    from tasks.registry import options_model

    named = {str(key).replace("-", "_"): value for key, value in cast("dict[Any, Any]", raw).items()}
    try:
        options_model().model_validate(named)
    except ValidationError as exc:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors())
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
