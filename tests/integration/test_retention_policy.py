"""The policy in SQL says what the policy in Python says, on random catalogues; and what each rule means."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks.catalog import Catalog
from blocks.errors import InvalidOptions, InvalidSettings
from blocks.retention import Candidate, RetentionPolicy, decide, make_plan, planned_files
from blocks.retention.policy import RENEW_BEFORE, RENEW_FOR
from tests.integration.retention_files import DAY, HOUR, NOW, file


def rules(policy: RetentionPolicy, *files: Candidate) -> list[str]:
    return [decision.rule for decision in decide(files, policy, NOW)]


def expired(number: int = 1, **changes: Any) -> Candidate:
    return file(number, expires_at=NOW - HOUR, **changes)


def test_by_default_what_has_expired_goes_and_nothing_else() -> None:
    default = RetentionPolicy()
    marked = expired(3, pinned=True), expired(4, held=True), expired(5, reading=True)
    assert rules(default, file(1), expired(2), *marked) == ["not_due", "expired", "pinned", "held", "reading"]
    assert rules(default, file(expires_at=NOW)) == ["expired"], "the last moment is over when it has come"
    assert rules(default, expired(pinned=True, held=True)) == ["held"], "the stronger mark is the reason"


def test_older_than_removes_what_its_own_time_would_keep() -> None:
    policy = RetentionPolicy(older_than=9 * DAY)
    assert rules(policy, file(1), file(2, created_at=NOW - 8 * DAY), file(3, pinned=True)) == [
        "older_than", "not_due", "pinned",
    ]  # fmt: skip


def test_kinds_bound_what_a_run_removes() -> None:
    policy = RetentionPolicy(kinds=["export"], older_than=HOUR)
    assert rules(policy, expired(1), expired(2, kind="export"), file(3, kind="export")) == [
        "not_due", "expired", "older_than",
    ]  # fmt: skip


def test_the_newest_of_each_source_and_stage_stay_and_are_renewed() -> None:
    made = [expired(number, created_at=NOW - number * DAY) for number in range(1, 5)]
    other = expired(9, source_file="/docs/other.pdf")
    assert rules(RetentionPolicy(keep_newest=2), expired(kind="export")) == ["expired"], "a copy goes in its time"
    decisions = decide([*made, other], RetentionPolicy(keep_newest=2), NOW)
    assert [one.rule for one in decisions] == ["newest", "newest", "expired", "expired", "newest"]
    assert {one.renew_until for one in decisions if not one.remove} == {NOW + RENEW_FOR}
    (early,) = decide([file(expires_at=NOW + RENEW_BEFORE)], RetentionPolicy(keep_newest=1), NOW)
    assert (early.rule, early.renew_until) == ("newest", NOW + RENEW_FOR), "before it becomes unreadable"
    (fresh,) = decide([file()], RetentionPolicy(keep_newest=1), NOW)
    assert (fresh.rule, fresh.renew_until) == ("not_due", None)


def test_a_source_has_a_period_of_its_own() -> None:
    policy = RetentionPolicy(sources={"/contracts/*": 365 * DAY, "*.tmp": DAY})
    contract, other = expired(1, source_file="/contracts/2026/a.pdf"), expired(2, source_file="/docs/contracts/b.pdf")
    decisions = decide([contract, other], policy, NOW)
    assert [one.rule for one in decisions] == ["source", "expired"]
    assert decisions[0].renew_until == decisions[0].goes_at == contract.created_at + 365 * DAY
    assert rules(policy, expired(created_at=NOW - 400 * DAY, source_file="/contracts/old.pdf")) == ["expired"]
    assert rules(policy, expired(source_file="/contracts/x[1].pdf")) == ["source"], "brackets are themselves"


def test_the_minimum_age_protects_from_a_mistaken_period() -> None:
    policy = RetentionPolicy(older_than=timedelta(seconds=1), min_age=2 * DAY)
    assert rules(policy, file(1, created_at=NOW - DAY), file(2)) == ["min_age", "older_than"]


def test_the_budget_takes_the_oldest_first_and_never_the_protected() -> None:
    files = [file(number, created_at=NOW - number * HOUR, pinned=number == 5) for number in range(1, 6)]
    assert rules(RetentionPolicy(max_stored_bytes=300), *files) == ["not_due", "not_due", "budget", "budget", "pinned"]
    assert rules(RetentionPolicy(max_stored_bytes=0), *files) == ["budget"] * 4 + ["pinned"]
    assert rules(RetentionPolicy(max_stored_bytes=500), *files)[:4] == ["not_due"] * 4
    with_expired = [*files[:4], expired(6)]
    assert rules(RetentionPolicy(max_stored_bytes=400), *with_expired) == ["not_due"] * 4 + ["expired"]


def test_what_a_kept_output_was_made_from_stays_with_it() -> None:
    upload = expired(1)
    markdown = expired(2, kind="stage_output", stage=1, created_at=NOW - 9 * DAY)
    chunks = file(3, kind="stage_output", stage=3, created_at=NOW - 8 * DAY)
    later = expired(4, created_at=NOW - 7 * DAY)
    facts = expired(5, kind="stage_output", stage=4, created_at=NOW - 8 * DAY)
    given_files = (upload, markdown, chunks, later, facts)
    assert rules(RetentionPolicy(keep_inputs=True), *given_files) == ["input", "input", "not_due", "expired", "expired"]
    assert rules(RetentionPolicy(), *given_files) == ["expired", "expired", "not_due", "expired", "expired"]


def test_a_run_removes_a_bounded_part() -> None:
    assert RetentionPolicy().cap(10) == 10_000, "a share of few files says nothing"
    assert RetentionPolicy().cap(50_000) == 25_000
    assert RetentionPolicy().cap(10_000_000) == 100_000
    assert RetentionPolicy(max_files=5).cap(10_000) == 5


@pytest.mark.parametrize(
    ("given_rules", "where"),
    [
        ({"keep_newest": -1}, "keep_newest"),
        ({"keep_newest": "three"}, "keep_newest"),
        ({"sources": {"*": "soon"}}, "sources"),
        ({"sources": {"*": "0s"}}, "sources"),
        ({"max_share": 0}, "max_share"),
        ({"search_index": "maybe"}, "search_index"),
        ({"min_age": "1 day"}, "min_age"),
        # As seconds it would remove nearly everything.
        ({"older_than": 30}, "such as 90s"),
        ({"sources": {"*": 365}}, "such as 90s"),
        ({"max_files": 10**23}, "max_files"),
        ({"max_stored_bytes": 2**63}, "max_stored_bytes"),
    ],
)
def test_a_policy_that_cannot_be_used_is_named_without_its_values(given_rules: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidSettings, match=where) as caught:
        RetentionPolicy.of(given_rules)
    assert "maybe" not in caught.value.message
    with pytest.raises(InvalidOptions, match=where):
        RetentionPolicy.of({}, **given_rules)


def test_flags_win_over_the_settings() -> None:
    policy = RetentionPolicy.of({"keep_newest": 3, "max_files": 10}, keep_newest=1, max_files=None)
    assert (policy.keep_newest, policy.max_files) == (1, 10)
    again = RetentionPolicy.model_validate_json(policy.model_dump_json(exclude_defaults=True))
    assert again == policy


# The two forms of the policy ------------------------------------------------------------------------------------------

hours = st.integers(-60 * 24, 60 * 24)
candidates = st.lists(
    st.builds(
        lambda kind, source, stage, document, created, expires, size, marks: {
            "kind": kind,
            "source_file": source,
            "stage": stage if kind == "stage_output" else None,
            "document_sha256": document * 64,
            "created": created,
            "expires": expires,
            "stored_size": size,
            "marks": marks,
        },
        kind=st.sampled_from(["upload", "stage_output", "export", "transfer"]),
        source=st.sampled_from(["/a/x.pdf", "/a/y_1.pdf", "/b/100%.pdf", "s3://bucket/[1].txt"]),
        stage=st.integers(1, 3),
        document=st.sampled_from("de"),
        # Whole hours, so that equal times happen.
        created=st.integers(-60, 2),
        expires=st.integers(-60, 80),
        size=st.integers(0, 50),
        marks=st.sets(st.sampled_from(["pinned", "held", "reading"]), max_size=1),
    ),
    max_size=25,
)
policies = st.builds(
    RetentionPolicy,
    kinds=st.none() | st.lists(st.sampled_from(["upload", "stage_output", "export"]), unique=True),
    older_than=st.none() | st.sampled_from([timedelta(hours=7), timedelta(hours=30)]),
    min_age=st.none() | st.sampled_from([timedelta(hours=5), timedelta(hours=40)]),
    keep_newest=st.sampled_from([0, 0, 1, 3]),
    sources=st.dictionaries(
        st.sampled_from(["/a/*", "*_?.pdf", "*%*", "*[1]*", "/b/100_*"]),
        st.sampled_from([20 * HOUR, 90 * HOUR]),
        max_size=2,
    ),
    keep_inputs=st.booleans(),
    max_stored_bytes=st.none() | st.integers(0, 400),
)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as one:
        yield one


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(files=candidates, policy=policies)
def test_the_plan_of_a_catalogue_is_what_the_policy_decides(
    files: list[dict[str, Any]], policy: RetentionPolicy, database_url: str, runner: asyncio.Runner
) -> None:
    base = write(database_url, files)

    async def planned() -> tuple[datetime, dict[UUID, str], dict[str, int]]:
        async with Catalog.open(database_url) as catalog:
            plan = await make_plan(catalog, policy)
            found = {one.file_id: one.rule async for one in planned_files(catalog, plan.plan_id)}
            groups: dict[str, int] = {}
            for group in plan.groups:
                groups[group.rule] = groups.get(group.rule, 0) + group.files
            assert (plan.files, plan.over_cap) == (len(found), 0)
            return plan.cutoff, found, groups

    cutoff, found, groups = runner.run(planned())
    # The rows' times are whole hours around *base*, and the plan is made within that hour.
    assert base <= cutoff < base + HOUR / 2
    decisions = decide([candidate(number, one, base) for number, one in enumerate(files, 1)], policy, cutoff)
    assert found == {one.file_id: one.rule for one in decisions if one.remove}
    counted: dict[str, int] = {}
    for one in decisions:
        counted[one.rule] = counted.get(one.rule, 0) + 1
    assert groups == counted
    assert renewals(database_url) == {
        one.file_id: one.renew_until
        for one, given_file in zip(decisions, files, strict=True)
        if one.renew_until is not None and one.renew_until > base + timedelta(hours=given_file["expires"])
    }


def candidate(number: int, one: dict[str, Any], base: datetime) -> Candidate:
    return Candidate(
        file_id=UUID(int=number),
        created_at=base + timedelta(hours=one["created"]),
        expires_at=base + timedelta(hours=one["expires"]),
        pinned="pinned" in one["marks"],
        held="held" in one["marks"],
        reading="reading" in one["marks"],
        **{name: one[name] for name in ("kind", "source_file", "stage", "document_sha256", "stored_size")},
    )


def write(database_url: str, files: list[dict[str, Any]]) -> datetime:
    """Replace the catalogue's rows by *files*; return the time that theirs are relative to, a little in the past."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("delete from retention_plans")
        connection.execute("delete from artifacts")
        row = connection.execute("select clock_timestamp() - interval '1 second'").fetchone()
        assert row is not None
        base: datetime = row[0]
        with connection.cursor() as cursor:
            cursor.executemany(
                """
                insert into artifacts (file_id, state, kind, filename, source_file, document_sha256, stage, stage_name,
                                       stage_key, media_type, size, sha256, stored_size, stored_sha256, location,
                                       created_at, expires_at, pinned_at, held_at)
                values (%s, 'available', %s, 'f', %s, %s, %s, %s, %s, 'text/plain', 1, %s, %s, %s, %s, %s, %s, %s, %s)
                """,
                [
                    (
                        one.file_id, one.kind, one.source_file, bytes.fromhex(one.document_sha256), one.stage,
                        one.stage and "stage", one.stage and bytes(32), bytes(32), one.stored_size, bytes(32),
                        f"uploads/00/{one.file_id.hex}", one.created_at, one.expires_at,
                        base if one.pinned else None, base if one.held else None,
                    )
                    for one in (candidate(number, row, base) for number, row in enumerate(files, 1))
                ],
            )  # fmt: skip
            cursor.executemany(
                "insert into artifact_readers values (%s, gen_random_uuid(), %s)",
                [(UUID(int=n), base + HOUR) for n, one in enumerate(files, 1) if "reading" in one["marks"]],
            )
    return base


def renewals(database_url: str) -> dict[UUID, datetime]:
    with psycopg.connect(database_url) as connection:
        connection.execute("set time zone 'UTC'")
        rows = connection.execute(
            "select unnest(file_ids), unnest(rules)::timestamptz from retention_batches where action = 'renew'"
        ).fetchall()
    return dict(rows)


def test_more_than_the_cap_waits_for_the_next_run(database_url: str, runner: asyncio.Runner) -> None:
    write(database_url, [{**_plain, "expires": -number} for number in range(1, 8)])

    async def plan() -> tuple[int, int, set[int]]:
        async with Catalog.open(database_url) as catalog:
            made = await make_plan(catalog, RetentionPolicy(max_files=3))
            return made.files, made.over_cap, {one.file_id.int async for one in planned_files(catalog, made.plan_id)}

    assert runner.run(plan()) == (3, 4, {5, 6, 7}), "those that have been over for the longest time go"


_plain: dict[str, Any] = {
    "kind": "upload", "source_file": "/a/x.pdf", "stage": None, "document_sha256": "d" * 64, "created": -50,
    "stored_size": 1, "marks": set[str](),
}  # fmt: skip


def test_a_plan_of_the_same_state_has_the_same_digest(database_url: str, runner: asyncio.Runner) -> None:
    write(database_url, [{**_plain, "expires": -number} for number in range(1, 1203)])

    async def digests() -> list[tuple[str, int]]:
        async with Catalog.open(database_url) as catalog:
            made = [await make_plan(catalog, RetentionPolicy(max_files=n)) for n in (2000, 2000, 1201)]
            return [(plan.digest, math.ceil(plan.files / 1000)) for plan in made]

    first, second, third = runner.run(digests())
    assert first == second != third and first[1] == 2
