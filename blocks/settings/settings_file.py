"""``waybill.toml``: settings in a file, named like their variables in lower case and without ``WAYBILL_``.

Owns reading the file and its errors, which name file and key and never a value: it may be secret. Refuses unknown
names, so that a typing error is not taken for a default. Paths in the file are relative to it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from datetime import date, time
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from blocks.errors import InvalidSettings
from blocks.json_cleaning import cleaned

FILE_NAME = "waybill.toml"

PATHS = ("home", "storage_identity_file", "link_keys_file", "webhook_identity_file", "worker_home")
# Paths that may also be URLs.
STORAGE_PATHS = ("storage_url", "export_storage_path")
_LISTS_OF_PATHS = ("allowed_sources",)

# More than all settings together; a larger file was named by mistake.
_MOST_BYTES = 1024 * 1024
# A name in a message needs to be recognised, not complete.
_SHOWN_CHARS = 40
_POSITION = re.compile(r"line \d+, column \d+")


def read_settings_file(path: Path, known: Collection[str]) -> dict[str, Any]:
    """Return the values of the file at *path* for the *known* settings that it names.

    An empty text counts as absent, as an empty variable does. Raises `InvalidSettings`.
    """
    found = _parsed(path)
    if unknown := [name for name in found if name not in known]:
        raise InvalidSettings(f"{path}: {'; '.join(_unknown(name, known) for name in unknown)}")
    return {name: _value(path, name, value) for name, value in found.items() if value != ""}


def _parsed(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except FileNotFoundError as exc:
        raise InvalidSettings(f"there is no settings file {path}; WAYBILL_CONFIG names it") from exc
    except (OSError, ValueError) as exc:  # a path with U+0000 is a ValueError
        why = exc.strerror if isinstance(exc, OSError) else "no path looks like this"
        raise InvalidSettings(f"cannot read the settings file {path}: {why}") from exc
    if len(content) > _MOST_BYTES:
        raise InvalidSettings(f"{path} is too long for a settings file")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise InvalidSettings(f"{path} is not text in UTF-8, so it is not TOML") from None
    except tomllib.TOMLDecodeError as exc:
        # Without the cause, which may quote the line.
        where = _POSITION.search(str(exc))
        raise InvalidSettings(f"{path} is not TOML: see {where[0] if where else 'its end'}") from None
    except RecursionError:
        raise InvalidSettings(f"{path} is nested too deeply for a settings file") from None


def _value(path: Path, name: str, value: Any) -> Any:
    try:
        value = cleaned(value, leaf=_plain)
    except ValueError as exc:
        raise InvalidSettings(f"{name} in {path}: {exc}") from None
    if name in _LISTS_OF_PATHS and isinstance(value, list):
        return [_relative_to(path, part) if isinstance(part, str) else part for part in cast("list[object]", value)]
    if not isinstance(value, str):
        return value
    is_path = name in PATHS or (name in STORAGE_PATHS and "://" not in value)
    return _relative_to(path, value) if is_path else value


def _relative_to(path: Path, value: str) -> str:
    return value if value.startswith("~") or "://" in value else str(path.parent / value)


def _plain(value: Any) -> Any:
    if isinstance(value, str) and "\0" in value:
        raise ValueError("no setting may hold U+0000")
    if isinstance(value, (date, time)):
        raise ValueError("no setting is a date or a time of day")  # noqa: TRY004 - the caller's type
    return value


def _unknown(name: str, known: Collection[str]) -> str:
    plain = name.lower().replace("-", "_").removeprefix("waybill_")
    near = get_close_matches(plain, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "names are those of the variables, in lower case without WAYBILL_"
    return f"there is no setting {name[:_SHOWN_CHARS]!r}; {hint}"
