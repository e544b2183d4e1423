"""Signatures: what Standard Webhooks' own libraries make is taken, and nothing that was changed is."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import InvalidKey, SignatureInvalid
from blocks.webhooks.signature import TOLERANCE_SECONDS, sign, signature_header, verify

# Published with the specification's reference libraries.
VECTOR_KEY = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
VECTOR = {"event_id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "timestamp": 1614265330, "body": b'{"test": 2432232314}'}
VECTOR_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

NEW, OLD, OTHER = b"n" * 32, b"o" * 32, b"x" * 32
NOW = 1_700_000_000
BODY = b'{"event_type":"task_completed"}'


def headers(*keys: bytes, timestamp: int = NOW, **changed: str) -> dict[str, str]:
    signed = signature_header(keys or (NEW,), event_id="evt_1", timestamp=timestamp, body=BODY)
    return {"webhook-id": "evt_1", "webhook-timestamp": str(timestamp), "webhook-signature": signed} | {
        name.replace("_", "-"): value for name, value in changed.items()
    }


def test_signs_the_published_example() -> None:
    assert sign(VECTOR_KEY, **VECTOR) == VECTOR_SIGNATURE


def test_signs_with_each_key_in_order() -> None:
    signed = signature_header([NEW, OLD], event_id="evt_1", timestamp=NOW, body=BODY).split(" ")
    assert signed == [sign(key, event_id="evt_1", timestamp=NOW, body=BODY) for key in (NEW, OLD)]


def test_does_not_send_anything_unsigned() -> None:
    with pytest.raises(InvalidKey):
        signature_header([], event_id="evt_1", timestamp=NOW, body=BODY)


@pytest.mark.parametrize("keys", [(NEW,), (OLD,), (NEW, OLD), (OTHER, OLD)])
def test_takes_what_any_of_the_keys_has_signed(keys: tuple[bytes, ...]) -> None:
    verify(keys, headers(NEW, OLD), BODY, now=NOW)


def test_passes_over_signatures_of_other_versions() -> None:
    signed = headers()["webhook-signature"]
    verify([NEW], headers(webhook_signature=f"v1a,abcd v2,{signed[3:]} nonsense {signed}"), BODY, now=NOW)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"webhook_signature": ""}, "webhook-signature is missing"),
        ({"webhook_id": ""}, "webhook-id is missing"),
        ({"webhook_id": "evt_2"}, "no signature matches"),
        ({"webhook_timestamp": str(NOW + 1)}, "no signature matches"),
        ({"webhook_timestamp": f"+{NOW}"}, "not a number of seconds"),
        ({"webhook_timestamp": f" {NOW}"}, "not a number of seconds"),
        ({"webhook_timestamp": "9" * 5000}, "not a number of seconds"),
        ({"webhook_timestamp": "１７００００００００"}, "not a number of seconds"),
        ({"webhook_signature": "v1,"}, "no signature matches"),
        ({"webhook_signature": "v1,\xe4\udcff"}, "no signature matches"),
        ({"webhook_signature": "v1a," + sign(NEW, event_id="evt_1", timestamp=NOW, body=BODY)[3:]}, "no signature"),
    ],
)
def test_refuses_what_was_changed_and_says_why(changed: dict[str, str], told: str) -> None:
    with pytest.raises(SignatureInvalid, match=told):
        verify([NEW], headers(**changed), BODY, now=NOW)


def test_refuses_another_body_and_another_key() -> None:
    for keys, body in (([NEW], BODY + b" "), ([OTHER], BODY), ([], BODY)):
        with pytest.raises(SignatureInvalid):
            verify(keys, headers(), body, now=NOW)


@pytest.mark.parametrize(("now", "told"), [(NOW + 301, "a replay"), (NOW - 301, "future")])
def test_refuses_what_is_outside_of_the_tolerance(now: int, told: str) -> None:
    for inside in (NOW - TOLERANCE_SECONDS, NOW, NOW + TOLERANCE_SECONDS):
        verify([NEW], headers(), BODY, now=inside)
    with pytest.raises(SignatureInvalid, match=told):
        verify([NEW], headers(), BODY, now=now)


@given(key=st.binary(min_size=24, max_size=64), body=st.binary(max_size=200), flip=st.integers(min_value=0))
def test_no_flipped_bit_of_the_body_is_taken(key: bytes, body: bytes, flip: int) -> None:
    signed = {"webhook-id": "e", "webhook-timestamp": str(NOW)}
    signed["webhook-signature"] = sign(key, event_id="e", timestamp=NOW, body=body)
    verify([key], signed, body, now=NOW)
    if body:
        changed = bytearray(body)
        changed[flip // 8 % len(body)] ^= 1 << flip % 8
        with pytest.raises(SignatureInvalid):
            verify([key], signed, bytes(changed), now=NOW)
