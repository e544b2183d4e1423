"""How fast many stored files are removed, compared with the bare calls on an equal set in the same run.

Local: 100,000 files, each a blob with its manifest, in the product's 256 folders, removed by `Backend.delete_many` in
batches of 1,000 files in random order (the blobs, then their manifests, as an expiry does), against a loop of
`os.unlink`, which does not wait for the disk. S3: 20,000 objects on a Swift server, against boto3's `delete_objects` of
1,000. Prints medians and the ratio of the speeds. Exit code 1 when a bar is missed.

    python -m benchmarks.expiry_storage [--files 100000] [--objects 20000] [--rounds 3] [--folder DIR]
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from blocks.custody.manifest import manifest_path
from blocks.storage import Backend, new_blob_path, open_backend
from tests.s3 import S3Server, running_s3_server

MIN_LOCAL_RATIO, MIN_S3_RATIO = 0.6, 0.8
BATCH_FILES = 1000
# Enough for the server to be busy while the objects are made, which is not measured.
WRITERS = 8
CONTENT = b"x" * 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--objects", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the local files are made; default: the temporary folder")
    arguments = parser.parse_args()
    met = True
    if arguments.files:
        met = measure_local(arguments.files, arguments.rounds, arguments.folder)
    if arguments.objects:
        with running_s3_server() as server:
            met = measure_s3(server, arguments.objects, max(1, arguments.rounds - 1)) and met
    return 0 if met else 1


def measure_local(files: int, rounds: int, parent: Path | None) -> bool:
    seconds: dict[str, list[float]] = {"delete_many": [], "os.unlink": []}
    for number in range(rounds):
        for way in in_turn(seconds, number):
            with tempfile.TemporaryDirectory(prefix="waybill-bench-", dir=parent) as name:
                blobs = make_files(Path(name), files)
                os.sync()  # what was written before is not to be waited for
                if way == "delete_many":
                    backend = open_backend(name)
                    elapsed = timed(lambda backend=backend, blobs=blobs: remove(backend, blobs))
                else:
                    elapsed = timed(lambda name=name, blobs=blobs: unlink_all(name, blobs))
                assert not any(found.is_file() for found in Path(name).rglob("*"))
            note(seconds, way, number, elapsed, 2 * files)
    return report("local", seconds, "os.unlink", MIN_LOCAL_RATIO)


def measure_s3(server: S3Server, objects: int, rounds: int) -> bool:
    seconds: dict[str, list[float]] = {"delete_many": [], "delete_objects": []}
    for number in range(rounds):
        for way in in_turn(seconds, number):
            bucket = server.new_bucket()
            paths = sorted(new_blob_path("stage_output", uuid4()) for _ in range(objects))
            put_all(server, bucket, paths)
            if way == "delete_many":
                backend = open_backend(f"s3://{bucket}", server.options)
                elapsed = timed(lambda backend=backend, paths=paths: expect_none(backend.delete_many(paths)))
            else:
                elapsed = timed(lambda bucket=bucket, paths=paths: delete_all(server, bucket, paths))
            note(seconds, way, number, elapsed, objects)
    return report("S3", seconds, "delete_objects", MIN_S3_RATIO)


def in_turn(ways: dict[str, list[float]], number: int) -> Sequence[str]:
    """The ways of removing, in another order each round: the machine may be busier at one time than at another."""
    return list(ways) if number % 2 else list(reversed(ways))


def make_files(root: Path, files: int) -> list[str]:
    blobs = sorted(new_blob_path("stage_output", uuid4()) for _ in range(files))
    for digits in range(256):
        (root / f"outputs/{digits:02x}").mkdir(parents=True, exist_ok=True)
    for blob in blobs:
        for path in (blob, manifest_path(blob)):
            descriptor = os.open(f"{root}/{path}", os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(descriptor, CONTENT)
            os.close(descriptor)
    random.shuffle(blobs)
    return blobs


def remove(backend: Backend, blobs: Sequence[str]) -> None:
    for start in range(0, len(blobs), BATCH_FILES):
        batch = blobs[start : start + BATCH_FILES]
        expect_none(backend.delete_many([*batch, *map(manifest_path, batch)]))


def unlink_all(root: str, blobs: Sequence[str]) -> None:
    for blob in blobs:
        os.unlink(f"{root}/{blob}")  # noqa: PTH108 -- the bare call is what is measured
        os.unlink(f"{root}/{manifest_path(blob)}")  # noqa: PTH108


def put_all(server: S3Server, bucket: str, paths: Sequence[str]) -> None:
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda path: server.administrator.put_object(Bucket=bucket, Key=path, Body=b"x"), paths))


def delete_all(server: S3Server, bucket: str, paths: Sequence[str]) -> None:
    for start in range(0, len(paths), BATCH_FILES):
        batch = [{"Key": path} for path in paths[start : start + BATCH_FILES]]
        answer = server.administrator.delete_objects(Bucket=bucket, Delete={"Objects": batch, "Quiet": True})
        assert not answer.get("Errors")


def expect_none(failed: dict[str, str]) -> None:
    assert not failed, next(iter(failed.values()))


def timed(act: Callable[[], None]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def note(seconds: dict[str, list[float]], way: str, number: int, elapsed: float, removed: int) -> None:
    seconds[way].append(elapsed)
    print(f"round {number} {way}: {elapsed:.2f} s, {removed / elapsed:,.0f} a second", file=sys.stderr)


def report(where: str, seconds: dict[str, list[float]], bare: str, bar: float) -> bool:
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    ratio = medians[bare] / medians["delete_many"]
    ours = medians["delete_many"]
    print(f"{where}: delete_many {ours:.2f} s, {bare} {medians[bare]:.2f} s, ratio {ratio:.2f} (bar {bar})")
    return ratio >= bar


if __name__ == "__main__":
    sys.exit(main())
