"""Writes the tables of ``docs/stages.md`` that the code decides: each stage's options, and the formats that are read.

    .venv/bin/python docs/stage_tables.py

A table stands between ``<!-- options: STAGE-NAME -->`` or ``<!-- formats -->`` and ``<!-- end -->``. Nothing else of
the page is touched. The test suite fails while page and code differ.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from blocks.filetype.types import ALIASES, SOURCE_CODE, TYPES
from tasks.contract import StageOptions
from tasks.registry import BUILT_IN

PAGE = Path(__file__).with_name("stages.md")

_OPTIONS = re.compile(r"(<!-- options: ([a-z-]+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
_FORMATS = re.compile(r"(<!-- formats -->\n).*?(?=<!-- end -->)", re.DOTALL)
# JSON schema's names of a lowest and a highest value, and what they count.
_RANGES = (("minimum", "maximum", ""), ("minLength", "maxLength", " characters"), ("minItems", "maxItems", " entries"))


def with_current_tables(page: str) -> str:
    """*page* with each table as the code has it now. Raises `KeyError` for a stage that does not exist."""
    options = {stage.name: stage.options for stage in BUILT_IN}
    page = _OPTIONS.sub(lambda found: f"{found[1]}{_option_table(options[found[2]])}", page)
    return _FORMATS.sub(lambda found: f"{found[1]}{_format_table()}", page)


def stages_with_a_table(page: str) -> list[str]:
    """The names of the stages whose options *page* holds, in its order."""
    return [found[2] for found in _OPTIONS.finditer(page)]


def _rows(*rows: tuple[str, ...]) -> str:
    """A GFM table; the first row is its head."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (rows[0], ("---",) * len(rows[0]), *rows[1:]))


def _format_table() -> str:
    families: defaultdict[str, list[str]] = defaultdict(list)
    for extension, file_type in TYPES.items():
        spellings = [extension, *(alias for alias, meant in ALIASES.items() if meant == extension)]
        families[file_type.family].append(f"{file_type.label} ({', '.join(spellings)})")
    families["code"].append(f"source code ({', '.join(SOURCE_CODE)})")
    return _rows(("family", "types"), *((family, "; ".join(types)) for family, types in families.items()))


def _option_table(options: type[StageOptions]) -> str:
    defaults = json.loads(options().model_dump_json())
    rows = [
        (f"`{name}`", _kind(field), f"`{json.dumps(defaults[name])}`", field.get("description", ""))
        for name, field in options.model_json_schema()["properties"].items()
    ]
    return _rows(("option", "value", "default", "meaning"), *rows)


def _kind(field: dict[str, Any]) -> str:
    """What a JSON schema allows, in words: "integer, 1 to 200"."""
    choices = field.get("anyOf", [field])
    return " or ".join(_one_kind(choice) for choice in choices)


def _one_kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " or ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    kind = str(field["type"])
    if kind == "array":
        kind = f"list of {_one_kind(field['items'])}s"
    if isinstance(field.get("additionalProperties"), dict):
        kind = f"object: name to {_one_kind(field['additionalProperties'])}"
    ranges = [_range(field.get(lowest), field.get(highest), what) for lowest, highest, what in _RANGES]
    return ", ".join([kind, *filter(None, ranges)])


def _range(low: float | None, high: float | None, what: str) -> str:
    if low is None and high is None:
        return ""
    if low == high:
        return f"exactly {low}{what}".removesuffix("s" if low == 1 else " ")
    if low is None:
        return f"at most {high}{what}"
    return f"at least {low}{what}" if high is None else f"{low} to {high}{what}"


def main() -> None:
    """Write the current tables into the page."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_current_tables(page), encoding="utf-8")


if __name__ == "__main__":
    main()
