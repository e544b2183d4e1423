"""An S3 server that refuses, breaks off, forgets to answer or goes silent, and writers that are ended in the middle."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import BlobMissing, ContentMismatch, InvalidSettings, KeyExists, StorageFull, StorageUnavailable
from blocks.storage import Expected, read_chunks
from blocks.storage.s3.backend import S3Backend
from blocks.storage.s3.connection import RetryLimits
from tests.s3 import S3Server
from tests.s3.fault_proxy import (
    BLACK_HOLE,
    SERVICE_UNAVAILABLE,
    Fault,
    FaultProxy,
    Request,
    errors_of_keys,
    running_fault_proxy,
    wait_until,
)
from tests.s3.pauses import watch_pauses
from tests.stack_driver import PATIENCE_SECONDS

MIB = 2**20
# The smallest that S3 takes; the product's parts are larger.
PART_MIB = 5
# Two parts, and four blocks of reading.
SIZE_MIB = 7
KEY = "outputs/3f/3f2a"
# The bar for a write to a server which answers 503 for ever, of pauses between attempts; each attempt takes the machine
# as long as it takes.
MAX_REFUSED_SECONDS = 30
# Seconds where the product waits for many times as long.
SHORT = RetryLimits(retry_seconds=0.4, first_pause_seconds=0.05, longest_pause_seconds=0.2)
# A machine that is busy is silent too, for a while; so there is time for several more attempts.
SOON_SILENT = RetryLimits(
    stall_seconds=1.2,
    completion_stall_seconds=1.2,
    retry_seconds=1.0,
    first_pause_seconds=0.05,
    longest_pause_seconds=0.2,
)
# The silence that is tested lasts for an hour. Each of a write's requests may fail for as long as its limits say before
# the machine has the time to answer it.
MAX_SILENT_SECONDS = 1800
# The product's limits, reached by more attempts after shorter pauses.
PATIENT = RetryLimits(first_pause_seconds=0.05, longest_pause_seconds=0.2)
LARGE = [os.urandom(MIB) for _ in range(SIZE_MIB)]
SMALL = [b"small"]

WRITING = ["PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]


def content_for(operation: str) -> list[bytes]:
    return SMALL if operation == "PutObject" else LARGE


@dataclass(frozen=True)
class Place:
    """The same bucket twice: through the proxy, which fails, and directly, for looking at what is there."""

    url: str
    proxy: FaultProxy
    options: dict[str, Any]
    backend: S3Backend
    direct: S3Backend

    def nothing_stays(self) -> None:
        # Swift lists what has just gone for a moment more when it is busy.
        wait_until(lambda: not list(self.direct.paths()) and not list(self.direct.leftovers()))

    def only_this_lies_there(self, *paths: str) -> None:
        wait_until(lambda: list(self.direct.paths()) == list(paths))

    def no_upload_stays(self) -> None:
        wait_until(lambda: not list(self.direct.leftovers()))

    def soon_silent(self, *, goes_on: bool = False) -> S3Backend:
        """*goes_on*: with time for many attempts, for what is to succeed on a machine that is busy."""
        return S3Backend(
            self.url, self.options, limits=replace(SOON_SILENT, retry_seconds=100.0) if goes_on else SOON_SILENT
        )

    def patient(self) -> S3Backend:
        """With the patience that the product has: for what is to succeed, however busy this machine is."""
        return S3Backend(self.url, self.options, limits=PATIENT)

    def read(self) -> bytes:
        with self.patient().open(KEY) as stream:
            return b"".join(read_chunks(stream))


@pytest.fixture
def place(s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr("blocks.storage.s3.upload.PART_BYTES", PART_MIB * MIB)
    url = f"s3://{s3_bucket}/store"
    with running_fault_proxy(s3_server.address) as proxy:
        options = {**s3_server.options, "endpoint_url": proxy.address}
        yield Place(url, proxy, options, S3Backend(url, options, limits=SHORT), S3Backend(url, s3_server.options))


# Refused --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", WRITING)
def test_a_request_that_is_refused_twice_succeeds(place: Place, operation: str) -> None:
    place.proxy.inject(operation, SERVICE_UNAVAILABLE, times=2)
    content = content_for(operation)
    place.patient().publish(KEY, content)
    assert place.read() == b"".join(content)
    place.no_upload_stays()
    assert place.proxy.count(operation) >= 3


@pytest.mark.parametrize("operation", WRITING)
def test_a_request_that_is_always_refused_fails_in_bounded_time_and_leaves_nothing(
    place: Place, operation: str
) -> None:
    place.proxy.inject(operation, SERVICE_UNAVAILABLE)
    with pytest.raises(StorageUnavailable, match="ServiceUnavailable") as caught:
        place.backend.publish(KEY, content_for(operation))
    assert "could not be taken back" not in str(caught.value)
    place.nothing_stays()
    place.proxy.heal()
    place.backend.publish(KEY, SMALL)


def test_a_server_that_refuses_everything_for_ever_is_given_up_within_30_seconds(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the patience that the product has, and with the upload already begun."""
    pauses = watch_pauses(monkeypatch)

    def chunks() -> Iterator[bytes]:
        yield from LARGE[: PART_MIB + 1]
        pauses.intervals.clear()
        place.proxy.inject(lambda _: True, SERVICE_UNAVAILABLE)
        yield from LARGE[PART_MIB + 1 :]

    backend = S3Backend(place.url, place.options)
    with pytest.raises(StorageUnavailable, match=r"attempts.*could not be taken back"):
        backend.publish(KEY, chunks())
    with pytest.raises(StorageUnavailable):  # as custody does after a write that failed
        backend.delete(KEY, interrupted=True)
    assert 0 < pauses.seconds < MAX_REFUSED_SECONDS
    wait_until(lambda: list(place.direct.leftovers()) == [KEY])
    assert list(place.direct.paths()) == []
    place.proxy.heal()
    assert backend.delete(KEY, interrupted=True) is False
    place.nothing_stays()


def test_an_abort_that_is_refused_twice_still_happens(place: Place) -> None:
    place.proxy.inject("UploadPart", Fault(refuse_with=(403, "AccessDenied")))
    place.proxy.inject("AbortMultipartUpload", SERVICE_UNAVAILABLE, times=2)
    with pytest.raises(InvalidSettings):
        place.patient().publish(KEY, LARGE)
    place.nothing_stays()


def test_a_failed_write_ends_its_interpreter_at_once(place: Place) -> None:
    place.proxy.inject("UploadPart", SERVICE_UNAVAILABLE)
    program = (
        "import json, sys\n"
        "from blocks.storage.s3.backend import S3Backend\n"
        "from blocks.storage.s3.connection import RetryLimits\n"
        "backend = S3Backend(sys.argv[1], json.loads(sys.argv[2]), limits=RetryLimits(retry_seconds=0.5))\n"
        "try:\n"
        "    backend.publish('outputs/x', [bytes(2**20)] * 20)\n"
        "finally:\n"
        "    print('failed', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, place.url, json.dumps(place.options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "failed\n"
    _, said = process.communicate(timeout=PATIENCE_SECONDS)  # one that waits for its threads never ends
    assert process.returncode == 1
    assert said.strip().splitlines()[-1].startswith("blocks.errors.StorageUnavailable")
    assert "Unclosed" not in said
    place.nothing_stays()


def test_credentials_that_were_replaced_are_read_again(
    place: Place, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))

    def keep(key: str, secret: str) -> None:
        credentials.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")

    place.proxy.inject(
        lambda request: "Credential=OLD/" in request.headers.get("Authorization", ""),
        Fault(refuse_with=(400, "ExpiredToken")),
    )
    keep("OLD", "secret")
    backend = S3Backend(place.url, {"endpoint_url": place.proxy.address})
    with pytest.raises(InvalidSettings, match="ExpiredToken"):
        backend.publish(KEY, SMALL)
    keep(s3_server.access_key, s3_server.secret_key)
    backend.publish(KEY, SMALL)
    assert place.read() == b"".join(SMALL)


def test_a_condition_that_does_not_pass_is_told_at_once(place: Place) -> None:
    for status, code, expected in (
        (507, "InsufficientStorage", StorageFull),
        (403, "QuotaExceeded", StorageFull),
        (413, "EntityTooLarge", StorageFull),
        (403, "AccessDenied", InvalidSettings),
        (403, "RequestTimeTooSkewed", InvalidSettings),
        (400, "ExpiredToken", InvalidSettings),
        (400, "InvalidStorageClass", InvalidSettings),
        (301, "PermanentRedirect", InvalidSettings),
        (501, "NotImplemented", InvalidSettings),
    ):
        operation = "UploadPart" if status == 507 else "PutObject"
        before = place.proxy.count(operation)
        place.proxy.inject(operation, Fault(refuse_with=(status, code)))
        with pytest.raises(expected, match=code) as caught:
            place.backend.publish(KEY, content_for(operation))
        assert "could not be taken back" not in str(caught.value)
        assert place.proxy.count(operation) <= before + 2
        place.proxy.heal()
    place.nothing_stays()


# Many deleted in one request ------------------------------------------------------------------------------------------

MANY = ["outputs/00/a", "outputs/00/b & <c>", "uploads/ff/d"]


def answer_about(codes: dict[str, str]) -> Fault:
    return Fault(answer_with=errors_of_keys({f"store/{path}": code for path, code in codes.items()}))


def test_of_many_the_one_that_the_server_refuses_is_reported(place: Place) -> None:
    """The answer has status 200, and the other objects are gone."""
    for path in MANY:
        place.direct.publish(path, SMALL)
    refused = answer_about({MANY[1]: "AccessDenied", "outputs/01/missing": "NoSuchKey"})

    def delete_the_others() -> None:
        assert place.direct.delete_many([MANY[0], MANY[2]]) == {}

    place.proxy.inject("DeleteObjects", replace(refused, then=delete_the_others), times=1)
    failed = place.backend.delete_many([*MANY, "outputs/01/missing"])
    assert list(failed) == [MANY[1]]
    assert failed[MANY[1]].startswith(f"cannot delete {MANY[1]}: the S3 server answered AccessDenied")
    assert place.proxy.count("DeleteObjects") == 1
    place.only_this_lies_there(MANY[1])
    assert place.backend.delete_many(MANY) == {}
    place.nothing_stays()
    # Many servers take the request only with this header; the S3 server of the tests compares it.
    assert place.proxy.requests[-1].headers["Content-MD5"]


def test_keys_that_the_server_could_not_delete_just_now_are_asked_for_again(place: Place) -> None:
    for path in MANY:
        place.direct.publish(path, SMALL)
    place.proxy.inject("DeleteObjects", SERVICE_UNAVAILABLE, times=2)
    place.proxy.inject("DeleteObjects", answer_about(dict.fromkeys(MANY, "SlowDown")), times=1)
    place.proxy.inject("DeleteObjects", answer_about({MANY[0]: "AccessDenied", MANY[1]: "InternalError"}), times=1)
    assert list(place.patient().delete_many(MANY)) == [MANY[0]]
    assert place.proxy.count("DeleteObjects") == 5
    # The third request was answered only; the fifth named the second key alone.
    place.only_this_lies_there(MANY[0], MANY[2])


def test_keys_that_the_server_never_deletes_are_given_up_in_bounded_time(place: Place) -> None:
    place.proxy.inject("DeleteObjects", answer_about({MANY[0]: "InternalError"}))
    assert "InternalError: try again later" in place.backend.delete_many(MANY)[MANY[0]]


def test_a_deletion_of_many_that_the_server_does_not_carry_out_raises(place: Place) -> None:
    for fault, error in (
        (SERVICE_UNAVAILABLE, StorageUnavailable),
        (Fault(refuse_with=(403, "AccessDenied")), InvalidSettings),
        (answer_about({"of another prefix": "AccessDenied"}), StorageUnavailable),
        (Fault(answer_with="<DeleteResult><Error>"), StorageUnavailable),
    ):
        place.proxy.inject("DeleteObjects", fault)
        with pytest.raises(error, match="cannot delete blobs"):
            place.backend.delete_many(MANY)
        place.proxy.heal()


def test_a_server_that_cannot_delete_many_deletes_them_one_by_one(place: Place) -> None:
    for path in MANY:
        place.direct.publish(path, SMALL)
    place.proxy.inject("DeleteObjects", Fault(refuse_with=(501, "NotImplemented")))
    place.proxy.inject(lambda request: request.key.endswith("/d"), Fault(refuse_with=(403, "AccessDenied")))
    assert list(place.backend.delete_many(MANY)) == [MANY[2]]
    place.only_this_lies_there(MANY[2])


# Cut, changed and lost on the way -------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["PutObject", "UploadPart"])
@pytest.mark.parametrize(
    "fault", [Fault(cut_request_after_bytes=3), Fault(flip_byte_of_request=True)], ids=["cut", "changed"]
)
def test_a_body_that_does_not_arrive_as_it_was_sent_is_sent_again(place: Place, operation: str, fault: Fault) -> None:
    place.proxy.inject(operation, fault, times=2)
    content = content_for(operation)
    place.patient().publish(KEY, content)
    assert place.read() == b"".join(content)


@pytest.mark.parametrize("operation", ["PutObject", "UploadPart"])
def test_a_body_that_is_always_changed_on_the_way_is_never_stored(place: Place, operation: str) -> None:
    place.proxy.inject(operation, Fault(flip_byte_of_request=True))
    with pytest.raises(StorageUnavailable):
        place.backend.publish(KEY, content_for(operation))
    place.nothing_stays()


@pytest.mark.parametrize(
    ("operation", "replaces"),
    [*((operation, False) for operation in WRITING), ("PutObject", True), ("CompleteMultipartUpload", True)],
)
def test_a_write_whose_answer_is_lost_is_known_for_its_own(place: Place, operation: str, replaces: bool) -> None:
    """The second attempt meets what the first has stored, and must not take it for another writer's."""
    place.proxy.inject(operation, Fault(lose_answer=True), times=1)
    content = content_for(operation)
    assert place.patient().publish(KEY, content, replace=replaces).size == sum(map(len, content))
    assert place.read() == b"".join(content)
    place.no_upload_stays()


@pytest.mark.parametrize("operation", ["PutObject", "CompleteMultipartUpload"])
def test_a_write_that_nothing_is_heard_of_is_taken_back(place: Place, operation: str) -> None:
    place.proxy.inject(operation, Fault(lose_answer=True), times=1)
    place.proxy.inject(operation, SERVICE_UNAVAILABLE)
    with pytest.raises(StorageUnavailable):
        place.backend.publish(KEY, content_for(operation))
    place.nothing_stays()


@pytest.mark.parametrize("operation", ["PutObject", "CompleteMultipartUpload"])
def test_a_lost_answer_does_not_make_another_writers_object_ours(place: Place, operation: str) -> None:
    place.direct.publish(KEY, [b"of another writer"])
    place.proxy.inject(operation, Fault(lose_answer=True), times=1)
    with pytest.raises(KeyExists):
        place.patient().publish(KEY, content_for(operation))
    assert place.read() == b"of another writer"
    place.no_upload_stays()


def test_an_upload_that_somebody_else_ends_can_be_started_again(place: Place) -> None:
    def chunks() -> Iterator[bytes]:
        yield from LARGE[: PART_MIB + 1]
        assert place.direct.abort(KEY) == 1
        yield from LARGE[PART_MIB + 1 :]

    with pytest.raises(StorageUnavailable, match="start again"):
        place.backend.publish(KEY, chunks())
    place.nothing_stays()


# Silence --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["PutObject", "CreateMultipartUpload", "CompleteMultipartUpload"])
def test_a_server_that_goes_silent_once_is_asked_again(place: Place, operation: str) -> None:
    place.proxy.inject(operation, BLACK_HOLE, times=1)
    started = time.monotonic()
    place.soon_silent(goes_on=True).publish(KEY, content_for(operation))
    assert time.monotonic() - started < MAX_SILENT_SECONDS
    place.no_upload_stays()


@pytest.mark.parametrize("operation", ["PutObject", "UploadPart"])
def test_a_server_that_stays_silent_is_given_up(place: Place, operation: str) -> None:
    place.proxy.inject(operation, BLACK_HOLE)
    started = time.monotonic()
    with pytest.raises(StorageUnavailable, match="no byte has moved"):
        place.soon_silent().publish(KEY, content_for(operation))
    assert time.monotonic() - started < MAX_SILENT_SECONDS
    place.nothing_stays()


def test_a_server_that_is_not_there_is_told(place: Place) -> None:
    backend = S3Backend(place.url, {**place.options, "endpoint_url": "http://127.0.0.1:1"}, limits=SHORT)
    for attempt in (lambda: backend.publish(KEY, SMALL), lambda: backend.open(KEY), lambda: list(backend.paths())):
        with pytest.raises(StorageUnavailable, match="cannot be reached"):
            attempt()


# Reading --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "fault"),
    [
        (0, SERVICE_UNAVAILABLE),
        (3, SERVICE_UNAVAILABLE),
        *((which, Fault(cut_answer_after_bytes=100_000)) for which in (0, 1, 3)),
    ],
)
def test_a_read_that_is_broken_off_twice_goes_on(place: Place, which: int, fault: Fault) -> None:
    place.direct.publish(KEY, LARGE)
    seen: list[str] = []

    def chosen(request: Request) -> bool:
        block = request.headers.get("Range", "")
        if block not in seen:
            seen.append(block)
        return request.operation == "GetObject" and seen.index(block) == which

    place.proxy.inject(chosen, fault, times=2)
    assert place.read() == b"".join(LARGE)


@pytest.mark.parametrize("cut_after_bytes", [0, 1, 100_000])
def test_a_read_that_is_always_broken_off_fails_and_never_ends_early(place: Place, cut_after_bytes: int) -> None:
    place.direct.publish(KEY, LARGE)
    with place.backend.open(KEY) as stream:
        begun = stream.read(1000)
        place.proxy.inject("GetObject", Fault(cut_answer_after_bytes=cut_after_bytes))
        with pytest.raises(StorageUnavailable):
            while piece := stream.read(MIB):
                begun += piece
        assert b"".join(LARGE).startswith(begun)
        assert len(begun) < SIZE_MIB * MIB
        with pytest.raises(StorageUnavailable):
            stream.read()


def test_a_read_of_a_silent_server_fails_in_bounded_time(place: Place) -> None:
    place.direct.publish(KEY, LARGE)
    backend = place.soon_silent(goes_on=True)
    with backend.open(KEY) as stream:
        place.proxy.inject("GetObject", BLACK_HOLE)
        backend._connection.limits = SOON_SILENT
        started = time.monotonic()
        with pytest.raises(StorageUnavailable):
            stream.read()
        assert time.monotonic() - started < MAX_SILENT_SECONDS


def test_an_object_that_is_replaced_while_it_is_read_is_not_mixed_with_its_successor(place: Place) -> None:
    place.direct.publish(KEY, LARGE)
    with place.backend.open(KEY) as stream:
        stream.read(1)
        place.direct.publish(KEY, LARGE[::-1], replace=True)
        with pytest.raises(StorageUnavailable, match="replaced while it was read"):
            stream.read()


def test_a_large_object_that_is_deleted_while_it_is_read_fails_loudly(place: Place) -> None:
    place.direct.publish(KEY, LARGE)
    with place.backend.open(KEY) as stream:
        stream.read(1)
        place.direct.delete(KEY)
        with pytest.raises(BlobMissing, match="deleted while it was read"):
            stream.read()


def test_a_list_that_breaks_off_is_no_short_list(place: Place) -> None:
    for number in range(5):
        place.direct.publish(f"outputs/{number}", SMALL)
    # Swift lists what has just been made a moment later when it is busy.
    wait_until(lambda: len(list(place.direct.paths())) == 5)
    paged = {**place.options, "s3_additional_kwargs": {"MaxKeys": 2}}
    backend = S3Backend(place.url, paged, limits=SHORT)
    place.proxy.inject(lambda request: "continuation-token" in request.query, SERVICE_UNAVAILABLE)
    listed = backend.paths()
    assert [next(listed), next(listed)] == ["outputs/0", "outputs/1"]
    with pytest.raises(StorageUnavailable):
        next(listed)


# Two writers, wrong content -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("winner", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("loser", [SMALL, LARGE], ids=["small", "large"])
def test_of_two_writers_at_once_the_first_to_complete_wins(
    place: Place, winner: list[bytes], loser: list[bytes]
) -> None:
    def chunks() -> Iterator[bytes]:
        *first, last = loser
        yield from first
        place.direct.publish(KEY, winner)
        yield last

    with pytest.raises(KeyExists):
        place.backend.publish(KEY, chunks())
    assert place.read() == b"".join(winner)
    place.no_upload_stays()


@pytest.mark.parametrize(
    "expected", [Expected(size=SIZE_MIB * MIB + 1), Expected(size=SIZE_MIB * MIB - 1), Expected(sha256="0" * 64)]
)
def test_a_large_source_that_is_not_what_was_declared_leaves_nothing(place: Place, expected: Expected) -> None:
    with pytest.raises(ContentMismatch):
        place.backend.publish(KEY, LARGE, expected=expected)
    assert place.proxy.count("CreateMultipartUpload") == 1
    place.nothing_stays()


def test_no_secret_is_told_or_logged(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    secret = "S3cr3tAccessKeyOfNobody"
    options = {**place.options, "secret": secret}
    with caplog.at_level(logging.DEBUG):
        for attempt in (
            lambda backend: backend.publish(KEY, SMALL),
            lambda backend: backend.open(KEY),
            lambda backend: backend.size(KEY),
            lambda backend: list(backend.leftovers()),
        ):
            with pytest.raises(InvalidSettings) as caught:
                attempt(S3Backend(place.url, options, limits=SHORT))
            assert secret not in repr(caught.value)
        with pytest.raises(InvalidSettings) as caught:
            S3Backend(place.url, {**options, "no_such_option": 1})
        assert secret not in str(caught.value)
    assert secret not in caplog.text
    assert secret not in repr(S3Backend(place.url, options))


# Signals --------------------------------------------------------------------------------------------------------------

# One process that has imported everything forks a writer for each point, waits until it is there, and signals it.
_WRITERS = """
import json, os, signal, sys, time
from blocks.storage import open_backend
from blocks.storage.s3.upload import S3Upload

url, options, how, points = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
reader, writer = os.pipe()

def here():
    os.write(writer, b"x")
    while True:  # in short steps: a signal that comes just before a step begins does not wake it
        time.sleep(0.01)

def chunks(point):
    for number in range(20):
        if number == point:
            here()
        yield bytes(2**20)
    if point == 20:
        here()

def child(point):
    commit = S3Upload.commit
    def committed(upload):
        commit(upload)
        if point == "after the commit":
            here()
    S3Upload.commit = committed
    if how == "SIGTERM-unwinding":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    open_backend(url, options).publish(f"outputs/{point}", chunks(point))

for point in points:
    pid = os.fork()
    if pid == 0:
        child(point)  # and out through the interpreter's own end
        sys.exit(1)
    os.read(reader, 1)
    os.kill(pid, signal.SIGKILL if how == "SIGKILL" else signal.SIGTERM)
    print(json.dumps([point, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]), flush=True)
"""
POINTS: list[int | str] = [0, 6, 11, 12, 13, 14, 16, 18, 20, "after the commit"]
# The first part is on its way when the 13th MiB comes, and nothing lies on the server before.
BEGUN = {f"outputs/{point}" for point in (13, 14, 16, 18, 20)}


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGTERM-unwinding"])
def test_a_signal_at_any_point_of_a_write_leaves_nothing_that_can_be_read(place: Place, how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WRITERS, place.url, json.dumps(place.options), how, json.dumps(POINTS)],
        capture_output=True,
        text=True,
        timeout=len(POINTS) * PATIENCE_SECONDS,  # one that hangs never ends
    )
    assert done.returncode == 0, done.stderr
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    expected = {"SIGKILL": -signal.SIGKILL, "SIGTERM": -signal.SIGTERM, "SIGTERM-unwinding": 143}[how]
    assert [status for _, status in ends] == [expected] * len(POINTS)

    if how == "SIGTERM-unwinding":  # the process had the time to clear up after itself, also what it had just committed
        place.nothing_stays()
        return
    # Swift lists what has just been made a moment later when it is busy.
    wait_until(lambda: list(place.direct.paths()) == ["outputs/after the commit"])
    assert place.direct.size("outputs/after the commit") == 20 * MIB
    wait_until(lambda: set(place.direct.leftovers()) == BEGUN)
    for key in BEGUN:
        assert place.direct.delete(key, interrupted=True) is False
    place.no_upload_stays()
    assert list(place.direct.paths()) == ["outputs/after the commit"]
