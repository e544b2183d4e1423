"""Events of calendar data in mails (iCalendar, RFC 5545): what, when and where; pure.

Owns the few fields that a reader looks for. A recurrence, an alarm or a time zone's rules are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_FOLD = re.compile(r"\r?\n[ \t]")
_LINE = re.compile(r"([A-Z-]{1,40})((?:;[^:\"\n]{0,200}(?:\"[^\"\n]{0,200}\")?)*):(.*)", re.IGNORECASE)
_MOMENT = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)\d\d(Z?))?")
_ZONE = re.compile(r";TZID=\"?([^;\":]{1,80})", re.IGNORECASE)
_ESCAPED = re.compile(r"\\([nN,;\\])")
_NAMES = {"SUMMARY": "Event", "DTSTART": "Start", "DTEND": "End", "LOCATION": "Place", "STATUS": "Status"}
_USUAL_STATES = ("CONFIRMED", "TENTATIVE")
# More events are a calendar and no invitation.
_MAX_EVENTS = 20
_MAX_CHARACTERS = 1 << 20


def events(text: str) -> Iterator[dict[str, str]]:
    """Yield the fields of each event by name (Event, Start, End, Place, Status), times in ISO 8601 with their zone."""
    fields: dict[str, str] = {}
    inside, count = "", 0
    for line in _FOLD.sub("", text[:_MAX_CHARACTERS]).splitlines():
        found = _LINE.match(line.strip())
        if found is None:
            continue
        name, parameters, value = found[1].upper(), found[2], found[3].strip()
        if name == "BEGIN" and (value.upper() == "VEVENT" or inside):
            inside = f"{inside}/{value.upper()}"
        elif name == "END" and inside:
            inside = inside.rpartition("/")[0]
            if not inside and fields and count < _MAX_EVENTS:
                count += 1
                yield {name: fields[name] for name in _NAMES.values() if name in fields}
                fields = {}
        elif inside == "/VEVENT" and name in _NAMES and value and value.upper() not in _USUAL_STATES:
            fields[_NAMES[name]] = _moment(value, parameters) if name.startswith("DT") else _text(value)


def _text(value: str) -> str:
    return _ESCAPED.sub(lambda sign: " " if sign[1] in "nN" else sign[1], value)


def _moment(value: str, parameters: str) -> str:
    found = _MOMENT.fullmatch(value)
    if found is None:
        return value
    year, month, day, hour, minute, utc = found.groups()
    zone = _ZONE.search(parameters)
    time = f" {hour}:{minute}" if hour else ""
    return f"{year}-{month}-{day}{time}{' UTC' if utc else f' ({zone[1]})' if zone and hour else ''}"
