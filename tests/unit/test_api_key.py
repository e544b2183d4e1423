"""API keys: their form, what is kept of them, and what they allow."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from blocks.access import ADMIN, READ, WRITE, ApiKey, parse_key
from blocks.access.api_key import MAX_NAME_CHARS, SCOPES, check_name, check_scopes, digest, generate_key
from blocks.errors import InvalidOptions

ID, SECRET = "0123456789ab", "f" * 64
KEY = ApiKey(
    key_id=ID,
    name="a test",
    secret_sha256=digest(SECRET),
    scopes=(READ,),
    requests_per_minute=None,
    created_at=datetime(2026, 11, 21, tzinfo=UTC),
    expires_at=None,
    revoked_at=None,
    last_used_at=None,
    usable=True,
)


def test_a_new_key_has_the_form_and_can_be_read_back() -> None:
    text, shown = generate_key()
    assert re.fullmatch(r"wb_[0-9a-f]{12}_[0-9a-f]{64}", text)
    assert parse_key(text) == shown
    assert generate_key()[0] != text


@pytest.mark.parametrize(
    "text",
    [
        "", "wb", "wb_", f"wb_{ID}_", f"wb__{SECRET}", f"wb_{ID}_{SECRET[:-1]}", f"wb_{ID}_{SECRET}f",
        f"wb_{ID.upper()}_{SECRET}", f"wb_{ID}_{SECRET.upper()}", f"WB_{ID}_{SECRET}", f" wb_{ID}_{SECRET}",
        f"wb_{ID}_{SECRET}\n", f"wb_{ID}-{SECRET}", f"wb_{'g' * 12}_{SECRET}", f"wb_{ID}_{'é' * 64}",
        f"wb_{'٣' * 12}_{SECRET}", f"wb_{ID}_{SECRET}\0", "x" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_key_is_not_taken_for_one(text: str) -> None:
    assert parse_key(text) is None


def test_a_key_is_known_by_its_secret_of_which_only_the_hash_is_kept() -> None:
    shown = parse_key(f"wb_{ID}_{SECRET}")
    other = parse_key(f"wb_{ID}_{'e' * 64}")
    assert shown is not None and other is not None
    assert shown.is_of(KEY)
    assert not other.is_of(KEY)
    assert KEY.secret_sha256 == hashlib.sha256(SECRET.encode()).digest()


def test_nothing_that_is_shown_of_a_key_holds_its_secret() -> None:
    shown = parse_key(f"wb_{ID}_{SECRET}")
    for text in (repr(shown), repr(KEY), str(KEY.as_json())):
        assert ID in text
        assert SECRET not in text and SECRET.encode().hex() not in text and KEY.secret_sha256.hex() not in text
        assert "sha256" not in text


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [((READ,), {READ}), ((WRITE,), {WRITE}), ((READ, WRITE), {READ, WRITE}), ((ADMIN,), set(SCOPES)), ((), set())],
)
def test_admin_may_do_everything_and_write_does_not_imply_read(scopes: tuple[str, ...], allowed: set[str]) -> None:
    key = replace(KEY, scopes=scopes)
    assert {scope for scope in SCOPES if key.allows(scope)} == allowed


def test_scopes_are_kept_in_one_order_and_unknown_ones_are_named() -> None:
    assert check_scopes(["admin", "read", "admin"]) == ["read", "admin"]
    for names in ([], ["all"], ["read", ""], ["Read"]):
        with pytest.raises(InvalidOptions, match="there are read, write, admin"):
            check_scopes(names)
    with pytest.raises(InvalidOptions, match=r"unknown scopes: \(empty\), all;"):
        check_scopes(["read", "", "all"])


def test_a_name_is_something_that_can_be_shown() -> None:
    assert check_name("  nightly import ") == "nightly import"
    for name in ("", "  ", "a\nb", "a\0b", "\x1b[2J", "a\u202eb", "\udc80", "x" * (MAX_NAME_CHARS + 1)):
        with pytest.raises(InvalidOptions, match="printable"):
            check_name(name)
