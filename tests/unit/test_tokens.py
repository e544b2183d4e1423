"""Tokens: what `issue` writes is taken, and nothing else is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import InvalidOptions, LinkExpired, LinkInvalid
from blocks.links.tokens import DOWNLOAD, GATEWAY, MAX_LEEWAY, MAX_LIFETIME, MAX_TOKEN_CHARS, SigningKey, check, issue

NOW = datetime(2026, 5, 4, 12, 0, 0, 250_000, UTC)
SECOND = timedelta(seconds=1)
FILE = "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"
KEY = SigningKey(id="new", secret=b"n" * 32, created_at=NOW)
OLD = SigningKey(id="old", secret=b"o" * 32, created_at=NOW - timedelta(days=1))
KEYS = {key.id: key for key in (OLD, KEY)}
ISSUED = int(NOW.timestamp())

HEADER: dict[str, Any] = {"alg": "HS256", "kid": "new", "typ": "JWT"}
CLAIMS: dict[str, Any] = {
    "iss": "waybill",
    "aud": GATEWAY,
    "sub": FILE,
    "scope": DOWNLOAD,
    "iat": ISSUED,
    "exp": ISSUED + 3600,
}


def token(lifetime: timedelta = timedelta(hours=1), **given: Any) -> str:
    options = {"key": KEY, "scope": DOWNLOAD, "subject": FILE, "clock": lambda: NOW, **given}
    return issue(expires_at=NOW + lifetime, **options)[0]


def taken(text: str, **given: Any) -> Any:
    return check(text, **{"keys": KEYS, "scope": DOWNLOAD, "subject": FILE, "clock": lambda: NOW, **given})


def segment(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signed(header: Any = HEADER, claims: Any = CLAIMS, *, secret: bytes = KEY.secret, digest: str = "sha256") -> str:
    """A token as somebody who has the secret could write it."""
    text = f"{segment(header)}.{segment(claims)}"
    return f"{text}.{segment(hmac.digest(secret, text.encode(), digest))}"


def without(mapping: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key != name}


# What is taken --------------------------------------------------------------------------------------------------------


def test_what_is_issued_is_taken_and_says_what_it_allows() -> None:
    text, said = issue(key=KEY, scope=DOWNLOAD, subject=FILE, expires_at=NOW + timedelta(hours=1), clock=lambda: NOW)
    assert taken(text) == said
    assert (said.scope, said.subject, said.audience, said.key_id) == (DOWNLOAD, FILE, GATEWAY, "new")
    assert said.issued_at == NOW.replace(microsecond=0)
    assert said.expires_at == NOW.replace(microsecond=0) + timedelta(hours=1)


def test_a_token_written_by_hand_in_this_form_is_the_same() -> None:
    assert taken(signed()) == taken(token())


def test_a_token_of_an_older_key_is_taken_while_the_key_is_known() -> None:
    text = token(key=OLD)
    assert taken(text).key_id == "old"
    with pytest.raises(LinkInvalid):
        taken(text, keys={"new": KEY})


def test_a_token_lasts_until_its_end_and_a_leeway_longer() -> None:
    text = token(60 * SECOND)
    end = NOW.replace(microsecond=0) + 60 * SECOND
    assert taken(text, clock=lambda: end - timedelta(microseconds=1))
    for late in (end, end + SECOND, end + timedelta(days=3650)):
        with pytest.raises(LinkExpired):
            taken(text, clock=lambda late=late: late)
    assert taken(text, clock=lambda: end + 29 * SECOND, leeway=MAX_LEEWAY)
    with pytest.raises(LinkExpired):
        taken(text, clock=lambda: end + 30 * SECOND, leeway=MAX_LEEWAY)


@pytest.mark.parametrize("leeway", [MAX_LEEWAY + SECOND, -SECOND, timedelta(days=1)])
def test_a_leeway_of_more_than_half_a_minute_is_refused(leeway: timedelta) -> None:
    with pytest.raises(InvalidOptions):
        taken(token(), leeway=leeway)


def test_a_token_lasts_for_a_month_at_most_and_a_second_at_least() -> None:
    assert taken(token(MAX_LIFETIME)).expires_at == NOW.replace(microsecond=0) + MAX_LIFETIME
    for lifetime in (MAX_LIFETIME + SECOND, timedelta(0), -SECOND, timedelta(days=10_000)):
        with pytest.raises(InvalidOptions):
            token(lifetime)


def test_a_clock_without_a_zone_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="zone"):
        token(clock=lambda: NOW.replace(tzinfo=None))


def test_a_token_signed_by_a_clock_slightly_ahead_is_taken() -> None:
    assert taken(token(), clock=lambda: NOW - MAX_LEEWAY)
    with pytest.raises(LinkInvalid):
        taken(token(), clock=lambda: NOW - MAX_LEEWAY - SECOND)


# What is not ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"scope": "transfer-down"},
        {"scope": ""},
        {"subject": "1b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"},
        {"subject": FILE.upper()},
        {"audience": "worker-7"},
    ],
    ids=str,
)
def test_a_token_is_for_its_scope_file_and_audience_alone(other: dict[str, str]) -> None:
    with pytest.raises(LinkInvalid):
        taken(token(), **other)
    with pytest.raises(LinkInvalid):
        taken(token(**other))
    assert taken(token(**other), **other)


HOSTILE_HEADERS: dict[str, Any] = {
    "alg none": HEADER | {"alg": "none"},
    "alg None": HEADER | {"alg": "None"},
    "alg null": HEADER | {"alg": None},
    "alg list": HEADER | {"alg": ["HS256"]},
    "alg of a key pair": HEADER | {"alg": "RS256"},
    "alg by another case": HEADER | {"alg": "hs256"},
    "no alg": without(HEADER, "alg"),
    "no kid": without(HEADER, "kid"),
    "no typ": without(HEADER, "typ"),
    "unknown kid": HEADER | {"kid": "other"},
    "kid is a path": HEADER | {"kid": "../../dev/null"},
    "kid is a number": HEADER | {"kid": 1},
    "kid is a list": HEADER | {"kid": ["new"]},
    "kid is null": HEADER | {"kid": None},
    "kid of another key": HEADER | {"kid": "old"},
    "other typ": HEADER | {"typ": "JOSE"},
    "brings its own key": HEADER | {"jwk": {"kty": "oct", "k": "eHg"}},
    "names a place for keys": HEADER | {"jku": "https://keys.example.org"},
    "critical extension": HEADER | {"crit": ["b64"], "b64": False},
    "payload not encoded": HEADER | {"b64": False},
    "nested": HEADER | {"cty": "JWT"},
    "a list": [],
    "a string": "HS256",
    "null": None,
}


def test_other_headers_are_refused_even_with_a_right_signature(subtests: pytest.Subtests) -> None:
    for name, header in HOSTILE_HEADERS.items():
        with subtests.test(name), pytest.raises(LinkInvalid):
            taken(signed(header))


HOSTILE_CLAIMS: dict[str, Any] = {
    **{f"no {name}": without(CLAIMS, name) for name in CLAIMS},
    **{f"{name} null": CLAIMS | {name: None} for name in CLAIMS},
    **{f"{name} a list": CLAIMS | {name: [CLAIMS[name]]} for name in CLAIMS},
    **{f"{name} an object": CLAIMS | {name: {"$ne": ""}} for name in CLAIMS},
    **{f"{name} true": CLAIMS | {name: True} for name in CLAIMS},
    **{f"{name} as text": CLAIMS | {name: str(CLAIMS[name])} for name in ("iat", "exp")},
    **{f"{name} a fraction": CLAIMS | {name: float(CLAIMS[name])} for name in ("iat", "exp")},
    **{f"{name} a number": CLAIMS | {name: 7} for name in ("iss", "aud", "sub", "scope")},
    "another issuer": CLAIMS | {"iss": "somebody"},
    "several audiences": CLAIMS | {"aud": [GATEWAY, "other"]},
    "one more claim": CLAIMS | {"admin": True},
    "not before": CLAIMS | {"nbf": ISSUED},
    "no end in sight": CLAIMS | {"exp": ISSUED + 10**12},
    "an end without bound": CLAIMS | {"exp": 10**400},
    "a bit over the maximum": CLAIMS | {"exp": ISSUED + int(MAX_LIFETIME.total_seconds()) + 1},
    "end before beginning": CLAIMS | {"iat": ISSUED, "exp": ISSUED - 10},
    "signed tomorrow": CLAIMS | {"iat": ISSUED + 86400, "exp": ISSUED + 86500},
    "signed in the year 30000": CLAIMS | {"iat": 10**12, "exp": 10**12 + 60},
    "not JSON": b"{",
    "no object": b"[]",
    "not text": b"\xff\xfe",
    "infinite": b'{"exp": Infinity}',
    "deep": b"[" * 700,
    "nothing": b"",
}


def test_other_claims_are_refused_even_with_a_right_signature(subtests: pytest.Subtests) -> None:
    for name, claims in HOSTILE_CLAIMS.items():
        with subtests.test(name), pytest.raises(LinkInvalid):
            taken(signed(claims=claims))


def test_other_signatures_are_refused() -> None:
    head, body, signature = token().split(".")
    unsigned = f"{segment(HEADER | {'alg': 'none'})}.{body}"
    for text in (
        signed(secret=b"x" * 32),
        signed(secret=b""),
        signed(secret=OLD.secret),
        signed(HEADER | {"alg": "HS512"}, digest="sha512"),
        signed(HEADER | {"alg": "HS384"}, digest="sha384"),
        signed(digest="sha512"),
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{unsigned}.",
        f"{unsigned}.{signature}",
        f"{head}.{body}.{signature[:-2]}",
        f"{head}.{body}.{signature}A",
        f"{head}.{body}.{segment(hashlib.sha256(f'{head}.{body}'.encode()).digest())}",
    ):
        with pytest.raises(LinkInvalid):
            taken(text)


@pytest.mark.parametrize(
    "spelling",
    [
        "{0}=", "{0}==", " {0}", "{0} ", "{0}\n", "{0}\0", "{0}.", ".{0}", "{0}.{0}", "Bearer {0}", "{0}\u0661",
        "{0}\ud800",
    ],
    ids=ascii,
)  # fmt: skip
def test_a_token_has_one_spelling(spelling: str) -> None:
    with pytest.raises(LinkInvalid):
        taken(spelling.format(token()))


def test_no_character_of_a_token_can_be_changed() -> None:
    text = token()
    for at, char in enumerate(text):
        for other in "A_." if char != "A" else "B-":
            if other != char:
                with pytest.raises(LinkInvalid):
                    taken(text[:at] + other + text[at + 1 :])
        with pytest.raises(LinkInvalid):
            taken(text[:at] + text[at + 1 :])


@pytest.mark.parametrize("text", ["", ".", "..", "...", "a.b.c", "a" * MAX_TOKEN_CHARS, "A" * 10_000_000, "." * 10**6])
def test_what_is_no_token_is_refused_whatever_its_length(text: str) -> None:
    with pytest.raises(LinkInvalid):
        taken(text)


@given(st.text() | st.binary().map(segment) | st.lists(st.binary(), min_size=3, max_size=3).map(
    lambda parts: ".".join(map(segment, parts))
))  # fmt: skip
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(LinkInvalid):
        taken(text)


def test_only_a_token_that_was_good_is_told_that_it_expired() -> None:
    late = {"clock": lambda: NOW + timedelta(days=1)}
    with pytest.raises(LinkExpired):
        taken(token(), **late)
    for text, other in ((token(), {"subject": "x"}), (token(), {"scope": "x"}), (signed(secret=b"x" * 32), {})):
        with pytest.raises(LinkInvalid):
            taken(text, **late, **other)


def test_an_error_says_nothing_of_the_reason_the_token_or_the_key() -> None:
    said: set[str] = set()
    for text in (
        signed(secret=b"x" * 32),
        signed(HEADER | {"kid": "other"}),
        signed(claims=without(CLAIMS, "exp")),
        "x",
    ):
        with pytest.raises(LinkInvalid) as caught:
            taken(text)
        said.add(caught.value.message)
    assert len(said) == 1
    assert "n" * 32 not in repr(KEY) + str(said)
