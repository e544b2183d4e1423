"""Parsers of settings: what a variable, a key of the settings file or a caller may give for each kind of value.

Each takes a text or a value that is right already and returns the value, or raises `Unusable` with the expected form,
never with what was given. Plain functions and no pydantic, whose import takes longer than a light command runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, TypeVar, cast

from blocks.durations import parse_duration
from blocks.errors import InvalidOptions

NumberT = TypeVar("NumberT", int, float)
PrivateNetworks = tuple[IPv4Network | IPv6Network, ...]

_TRUE = ("on", "true", "yes", "1", "y", "t")
_FALSE = ("off", "false", "no", "0", "n", "f")
_NETWORK_WORDS: dict[str, PrivateNetworks] = {
    "loopback": (ip_network("127.0.0.0/8"), ip_network("::1/128")),
    **dict.fromkeys(("off", "false", "no", "0"), ()),
    **dict.fromkeys(("on", "true", "yes", "1"), (ip_network("0.0.0.0/0"), ip_network("::/0"))),
}
_INTEGER = re.compile(r"([+-]?[0-9]+(?:_[0-9]+)*)(?:\.0+)?")
_CONNECTION = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
# Bounds the effect of a typing error on an endpoint.
_MAX_ATTEMPTS = 100
# Seven digits, as in the text of a duration.
_MAX_PAUSE_SECONDS = 9_999_999


class Unusable(ValueError):
    """The value of a setting does not have the expected form, which is the message."""


class Secret:
    """A text that does not show where settings are printed."""

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret('...')"


def text(value: object) -> str:
    """Return *value* if it is a string."""
    if not isinstance(value, str):
        raise Unusable(_no_switch(value) or "write a string")
    return value


def secret(value: object) -> Secret:
    """Return *value* as a `Secret`."""
    return value if isinstance(value, Secret) else Secret(text(value))


def path(value: object) -> Path:
    """Return an absolute path; ``~`` is a home folder."""
    if not isinstance(value, (str, Path)):
        raise Unusable(_no_switch(value) or "write a path")
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError as exc:
        raise Unusable("there is no such account whose home folder ~ could mean") from exc


def switch(value: object) -> bool:
    """Return whether a switch is on."""
    word = str(value).lower() if isinstance(value, (str, bool, int)) else ""
    if word not in (*_TRUE, *_FALSE):
        raise Unusable("write a boolean: on or off, true or false")
    return word in _TRUE


def whole_number(least: int, most: int | None = None) -> Callable[[object], int]:
    """Return a parser of integers from *least* to *most*."""
    return _bounded(_integer, least, most)


def number(least: float, most: float | None = None, *, above: bool = False) -> Callable[[object], float]:
    """Return a parser of numbers from *least*, or with *above* from anything above it, to *most*."""
    return _bounded(_number, least, most, above=above)


def texts(value: object) -> tuple[str, ...]:
    """Return several texts, separated by commas or as a list."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if not isinstance(value, (list, tuple)):
        raise Unusable(_no_switch(value) or "write a list of strings, or a string with commas")
    return tuple(map(text, cast("list[object]", value)))


def places(value: object) -> tuple[str, ...]:
    """Return folders and URL prefixes. A folder must be absolute: processes with other working folders read it too."""
    found = texts(value)
    for place in found:
        scheme, is_url, rest = place.partition("://")
        if "\0" in place or "*" in place or "::" in place:
            raise Unusable("write folders and URL prefixes, without wildcards and chains")
        if is_url and scheme.lower() not in {"file", "local"}:
            if rest.startswith("/") or not rest:
                raise Unusable("write URLs with a host or a bucket, such as s3://bucket/prefix or https://host")
        elif not (rest if is_url else place).startswith(("/", "~")):
            raise Unusable("write absolute folders, and URL prefixes such as s3://bucket/prefix or https://host")
    return found


def json_object(value: object) -> dict[str, Any]:
    """Return a JSON object, given as a mapping or as its text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, dict):
        # Without the cause, which may quote a secret.
        raise Unusable(_no_switch(value) or 'write a JSON object, such as {"key": "..."}')
    return cast("dict[str, Any]", value)


def connections(value: object) -> dict[str, Secret]:
    """Return database URLs by name, given as a mapping or as JSON text."""
    found: dict[str, Secret] = {}
    for name, url in json_object(value).items():
        if _CONNECTION.fullmatch(name) is None:
            raise Unusable("name each connection with a letter, then letters, digits, _ or -")
        if not isinstance(url, (str, Secret)) or not url:
            raise Unusable("write the URL of each connection as a string")
        found[name] = secret(url)
    return found


def networks(value: object) -> PrivateNetworks:
    """Return networks, given as such, as words (off, on, loopback) or in CIDR notation."""
    given = cast("Any", value)
    if isinstance(given, tuple):
        return cast("PrivateNetworks", given)
    if given == []:
        return ()
    found: list[IPv4Network | IPv6Network] = []
    try:
        for part in ",".join(_parts(str(given) if isinstance(given, bool) else given)).lower().split(","):
            word = part.strip()
            found += _NETWORK_WORDS[word] if word in _NETWORK_WORDS else [ip_network(word)]
    except ValueError:
        raise Unusable("write off, on, loopback, or networks such as 10.0.0.0/8,fd00::/8") from None
    return tuple(found)


def schedule(value: object) -> tuple[timedelta, ...]:
    """Return the pause before each attempt; an integer in a list is a number of seconds."""
    given = cast("Any", value)
    parts = cast("list[object]", given if isinstance(given, (list, tuple)) else [text(given)])
    pauses = tuple(_pause(piece) for part in parts for piece in (part.split(",") if isinstance(part, str) else [part]))
    if not 1 <= len(pauses) <= _MAX_ATTEMPTS or min(pauses) < timedelta(0):
        raise Unusable(f"1 to {_MAX_ATTEMPTS} attempts, with no pause below 0")
    return pauses


def _pause(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if not abs(value) <= _MAX_PAUSE_SECONDS:
                raise InvalidOptions("the pause is too long or is not a number")
            return timedelta(seconds=value)
        word = text(value).strip()
        return timedelta(0) if word in {"0", "0s"} else parse_duration(word)
    except InvalidOptions:
        raise Unusable("write the pause before each attempt, such as 0,5s,5m,2h") from None


def _parts(value: object) -> list[str]:
    return [value] if isinstance(value, str) else list(texts(value))


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise Unusable(_no_switch(value) or "write a valid integer")
    # A text not by way of a float, which rounds large integers and reads 1e2.
    found = _INTEGER.fullmatch(value.strip()) if isinstance(value, str) else None
    try:
        whole = int(found[1] if found else value)
    except (ValueError, OverflowError):  # also more digits than Python reads, and infinity
        raise Unusable("write a valid integer") from None
    if found is None and whole != value:
        raise Unusable("write a valid integer")
    return whole


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise Unusable(_no_switch(value) or "write a valid number")
    try:
        if isinstance(value, str) and not value.strip().isascii():
            raise ValueError  # Python reads the digits of every script
        return float(value)
    except (ValueError, OverflowError):
        raise Unusable("write a valid number") from None


def _bounded(
    read: Callable[[object], NumberT], least: float, most: float | None, *, above: bool = False
) -> Callable[[object], NumberT]:
    def parse(value: object) -> NumberT:
        found = read(value)
        if above and not found > least:
            raise Unusable(f"write a number greater than {least:g}")
        if not found >= least:
            raise Unusable(f"write a number greater than or equal to {least:g}")
        if most is not None and found > most:
            raise Unusable(f"write a number less than or equal to {most:g}")
        return found

    return parse


def _no_switch(value: object) -> str | None:
    is_switch = isinstance(value, bool)
    return "this setting is no switch; true and false have no meaning here" if is_switch else None
