"""Large uploads are examined by two threads: what they find, that it is found at once, and that both end."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import pytest

from blocks.age import seal
from blocks.errors import AuthenticationFailed, ContentMismatch
from blocks.runtime.threads import WorkStopped
from blocks.transfers import Transfer
from blocks.transfers.verification import Verification
from tests.stack_driver import PATIENCE_SECONDS
from tests.storage_keys import ENCRYPTED, IDENTITY

CONTENT = os.urandom(1 << 20) * 48 + b"end"
SEALED = b"".join(seal([CONTENT], [IDENTITY.recipient]))
HALF = len(SEALED) // 2


def verification(sealed: bytes = SEALED, **more: Any) -> Verification:
    columns: dict[str, Any] = {one.name: None for one in fields(Transfer)} | {
        "sealed_for": "storage",
        "size": len(sealed),
    }
    begun = Verification(Transfer(**(columns | more)), ENCRYPTED, lambda: io.BytesIO(sealed))
    begun.begin()
    return begun


def becomes(wanted: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def others() -> Iterator[None]:
    """Threads that were there before a test are none of its own."""
    _others.update(threading.enumerate())
    yield
    _others.clear()


_others: set[threading.Thread] = set()


def has_threads() -> bool:
    return any(one.name in {"verify-upload", "prefetch"} for one in set(threading.enumerate()) - _others)


def test_both_hashes_are_those_of_the_whole() -> None:
    examined = verification(content_sha256=hashlib.sha256(CONTENT).hexdigest())
    for end in (1000, HALF, len(SEALED)):
        examined.grown(end)
    stored = examined.result()
    assert (stored.size, stored.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert (stored.stored_size, stored.stored_sha256) == (len(SEALED), hashlib.sha256(SEALED).hexdigest())
    becomes(lambda: not has_threads())


def test_an_altered_byte_is_found_while_the_rest_is_still_to_come() -> None:
    altered = bytearray(SEALED)
    altered[HALF // 2] ^= 1
    examined = verification(bytes(altered))
    examined.grown(HALF)
    becomes(lambda: examined.error is not None)
    becomes(lambda: not has_threads())
    with pytest.raises(AuthenticationFailed):
        examined.result()


def test_bytes_that_were_not_declared_are_found_at_the_end() -> None:
    examined = verification(sha256="0" * 64)
    examined.grown(len(SEALED))
    with pytest.raises(ContentMismatch):
        examined.result()


def test_it_stops_while_it_waits_for_more() -> None:
    examined = verification()
    examined.grown(HALF)
    examined.stop()
    with pytest.raises(WorkStopped):
        examined.result()
    becomes(lambda: not has_threads())
