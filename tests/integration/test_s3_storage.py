"""The S3 back end on a real server: its place in the bucket, options, pages, presigned URLs, memory, many callers."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks.errors import BlobMissing, InvalidSettings
from blocks.storage import Backend, Expected, open_backend, read_chunks
from blocks.storage.s3.upload import MAX_PART_BYTES, MAX_PARTS, PART_BYTES, part_size
from tests.s3 import S3Server
from tests.s3.fault_proxy import FaultProxy, running_fault_proxy, wait_until
from tests.stack_driver import PATIENCE_SECONDS

MIB = 2**20
KEY = "outputs/3f/3f2a"
LARGE = [os.urandom(MIB) for _ in range(18)]


@pytest.fixture
def store(s3_server: S3Server, s3_bucket: str) -> Backend:
    return open_backend(f"s3://{s3_bucket}/store", s3_server.options)


@pytest.fixture
def client(s3_server: S3Server) -> Any:
    return s3_server.administrator


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with running_fault_proxy(s3_server.address) as proxy:
        yield proxy


def read(backend: Backend, key: str = KEY) -> bytes:
    with backend.open(key) as stream:
        return b"".join(read_chunks(stream))


# The place in the bucket ----------------------------------------------------------------------------------------------


def test_s3_and_s3a_name_the_same_place(s3_server: S3Server, s3_bucket: str) -> None:
    open_backend(f"s3a://{s3_bucket}/store/", s3_server.options).publish(KEY, [b"x"])
    backend = open_backend(f"s3://{s3_bucket}/store", s3_server.options)
    assert read(backend) == b"x"
    assert backend.locate(KEY) == f"s3://{s3_bucket}/store/{KEY}"


def test_nothing_outside_of_the_prefix_is_seen_or_touched(
    s3_server: S3Server, s3_bucket: str, store: Backend, client: Any
) -> None:
    foreign = ["store", "store2/outputs/x", "stor", "other/outputs/3f/3f2a", "outputs/3f/3f2a", "store-2/x"]
    for name in foreign:
        client.put_object(Bucket=s3_bucket, Key=name, Body=b"foreign")
        client.create_multipart_upload(Bucket=s3_bucket, Key=f"{name}-upload")
    client.create_multipart_upload(Bucket=s3_bucket, Key="store/outputs/own")
    store.publish(KEY, [b"x"])
    assert list(store.paths()) == [KEY]
    assert list(store.paths("outputs/3")) == []
    assert list(store.leftovers()) == ["outputs/own"]
    assert list(store.leftovers("output")) == []
    store.delete(KEY, interrupted=True)
    store.delete("outputs/own", interrupted=True)
    assert list(store.leftovers()) == []
    whole = open_backend(f"s3://{s3_bucket}", s3_server.options)
    assert set(whole.paths()) == set(foreign)
    assert set(whole.leftovers()) == {f"{name}-upload" for name in foreign}


def test_foreign_names_below_the_prefix_are_not_listed_as_keys(store: Backend, s3_bucket: str, client: Any) -> None:
    for name in ("store/folder/", "store//double", "store/back\\slash", "store/../climbs", "store/line\nbreak"):
        client.put_object(Bucket=s3_bucket, Key=name, Body=b"")
        client.create_multipart_upload(Bucket=s3_bucket, Key=name)
    store.publish(KEY, [b"x"])
    assert list(store.paths()) == [KEY]
    assert list(store.leftovers()) == []


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///prefix", "s3://bucket/../other", "s3://bucket/a//b", f"s3://bucket/{'p' * 124}"]
)
def test_a_url_without_a_usable_place_is_refused(url: str) -> None:
    with pytest.raises(InvalidSettings):
        open_backend(url, {"key": "k", "secret": "s"})


def test_credentials_in_the_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidSettings, match="storage options") as caught:
        open_backend("s3://key:hunter2@bucket/prefix")
    assert "hunter2" not in str(caught.value)


def test_a_bucket_that_does_not_exist_is_told(s3_server: S3Server) -> None:
    backend = open_backend("s3://no-such-bucket/store", s3_server.options)
    for attempt in (
        lambda: backend.publish(KEY, [b"x"]),
        lambda: backend.publish(KEY, LARGE),
        lambda: backend.open(KEY),
        lambda: list(backend.paths()),
        lambda: list(backend.leftovers()),
    ):
        with pytest.raises(InvalidSettings, match="no such bucket; create it"):
            attempt()


# Lists ----------------------------------------------------------------------------------------------------------------


def test_lists_go_on_page_after_page(s3_server: S3Server, s3_bucket: str, client: Any) -> None:
    """The server's page is 1,000; here it is asked for pages of 7, and of 2 for uploads."""
    options = {**s3_server.options, "s3_additional_kwargs": {"MaxKeys": 7, "MaxUploads": 2}}
    backend = open_backend(f"s3://{s3_bucket}/store", options)
    one_by_one = open_backend(
        f"s3://{s3_bucket}/store", {**s3_server.options, "s3_additional_kwargs": {"MaxUploads": 1}}
    )
    keys = [f"outputs/{number:02x}/ü +&{number}" for number in range(30)]
    for key in keys:
        client.put_object(Bucket=s3_bucket, Key=f"store/{key}", Body=b"x")
    for key in keys[:9]:
        client.create_multipart_upload(Bucket=s3_bucket, Key=f"store/{key}")
    assert list(backend.paths()) == [one.path for one in backend.objects()] == keys
    assert sorted(backend.leftovers()) == sorted(one_by_one.leftovers()) == keys[:9]
    assert list(backend.paths("outputs/0a")) == [keys[10]]


def test_what_dead_writers_left_is_found_by_age_and_removed_without_the_blob(
    store: Backend, s3_bucket: str, client: Any
) -> None:
    store.publish(KEY, [b"stays"])
    for _ in range(2):
        client.create_multipart_upload(Bucket=s3_bucket, Key=f"store/{KEY}")
    client.create_multipart_upload(Bucket=s3_bucket, Key=f"store/{KEY}-neighbour")
    assert sorted(store.leftovers()) == [KEY, KEY, f"{KEY}-neighbour"]
    assert list(store.leftovers(older_than=timedelta(hours=1))) == []
    assert store.abort(KEY, older_than=timedelta(hours=1)) == 0
    wait_until(lambda: len(list(store.leftovers(older_than=timedelta(seconds=1)))) == 3)
    assert store.abort(KEY) == 2
    assert store.abort(KEY) == 0
    assert list(store.leftovers()) == [f"{KEY}-neighbour"]
    assert read(store) == b"stays"


# Options and credentials ----------------------------------------------------------------------------------------------


def test_storage_class_and_metadata_go_with_every_object(
    s3_server: S3Server, s3_bucket: str, proxy: FaultProxy
) -> None:
    options = {
        **s3_server.options,
        "endpoint_url": proxy.address,
        "s3_additional_kwargs": {"StorageClass": "STANDARD", "Metadata": {"owner": "archive"}},
    }
    backend = open_backend(f"s3://{s3_bucket}/store", options)
    backend.publish("outputs/small", [b"x"])
    backend.publish("outputs/large", LARGE)
    assert read(backend, "outputs/small") == b"x"
    begun = [one for one in proxy.requests if one.operation in {"PutObject", "CreateMultipartUpload"}]
    assert len(begun) == 2
    for request in begun:
        assert request.headers["x-amz-storage-class"] == "STANDARD"
        assert request.headers["x-amz-meta-owner"] == "archive"


def test_encryption_by_the_server_is_asked_for(s3_server: S3Server, s3_bucket: str, proxy: FaultProxy) -> None:
    """The server here has none and says so, which is better than to store without."""
    options = {
        **s3_server.options,
        "endpoint_url": proxy.address,
        "s3_additional_kwargs": {"ServerSideEncryption": "AES256"},
    }
    backend = open_backend(f"s3://{s3_bucket}/store", options)
    for content in ([b"x"], LARGE):
        with pytest.raises(InvalidSettings, match="see the storage options"):
            backend.publish(KEY, content)
    assert {request.headers["x-amz-server-side-encryption"] for request in proxy.requests} == {"AES256"}
    assert list(backend.paths()) == list(backend.leftovers()) == []


def test_every_body_is_signed_with_its_sha256(s3_server: S3Server, s3_bucket: str, proxy: FaultProxy) -> None:
    backend = open_backend(f"s3://{s3_bucket}/store", {**s3_server.options, "endpoint_url": proxy.address})
    backend.publish("outputs/small", [b"x"])
    backend.publish("outputs/large", LARGE)
    sent = [one.headers for one in proxy.requests if one.operation in {"PutObject", "UploadPart"}]
    assert len(sent) == 3
    for headers in sent:
        assert len(bytes.fromhex(headers["X-Amz-Content-SHA256"])) == 32
        assert "Expect" not in headers  # aiohttp would wait for the leave to send for ever


_WITH_AWS_CHAIN = """
import sys
from blocks.storage import open_backend
backend = open_backend(sys.argv[1])
backend.publish("outputs/x", [b"x"])
print(backend.size("outputs/x"))
"""


def test_credentials_come_from_the_usual_chain(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    """A profile's file with keys and address: nothing about it is given to Waybill."""
    (tmp_path / "credentials").write_text(
        f"[archive]\naws_access_key_id = {s3_server.access_key}\naws_secret_access_key = {s3_server.secret_key}\n"
    )
    environment = {
        **os.environ,
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_PROFILE": "archive",
        "AWS_ENDPOINT_URL_S3": s3_server.address,
    }
    done = subprocess.run(
        [sys.executable, "-c", _WITH_AWS_CHAIN, f"s3://{s3_bucket}/store"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"secret": "wrong"}, "SignatureDoesNotMatch"),
        ({"key": "nobody:here"}, "the S3 server answered"),
        ({"client_kwargs": {"no_such_argument": 1}}, "TypeError"),
    ],
)
def test_wrong_credentials_and_options_are_told(
    s3_server: S3Server, s3_bucket: str, wrong: dict[str, Any], said: str
) -> None:
    backend = open_backend(f"s3://{s3_bucket}/store", {**s3_server.options, **wrong})
    for attempt in (lambda: backend.publish(KEY, [b"x"]), lambda: list(backend.paths()), lambda: backend.open(KEY)):
        with pytest.raises(InvalidSettings, match=said):
            attempt()


WRONG_OPTIONS: list[dict[str, Any]] = [
    {"no_such_option": 1},
    {"username": "u"},
    {"config_kwargs": {"no_such": 1}},
    {"config_kwargs": 5},
    {"config_kwargs": {"max_pool_connections": 0}},
    {"s3_additional_kwargs": 5},
]


@pytest.mark.parametrize("wrong", WRONG_OPTIONS)
def test_options_that_s3fs_does_not_take_are_refused_before_anything_is_stored(
    s3_server: S3Server, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InvalidSettings, match="does not take these options"):
        open_backend("s3://bucket/store", {**s3_server.options, **wrong})


# Presigned URLs -------------------------------------------------------------------------------------------------------


def presigned(backend: Backend, *, seconds: float = 600, filename: str = "report.pdf") -> str:
    url = backend.presign(KEY, expires_in=timedelta(seconds=seconds), filename=filename, media_type="application/pdf")
    assert url is not None
    return url


@pytest.mark.parametrize("filename", ["report.pdf", "Übersicht 文書.pdf", 'a"b\\c%41;d\r\nX-Evil: 1', "..", ""])
def test_a_presigned_url_gives_the_blob_as_a_download(store: Backend, filename: str) -> None:
    content = os.urandom(MIB)
    store.publish(KEY, [content])
    answer = httpx.get(presigned(store, filename=filename), timeout=PATIENCE_SECONDS)
    assert answer.status_code == 200
    assert answer.content == content
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    assert "X-Evil" not in answer.headers
    assert (
        httpx.get(presigned(store), headers={"Range": "bytes=5-9"}, timeout=PATIENCE_SECONDS).content == content[5:10]
    )


def test_a_presigned_url_opens_nothing_else(store: Backend) -> None:
    store.publish(KEY, [b"x"])
    store.publish(f"{KEY}2", [b"another"])
    url = presigned(store)
    for tampered in (
        url.replace(KEY, f"{KEY}2"),
        url.replace("report.pdf", "other.pdf"),
        url.replace("application%2Fpdf", "text%2Fhtml"),
        url.replace("X-Amz-Expires=600", "X-Amz-Expires=6000"),
        url[:-1] + ("0" if url[-1] != "0" else "1"),
    ):
        assert tampered != url
        assert httpx.get(tampered, timeout=PATIENCE_SECONDS).status_code == 403
    assert httpx.put(url, content=b"y", timeout=PATIENCE_SECONDS).status_code == 403
    assert httpx.delete(url, timeout=PATIENCE_SECONDS).status_code == 403
    assert httpx.get(url, timeout=PATIENCE_SECONDS).status_code == 200


def test_a_presigned_url_ends(store: Backend) -> None:
    store.publish(KEY, [b"x"])
    url = presigned(store, seconds=1)
    wait_until(lambda: httpx.get(url, timeout=PATIENCE_SECONDS).status_code == 403)
    assert "X-Amz-Expires=604800" in presigned(store, seconds=30 * 24 * 3600)


def test_no_url_is_made_where_it_would_not_work(s3_server: S3Server, s3_bucket: str) -> None:
    for options in (
        {"endpoint_url": s3_server.address, "anon": True},
        {**s3_server.options, "s3_additional_kwargs": {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}},
    ):
        backend = open_backend(f"s3://{s3_bucket}/store", options)
        assert backend.presign(KEY, expires_in=timedelta(1), filename="x", media_type="x/y") is None


# Parts and memory -----------------------------------------------------------------------------------------------------


def test_parts_are_few_enough_and_small_enough_for_every_size_that_s3_takes() -> None:
    largest = 5 * 1024**4
    total, number = 0, 0
    while total < largest:
        number += 1
        total += part_size(number, None)
    assert number <= MAX_PARTS
    assert part_size(MAX_PARTS, None) <= MAX_PART_BYTES
    assert part_size(1000, None) == PART_BYTES
    for size in (0, 1, PART_BYTES * MAX_PARTS, PART_BYTES * MAX_PARTS + 1, largest - 1, largest):
        assert part_size(1, size) * MAX_PARTS >= size
        assert 5 * MIB <= part_size(1, size) == part_size(MAX_PARTS, size) <= MAX_PART_BYTES


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("difference", [-1, 0, 1])
def test_sizes_around_the_edge_of_a_part(store: Backend, difference: int, declared: bool) -> None:
    content = os.urandom(2 * PART_BYTES + difference)
    store.publish(KEY, [content], expected=Expected(size=len(content)) if declared else None)
    assert read(store) == content
    assert store.size(KEY) == len(content)


def test_chunks_of_any_size_make_the_same_object(store: Backend) -> None:
    content = b"".join(LARGE)
    cuts = [0, 1, 1, 70_000, PART_BYTES - 1, PART_BYTES, PART_BYTES + 5, len(content)]
    store.publish(KEY, [content[start:end] for start, end in pairwise(cuts)])
    assert read(store) == content


_IN_AND_OUT = """
import json, sys
from pathlib import Path
from blocks.storage import open_backend, read_chunks

def peak_kib():
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[1])

backend = open_backend(sys.argv[1], json.loads(sys.argv[2]))
backend.publish("outputs/warm", [b"x"])
before = peak_kib()
backend.publish("outputs/large", (bytes([number % 256]) * 2**20 for number in range(256)))
with backend.open("outputs/large") as stream:
    for number, chunk in enumerate(read_chunks(stream)):
        assert chunk == bytes([number % 256]) * 2**20
print(number, peak_kib() - before)
"""


def test_a_large_object_goes_in_and_out_with_at_most_64_mib_of_memory(s3_server: S3Server, s3_bucket: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IN_AND_OUT, f"s3://{s3_bucket}/store", json.dumps(s3_server.options)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    last, extra_kib = map(int, done.stdout.split())
    assert last == 255
    assert extra_kib < 64 * 1024


# Many callers ---------------------------------------------------------------------------------------------------------


def test_many_threads_write_and_read_at_once(store: Backend) -> None:
    def there_and_back(number: int) -> bool:
        content = [f"{number}".encode() * 100_000] * (number % 20)
        store.publish(f"outputs/{number}", content)
        return read(store, f"outputs/{number}") == b"".join(content)

    with ThreadPoolExecutor(40) as pool:
        assert all(pool.map(there_and_back, range(80)))
    assert len(list(store.paths())) == 80


def test_several_readers_of_one_large_object_jump_about(store: Backend) -> None:
    content = b"".join(LARGE)
    store.publish(KEY, LARGE)

    def jump(seed: int) -> bool:
        with store.open(KEY) as stream:
            for step in range(12):
                position = (seed * 7_919_191 + step * 5_000_011) % len(content)
                stream.seek(position)
                if stream.read(65_552) != content[position : position + 65_552]:
                    return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(jump, range(8)))


# In a process of its own: a fork of the tests' own would take along whatever they have running.
_FORKING = """
import json, os, sys
from blocks.storage import open_backend
store = open_backend(sys.argv[1], json.loads(sys.argv[2]))
store.publish("outputs/parent", [b"of the parent"])
child = os.fork()
if child == 0:
    code = 1
    try:
        store.publish("outputs/child", [b"of the child"])
        with store.open("outputs/parent") as stream:
            code = 0 if stream.read() == b"of the parent" else 2
    finally:
        os._exit(code)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_goes_on_with_connections_of_its_own(store: Backend, s3_server: S3Server) -> None:
    url, options = store.locate("x").removesuffix("/x"), json.dumps(s3_server.options)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORKING, url, options],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert read(store, "outputs/child") == b"of the child"


def test_a_copy_of_the_storage_connects_anew(store: Backend) -> None:
    store.publish(KEY, [b"x"])
    assert read(pickle.loads(pickle.dumps(store))) == read(copy.deepcopy(store)) == b"x"  # noqa: S301


def test_what_another_has_changed_is_seen_at_once(s3_server: S3Server, s3_bucket: str, store: Backend) -> None:
    other = open_backend(f"s3://{s3_bucket}/store", s3_server.options)
    assert list(store.paths()) == []
    with pytest.raises(BlobMissing):
        store.size(KEY)
    other.publish(KEY, [b"x"])
    assert (list(store.paths()), store.size(KEY), read(store)) == ([KEY], 1, b"x")
    other.publish(KEY, [b"longer"], replace=True)
    assert (store.size(KEY), read(store)) == (6, b"longer")
    other.delete(KEY)
    assert list(store.paths()) == []
    with pytest.raises(BlobMissing):
        store.open(KEY)


def test_a_reader_that_is_left_open_does_not_hold_up_the_end(
    s3_server: S3Server, s3_bucket: str, store: Backend
) -> None:
    store.publish(KEY, LARGE)
    program = (
        "import json, sys, time\n"
        "from blocks.storage import open_backend\n"
        "stream = open_backend(sys.argv[1], json.loads(sys.argv[2])).open('outputs/3f/3f2a')\n"
        "stream.read(2**20)\n"
        "print(time.monotonic())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, f"s3://{s3_bucket}/store", json.dumps(s3_server.options)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, "")
    # The clock is one for all processes; starting one takes as long as the machine is busy.
    assert time.monotonic() - float(done.stdout) < 60
