"""Retention policy: which files go, which stay, and by which rule; pure.

`decide` is the definition. `blocks.retention.judging` states the same rules in SQL, for catalogues of a million
files; a test compares the two on random catalogues. The database's time is passed in, and nothing here reads a clock.

Each file is judged by the first of these that applies:

1. a legal hold, a pin;
2. its time is over (`expired`, or `older_than`), and nothing protects it: it goes. Protected is a file that is being
   read, is younger than `min_age`, has a period of its source, or is among the newest of its source and stage;
3. the size budget: the oldest unprotected files go until the rest fits (`budget`);
4. with `keep_inputs`, what would go by 2 or 3 stays while a file that was made from it stays.

What a rule keeps must be readable too. So a file that is protected and near its expiry is *renewed*: its expiry moves
ahead, and it goes a few days after its protection has ended.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, WithJsonSchema

from blocks.catalog.artifact import MOST_BYTES, Kind
from blocks.durations import DURATION_PATTERN, format_duration, parse_duration
from blocks.errors import InvalidOptions, InvalidSettings
from blocks.runtime.form_schema import in_order

# Two nights may fail before a file that a rule keeps becomes unreadable; the third renews it all the same.
RENEW_BEFORE = timedelta(days=2)
RENEW_FOR = timedelta(days=4)
# A share of fewer files than this says nothing: a store of ten files may lose all ten.
SHARE_COUNTS_FROM = 10_000
# More than any catalogue has, and a whole number for every reader of JSON.
_MOST_FILES = 1_000_000_000

REASONS: Mapping[str, str] = {
    "held": "a legal hold keeps it; an administrator lifts it with 'waybill files release'",
    "pinned": "it is pinned; 'waybill files unpin' lets it expire",
    "reading": "it is being read",
    "min_age": "it is younger than the minimum age of the policy",
    "source": "its source has a longer period in the policy",
    "newest": "it is among the newest files of its source and stage",
    "input": "a file that was made from it is kept",
    "not_due": "its time is not over",
    "over_cap": "its time was over, but one run removes a bounded number of files",
    "expired": "its time was over",
    "older_than": "it was older than the policy allows",
    "budget": "it was among the oldest files, and the store was over its size budget",
    "extended": "its time was extended after the plan was made",
    "busy": "another process was changing it",
    "gone": "it was gone already",
    "request": "it was deleted by a command or a request, and by no rule",
}
"""Each rule, and each reason why a planned file stays after all, with a sentence for people."""

_DOCUMENT_KINDS = ("upload", "stage_output")
REMOVING = ("expired", "older_than", "budget")


def _duration(value: object) -> object:
    if isinstance(value, str):
        try:
            return parse_duration(value)
        except InvalidOptions as exc:
            raise ValueError(exc.message) from None
    if not isinstance(value, timedelta):
        # A bare number would be seconds; a person who writes 30 means days.
        raise ValueError("write a period as a number and a unit, such as 90s, 15m, 24h or 30d")  # noqa: TRY004 - pydantic
    return value


Period = Annotated[
    timedelta,
    BeforeValidator(_duration),
    Field(gt=timedelta(0), le=timedelta(days=365_000)),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"title": "A period", "type": "string", "pattern": DURATION_PATTERN, "examples": ["24h", "30d"]}),
]
"""A length of time, written like ``90s``, ``15m``, ``24h`` or ``30d``."""


class RetentionPolicy(BaseModel):
    """What goes and what stays. The defaults remove what has expired, and nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="A policy", json_schema_extra=in_order)

    kinds: list[Kind] | None = Field(None, description="Only files of these kinds are removed; all when left out.")
    older_than: Period | None = Field(
        None, description="Remove files that are older than this, although their own time is not over."
    )
    min_age: Period | None = Field(None, description="Remove no file that is younger than this.")
    keep_newest: int = Field(
        0, ge=0, le=1_000_000, description="Keep that many uploads and outputs of each source and stage, the newest."
    )
    sources: dict[str, Period] = Field(
        default_factory=dict[str, Period],
        description="Keep files of sources that match a pattern for that long, such as {'*/contracts/*': '365d'}. "
        "A * stands for any text.",
    )
    keep_inputs: bool = Field(False, description="Keep what a kept file was made from.")
    max_stored_bytes: int | None = Field(
        None, ge=0, le=MOST_BYTES, description="Remove the oldest files until the store has at most this many bytes."
    )
    max_files: int = Field(100_000, ge=1, le=_MOST_FILES, description="Remove at most this many files in one run.")
    max_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description=f"Remove at most this share of all files in one run, of more than {SHARE_COUNTS_FROM:,} files.",
    )
    search_index: Literal["remove", "keep"] = Field(
        "remove", description="Whether documents without a stored file leave the search index."
    )

    @classmethod
    def of(cls, rules: Mapping[str, Any], **given: Any) -> RetentionPolicy:
        """Return the policy of the setting's *rules*, with what was *given* (None: not given) in their place.

        Raises `InvalidSettings`, or `InvalidOptions` where only what was given is wrong.
        """
        try:
            cls.model_validate(dict(rules))
        except ValidationError as exc:
            raise InvalidSettings(f"the setting retention cannot be used: {_wrong(exc)}") from None
        named = {name: value for name, value in given.items() if value is not None}
        try:
            return cls.model_validate({**rules, **named})
        except ValidationError as exc:
            raise InvalidOptions(f"this retention policy cannot be used: {_wrong(exc)}") from None

    def cap(self, available: int) -> int:
        """Return how many files one run may remove, of *available* ones."""
        return min(self.max_files, max(int(self.max_share * available), SHARE_COUNTS_FROM))

    def source_period(self, source: str) -> timedelta | None:
        """Return the longest period of the patterns that *source* matches."""
        return max((kept for pattern, kept in self.sources.items() if _form(pattern).fullmatch(source)), default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """What the policy needs to know of one available file."""

    file_id: UUID
    kind: str
    source_file: str
    stage: int | None
    document_sha256: str
    created_at: datetime
    expires_at: datetime
    stored_size: int
    pinned: bool = False
    held: bool = False
    reading: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Whether a file goes, and the *rule* that decides. *goes_at*: when it goes by what is known now, if ever.

    *renew_until*: the rule keeps the file past its expiry, which moves to this time.
    """

    file_id: UUID
    remove: bool
    rule: str
    goes_at: datetime | None = None
    renew_until: datetime | None = None

    @property
    def reason(self) -> str:
        """The rule as a sentence."""
        return REASONS[self.rule]


@lru_cache(maxsize=256)
def _form(pattern: str) -> re.Pattern[str]:
    """Return a pattern of sources: ``*`` is any text, ``?`` one character, and everything else is itself."""
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.compile("".join(parts), re.DOTALL)


def decide(candidates: Iterable[Candidate], policy: RetentionPolicy, now: datetime) -> list[Decision]:
    """Judge the available files of a catalogue at the time *now*. Returns a decision for each, in their order."""
    files = list(candidates)
    newest = _newest(files, policy.keep_newest)
    due = {one.file_id: _due(one, policy, now) for one in files}
    guards = {one.file_id: _guard(one, policy, now, newest) for one in files}
    going = {file_id: rule for file_id, rule in due.items() if rule and not guards[file_id]}
    going |= dict.fromkeys(_over_budget(files, policy, going, guards), "budget")
    needed = _inputs(files, going) if policy.keep_inputs else set[UUID]()
    return [
        _decision(one, policy, now, due=due[one.file_id], guard=guards[one.file_id], going=going, needed=needed)
        for one in files
    ]


def _decision(
    one: Candidate,
    policy: RetentionPolicy,
    now: datetime,
    *,
    due: str | None,
    guard: str | None,
    going: Mapping[UUID, str],
    needed: Collection[UUID],
) -> Decision:
    file_id = one.file_id
    if guard in {"held", "pinned"}:
        return Decision(file_id=file_id, remove=False, rule=guard)
    if file_id in going and file_id not in needed:
        return Decision(file_id=file_id, remove=True, rule=going[file_id], goes_at=now)
    near = _in_scope(one, policy) and one.expires_at <= _after(now, RENEW_BEFORE)
    keeper = guard or ("input" if file_id in needed else None)
    if keeper is None or not (due or near or file_id in going) or (keeper in {"reading", "min_age"} and not due):
        return Decision(file_id=file_id, remove=False, rule="not_due", goes_at=_end(one, policy))
    renew_until = _renewal(one, policy, now, keeper) if near else None
    goes_at = _after(one.created_at, policy.min_age) if keeper == "min_age" and policy.min_age else None
    if keeper == "source":
        goes_at = _end_of_source_period(one, policy, now)
    return Decision(file_id=file_id, remove=False, rule=keeper, goes_at=goes_at, renew_until=renew_until)


def _end(one: Candidate, policy: RetentionPolicy) -> datetime:
    if policy.older_than is None or not _in_scope(one, policy):
        return one.expires_at
    return min(one.expires_at, _after(one.created_at, policy.older_than))


def _renewal(one: Candidate, policy: RetentionPolicy, now: datetime, keeper: str) -> datetime | None:
    """Return the time to which the expiry of a protected file moves; None where it stays."""
    if keeper in {"newest", "input"}:
        return _after(now, RENEW_FOR)
    if keeper == "source":
        return max(one.expires_at, _end_of_source_period(one, policy, now))
    return None  # it is kept for a moment only


def _after(start: datetime, period: timedelta) -> datetime:
    """Return *start* plus *period*, or the last time there is: a row may be from the year 9999."""
    try:
        return start + period
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _end_of_source_period(one: Candidate, policy: RetentionPolicy, now: datetime) -> datetime:
    return min(one.created_at, now) + (policy.source_period(one.source_file) or timedelta(0))


def _in_scope(one: Candidate, policy: RetentionPolicy) -> bool:
    return policy.kinds is None or one.kind in policy.kinds


def _due(one: Candidate, policy: RetentionPolicy, now: datetime) -> str | None:
    if not _in_scope(one, policy):
        return None
    if one.expires_at <= now:
        return "expired"
    if policy.older_than is not None and one.created_at <= now - policy.older_than:
        return "older_than"
    return None


def _guard(one: Candidate, policy: RetentionPolicy, now: datetime, newest: Collection[UUID]) -> str | None:
    """Return the rule that protects the file whatever its time says."""
    if one.held:
        return "held"
    if one.pinned:
        return "pinned"
    if one.reading:
        return "reading"
    if policy.min_age is not None and one.created_at > now - policy.min_age:
        return "min_age"
    period = policy.source_period(one.source_file)
    if period is not None and one.created_at > now - period:
        return "source"
    return "newest" if one.file_id in newest else None


def _newest(files: Sequence[Candidate], count: int) -> set[UUID]:
    """Return the *count* newest files of each source, kind and stage: uploads and outputs.

    Exports and transfers are copies of what stays; the newest of them go when their time is over, like the others.
    """
    if count == 0:
        return set()
    groups: dict[tuple[str, str, int | None], list[Candidate]] = defaultdict(list)
    for one in files:
        if one.kind in _DOCUMENT_KINDS:
            groups[one.source_file, one.kind, one.stage].append(one)
    return {
        one.file_id
        for group in groups.values()
        for one in sorted(group, key=lambda one: (one.created_at, one.file_id), reverse=True)[:count]
    }


def _over_budget(
    files: Sequence[Candidate],
    policy: RetentionPolicy,
    going: Mapping[UUID, str],
    guards: Mapping[UUID, str | None],
) -> set[UUID]:
    """Return the oldest unprotected files in scope, as many as have to go for the rest to fit."""
    if policy.max_stored_bytes is None:
        return set()
    excess = sum(one.stored_size for one in files if one.file_id not in going) - policy.max_stored_bytes
    found: set[UUID] = set()
    for one in sorted(files, key=lambda one: (one.created_at, one.file_id)):
        if excess <= 0:
            break
        if one.file_id in going or guards[one.file_id] or not _in_scope(one, policy):
            continue
        found.add(one.file_id)
        excess -= one.stored_size
    return found


def _inputs(files: Sequence[Candidate], going: Collection[UUID]) -> set[UUID]:
    """Return the files that a kept output may have been made from: of its document, of an earlier stage, not younger.

    The catalogue does not record which file was read, so this may keep one file more than was read, never one less.
    """
    kept: dict[str, list[tuple[int, datetime]]] = defaultdict(list)
    for one in files:
        if one.stage is not None and one.file_id not in going:
            kept[one.document_sha256].append((one.stage, one.created_at))
    return {
        one.file_id
        for one in files
        if one.kind in _DOCUMENT_KINDS
        and any(
            (one.stage is None or one.stage < stage) and one.created_at <= made_at
            for stage, made_at in kept[one.document_sha256]
        )
    }


def _wrong(error: ValidationError) -> str:
    """Return what is wrong, field by field, without the values."""
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg']}" for one in error.errors())
