"""When a file goes, and by which rule: foreseen by the policy, and explained for a file in any state."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from blocks.access import Actor
from blocks.catalog import Artifact, Draft, StageMark
from blocks.catalog.keeping import hold
from blocks.catalog.outlook import CHANGED_BY, GOES, GOES_NOW, KEPT, Outlook
from blocks.errors import InvalidSettings
from blocks.retention import REASONS, Candidate, RetentionPolicy, decide
from blocks.retention.foresight import foresee
from blocks.settings import Settings
from blocks.settings.retention import retention
from tests.integration.custody_place import Place, draft
from tests.integration.retention_files import DAY, HOUR, NOW, file, local_place
from waybill.services.files import delete_file
from waybill.services.retention import Explanation, explain, outlook

LAST = datetime.max.replace(tzinfo=UTC)
ME = Actor(actor="cli:a test")

place = local_place


def output(number: int = 2, **changes: Any) -> Candidate:
    return file(number, **{"kind": "stage_output", "stage": 1, **changes})


# What is foreseen -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "rules", "expected"),
    [
        ([file()], {}, (20 * DAY, "expired", "not_due")),
        ([file(expires_at=NOW - HOUR)], {}, (timedelta(0), "expired", None)),
        ([file(held=True)], {}, (None, None, "held")),
        ([file(pinned=True, expires_at=NOW - HOUR)], {}, (None, None, "pinned")),
        ([file(expires_at=NOW - HOUR, reading=True)], {}, (None, None, "reading")),
        ([file(reading=True)], {}, (20 * DAY, "expired", "not_due")),  # it will have been read by then
        ([file()], {"older_than": "15d"}, (5 * DAY, "older_than", "not_due")),
        ([file()], {"keep_newest": 1}, (None, None, "newest")),
        ([file(), file(2, created_at=NOW)], {"keep_newest": 1}, (20 * DAY, "expired", "not_due")),
        ([file(expires_at=NOW + HOUR)], {"min_age": "11d"}, (DAY, "expired", "not_due")),
        ([file(expires_at=NOW - HOUR)], {"min_age": "11d"}, (DAY, "expired", "min_age")),
        ([file(created_at=LAST, expires_at=NOW - HOUR)], {"min_age": "11d"}, (None, None, "min_age")),
        ([file(expires_at=LAST)], {"keep_newest": 1}, (None, None, "newest")),
        ([file(created_at=LAST)], {"older_than": "11d"}, (20 * DAY, "expired", "not_due")),
        ([file(expires_at=NOW)], {"sources": {"/docs/*": "40d"}}, (30 * DAY, "expired", "source")),
        ([file()], {"sources": {"/docs/*": "12d"}}, (20 * DAY, "expired", "not_due")),
        ([file(), output(created_at=NOW, expires_at=NOW + 21 * DAY)], {"keep_inputs": True}, (None, None, "input")),
        ([file(), output(expires_at=NOW + 19 * DAY)], {"keep_inputs": True}, (20 * DAY, "expired", "not_due")),
        ([file(), output(expires_at=NOW)], {"keep_inputs": True, "keep_newest": 1}, (None, None, "newest")),
    ],
)
def test_a_file_goes_when_no_rule_keeps_it_any_more(
    files: list[Candidate], rules: dict[str, Any], expected: tuple[timedelta | None, str | None, str | None]
) -> None:
    found = foresee(files, RetentionPolicy.model_validate(rules), UUID(int=1), NOW)
    left = None if found.goes_at is None else found.goes_at - NOW
    assert (left, found.goes_because, found.kept_because) == expected
    assert found.sentence and found.changed_by


def test_an_expired_file_is_told_to_be_extended_or_held_since_it_cannot_be_pinned() -> None:
    expired = Outlook(goes_at=NOW, goes_because="expired")
    assert expired.changed_by == "waybill files extend ID --for 90d, or waybill files hold ID"
    later = Outlook(goes_at=NOW, goes_because="expired", kept_because="not_due")
    assert later.changed_by == CHANGED_BY["expired"]


def test_every_rule_has_its_words() -> None:
    assert {**KEPT, **GOES}.keys() == CHANGED_BY.keys() and GOES.keys() == GOES_NOW.keys()
    assert CHANGED_BY.keys() == REASONS.keys() - {"extended", "busy", "gone", "over_cap", "request"}
    assert Outlook(goes_at=NOW, goes_because="expired", kept_because="not_due").as_json() == {
        "goes_at": NOW.isoformat(), "goes_because": "expired", "kept_because": "not_due", "because": GOES["expired"],
    }  # fmt: skip


# In a catalogue -------------------------------------------------------------------------------------------------------


def ruled(tmp_path: Path, **rules: Any) -> Settings:
    return Settings(home=tmp_path, retention=retention(rules))


async def stored(place: Place, wanted: Draft | None = None) -> Artifact:
    return await place.custody.take(wanted or draft(), b"content")


async def change(place: Place, artifact: Artifact, assignment: str) -> None:
    async with place.catalog.connection() as connection:
        statement = f"update artifacts set {assignment} where file_id = %s"  # noqa: S608
        await connection.execute(statement.encode(), [artifact.file_id])


async def explained(place: Place, settings: Settings, artifact: Artifact | UUID) -> Explanation:
    file_id = artifact if isinstance(artifact, UUID) else artifact.file_id
    found = await explain(place.custody, settings, file_id)
    assert found.as_json()["file_id"] == str(file_id) == found.lines()[0].split()[0]
    return found


async def test_the_neighbours_of_a_file_decide_with_it_as_all_files_do(place: Place, tmp_path: Path) -> None:
    upload = await stored(place)
    mark = StageMark(number=1, name="convert", key="c" * 64)
    outputs = [await stored(place, replace(draft(kind="stage_output"), stage=mark)) for _ in range(3)]
    other = await stored(place, replace(draft(), source_file="/docs/other.pdf", document_sha256="e" * 64))
    everything = [upload, *outputs, other]
    for number, artifact in enumerate(everything):
        times = f"created_at = now() - interval '{30 - number} days', expires_at = now() - interval '1 hour'"
        await change(place, artifact, times)
    for rules in (
        {"keep_newest": 1}, {"keep_newest": 2}, {"keep_newest": 1, "keep_inputs": True}, {"keep_inputs": True},
        {"sources": {"*other*": "90d"}}, {"min_age": "660h"}, {"keep_newest": 0},
    ):  # fmt: skip
        policy = RetentionPolicy.model_validate(rules)
        now = await place.catalog.now()
        files = [await place.custody.get(one.file_id, even_expired=True) for one in everything]
        candidates = [
            Candidate(**{name: getattr(one, name) for name in Candidate.__slots__ if hasattr(one, name)})
            for one in files
        ]
        for one, decision in zip(files, decide(candidates, policy, now), strict=True):
            found = await outlook(place.catalog, ruled(tmp_path, **rules), one)
            decides = (found.kept_because or found.goes_because, found.kept_because is None)
            assert (rules, decides) == (rules, (decision.rule, decision.remove))


async def test_a_file_is_explained_in_every_state(place: Place, tmp_path: Path) -> None:
    settings = ruled(tmp_path)
    artifact = await stored(place)
    found = await explained(place, settings, artifact)
    assert (found.state, found.stored, found.readable, found.goes_at) == ("available", True, True, artifact.expires_at)
    assert (found.goes_because, found.kept_because) == ("expired", "not_due")
    assert f"waybill files extend {artifact.file_id} --for 90d" in found.lines()[-1]
    assert f"; its time ends {artifact.expires_at:%Y-%m-%d %H:%M} UTC" in found.lines()[1] and not found.expired
    async with place.catalog.connection() as connection:
        await hold(connection, artifact.file_id)
    held = await explained(place, settings, artifact)
    assert (held.goes_at, held.kept_because) == (None, "held") and "release" in held.lines()[-1]
    await change(place, artifact, "held_at = null, hold_note = null, expires_at = now()")
    expired = await explained(place, settings, artifact)
    assert (expired.readable, expired.expired, expired.goes_because) == (False, True, "expired")
    assert expired.kept_because is None
    assert f"; its time ended {expired.expires_at:%Y-%m-%d %H:%M} UTC" in expired.lines()[1]
    assert expired.lines()[2] == "goes with the next clean-up: its time is over (expired)"
    kept = await explained(place, ruled(tmp_path, keep_newest=1), artifact)
    assert (kept.goes_at, kept.kept_because) == (None, "newest") and "keep_newest" in kept.lines()[-1]
    await delete_file(place.custody, artifact.file_id, by=ME)
    gone = await explained(place, settings, artifact)
    assert (gone.state, gone.stored, gone.removed_because, gone.removed_by) == ("deleted", False, None, "cli:a test")
    assert gone.removed_at is not None and "cli:a test" in gone.lines()[1]
    await change(place, artifact, "removed_because = 'older_than'")
    by_rule = await explained(place, settings, artifact)
    assert (by_rule.removed_because, by_rule.removed_by) == ("older_than", None) and "older" in by_rule.because
    await change(place, artifact, "state = 'deleting', deleted_at = null")
    assert (await explained(place, settings, artifact)).state == "deleting"
    assert (await explained(place, settings, uuid4())).state == "unknown"
    (pending,) = await place.custody.reserve([draft()])
    assert (await explained(place, settings, pending.file_id)).state == "pending"
    await place.custody.release([pending])


async def test_the_size_budget_is_judged_with_all_files(place: Place, tmp_path: Path) -> None:
    oldest, newest = await stored(place), await stored(place)
    await change(place, oldest, "created_at = now() - interval '1 day'")
    settings = ruled(tmp_path, max_stored_bytes=newest.stored_size)
    assert (await explained(place, settings, oldest)).goes_because == "budget"
    assert (await explained(place, settings, newest)).goes_because == "expired"
    assert (await outlook(place.catalog, settings, oldest)).goes_because == "expired"


async def test_rules_that_cannot_be_used_are_named(place: Place, tmp_path: Path) -> None:
    artifact = await stored(place)
    with pytest.raises(InvalidSettings, match="keep_newest"):
        await explain(place.custody, ruled(tmp_path, keep_newest="all"), artifact.file_id)
