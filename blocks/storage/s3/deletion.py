"""Delete many objects: up to 1,000 keys in a request, and the errors of single keys that its answer holds.

S3 answers 200 also when it has deleted nothing: what failed is a list in the answer, which has to be read. Owns the
retries of single keys; those of whole requests are `connection`'s.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import Any

from blocks.runtime.shutdown import shutdown_deadline
from blocks.storage.s3.connection import S3Connection, short_pause
from blocks.storage.s3.failure import S3Failure, code_of_key, is_transient_code, meaning_of_code

# The most that S3 takes in one request.
_MAX_KEYS = 1000
# The server works on one batch while the answer to another one is read; it deletes no faster with more.
_CONCURRENT_BATCHES = 3
# Characters that no XML document can hold, in other words no such request; blob paths have no control characters.
_NOT_IN_XML = frozenset("\ufffe\uffff")
# What servers answer that do not know the request.
_UNKNOWN_REQUEST = {405, 501}
# Some servers report a key that is not there; it is what was asked for.
_GONE = {"NoSuchKey", "NoSuchVersion"}


def delete_keys(connection: S3Connection, bucket: str, object_keys: Sequence[str]) -> dict[str, str]:
    """Delete *object_keys*; return the reason for each one that is still there. A missing one is success.

    Raises `S3Failure` when a whole request fails; others may have been carried out.
    """
    plain = [key for key in object_keys if _NOT_IN_XML.isdisjoint(key)]
    batches = [plain[start : start + _MAX_KEYS] for start in range(0, len(plain), _MAX_KEYS)]
    batches += [[key] for key in object_keys if not _NOT_IN_XML.isdisjoint(key)]
    failed: dict[str, str] = {}
    running: deque[Future[dict[str, str]]] = deque()
    try:
        for batch in batches:
            if len(running) == _CONCURRENT_BATCHES:
                failed |= running.popleft().result()
            running.append(connection.on_loop(lambda batch=batch: _delete(connection, bucket, batch)))
        while running:
            failed |= running.popleft().result()
    finally:
        wait_for(running)  # after an error: nothing is deleted any more when the caller hears of it
    return failed


async def _delete(connection: S3Connection, bucket: str, object_keys: list[str]) -> dict[str, str]:
    if not _NOT_IN_XML.isdisjoint(object_keys[0]):
        return await _delete_one_by_one(connection, bucket, object_keys)
    limits = connection.limits
    failed: dict[str, str] = {}
    pause, give_up_at = limits.first_pause_seconds, 0.0
    while True:
        request = {"Objects": [{"Key": key} for key in object_keys], "Quiet": True}
        try:
            answer = await connection.call_on_loop(
                "delete_objects", limits=limits.for_completion, Bucket=bucket, Delete=request
            )
        except S3Failure as failure:
            if failure.status in _UNKNOWN_REQUEST:
                return failed | await _delete_one_by_one(connection, bucket, object_keys)
            raise
        codes = _codes(answer, set(object_keys))
        failed |= {key: _reason(code) for key, code in codes.items() if not is_transient_code(code)}
        object_keys = [key for key, code in codes.items() if is_transient_code(code)]
        if not object_keys:
            return failed
        now = time.monotonic()
        give_up_at = give_up_at or now + limits.retry_seconds
        if now + pause > min(give_up_at, shutdown_deadline()):
            return failed | {key: _reason(codes[key]) for key in object_keys}
        await short_pause(pause)
        pause = min(2 * pause, limits.longest_pause_seconds)


async def _delete_one_by_one(connection: S3Connection, bucket: str, object_keys: Sequence[str]) -> dict[str, str]:
    failed: dict[str, str] = {}
    for key in object_keys:
        try:
            await connection.call_on_loop("delete_object", Bucket=bucket, Key=key)
        except S3Failure as failure:
            if failure.transient or not failure.answered:
                raise
            if not failure.missing:
                failed[key] = _reason(failure.code)
    return failed


def _codes(answer: dict[str, Any], asked: set[str]) -> dict[str, str]:
    """Return the error code of each key that was not deleted. Raises `ValueError` for a key that was not asked for."""
    codes = {entry["Key"]: code_of_key(entry) for entry in answer.get("Errors", ())}
    if not codes.keys() <= asked:
        raise ValueError("errors of keys that were not asked for")
    return {key: code for key, code in codes.items() if code not in _GONE}


def _reason(code: str) -> str:
    return f"the S3 server answered {code}: {meaning_of_code(code)}"
