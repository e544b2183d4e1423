"""What an upload to S3 costs: this storage's `publish` against boto3's `upload_fileobj`, in one run.

1 GiB from one file goes to the test's own S3 server (OpenStack Swift on loopback), each way in a process of its own, in
turn. Prints the medians of speed and of the rise in peak memory, and their ratios; what was stored is read back through
the storage and compared. Exit code 1 when a bar is missed.

    python -m benchmarks.s3_upload [--mib 1024] [--rounds 3]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from blocks.storage import CHUNK_BYTES, open_backend, read_chunks
from tests.s3 import S3Server, running_s3_server

WAYBILL, BOTO3 = "waybill", "boto3"
# At least so much of boto3's speed, with at most so much of its memory.
MIN_SPEED_RATIO = 0.9
MAX_MEMORY_RATIO = 0.5
KEY = "outputs/benchmark"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=[WAYBILL, BOTO3], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(upload(arguments.child, **json.loads(sys.stdin.read()))))
        return 0
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as folder, running_s3_server() as server:
        source = Path(folder) / "source"
        sha256 = write_source(source, arguments.mib)
        results = measure(server, source, arguments.rounds, sha256)
    return report(results, arguments.mib)


def write_source(path: Path, mib: int) -> str:
    """Bytes that nothing can compress; returns their sha256."""
    digest = hashlib.sha256()
    with path.open("wb") as stream:
        for _ in range(mib):
            chunk = os.urandom(CHUNK_BYTES)
            digest.update(chunk)
            stream.write(chunk)
    return digest.hexdigest()


def measure(server: S3Server, source: Path, rounds: int, sha256: str) -> dict[str, list[dict[str, float]]]:
    """Seconds and risen peak of each way, in turn, each into a bucket of its own that is emptied again."""
    results: dict[str, list[dict[str, float]]] = {WAYBILL: [], BOTO3: []}
    for number in range(rounds):
        for way in (WAYBILL, BOTO3) if number % 2 == 0 else (BOTO3, WAYBILL):
            bucket = server.new_bucket()
            outcome = in_child(way, server, bucket, source)
            results[way].append(outcome)
            print(f"round {number} {way}: {outcome}", file=sys.stderr)
            outcome["read_seconds"] = compare(server, bucket, sha256)
            server.administrator.delete_object(Bucket=bucket, Key=KEY)
    return results


def in_child(way: str, server: S3Server, bucket: str, source: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.s3_upload", "--child", way],
        input=json.dumps({"options": server.options, "bucket": bucket, "source": str(source)}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the upload by {way} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def compare(server: S3Server, bucket: str, sha256: str) -> float:
    """Read the object back; returns the seconds it took."""
    started = time.perf_counter()
    digest = hashlib.sha256()
    with open_backend(f"s3://{bucket}", server.options).open(KEY) as stream:
        for chunk in read_chunks(stream):
            digest.update(chunk)
    assert digest.hexdigest() == sha256, "other bytes were stored than were sent"
    return time.perf_counter() - started


# In the child ---------------------------------------------------------------------------------------------------------


def upload(way: str, *, options: dict[str, Any], bucket: str, source: str) -> dict[str, float]:
    """One upload, after a small one that opens connections and loads what is loaded late."""
    send = with_waybill(options, bucket) if way == WAYBILL else with_boto3(options, bucket)
    small = Path(source).with_name(f"small-{way}")
    small.write_bytes(b"x")
    send("warm-up", small)
    before = peak_kib()
    started = time.perf_counter()
    send(KEY, Path(source))
    return {"seconds": time.perf_counter() - started, "risen_mib": (peak_kib() - before) / 1024}


def with_waybill(options: dict[str, Any], bucket: str) -> Any:
    backend = open_backend(f"s3://{bucket}", options)

    def send(key: str, path: Path) -> None:
        with path.open("rb") as stream:
            backend.publish(key, read_chunks(stream))

    return send


def with_boto3(options: dict[str, Any], bucket: str) -> Any:
    import boto3

    client: Any = boto3.client(  # pyright: ignore[reportUnknownMemberType]
        "s3",
        endpoint_url=options["endpoint_url"],
        aws_access_key_id=options["key"],
        aws_secret_access_key=options["secret"],
        region_name="us-east-1",
    )

    def send(key: str, path: Path) -> None:
        with path.open("rb") as stream:
            client.upload_fileobj(stream, bucket, key)

    return send


def peak_kib() -> int:
    """The largest resident memory so far; what the imports needed is in it already."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def report(results: dict[str, list[dict[str, float]]], mib: int) -> int:
    """Print the table; 1 when a bar is missed."""
    seconds = {way: statistics.median(one["seconds"] for one in outcomes) for way, outcomes in results.items()}
    memory = {way: statistics.median(one["risen_mib"] for one in outcomes) for way, outcomes in results.items()}
    reads = statistics.median(one["read_seconds"] for outcomes in results.values() for one in outcomes)
    for way in results:
        print(f"{way:10} {seconds[way]:8.2f} s {mib / seconds[way]:8.0f} MiB/s   peak memory +{memory[way]:.0f} MiB")
    speed_ratio, memory_ratio = seconds[BOTO3] / seconds[WAYBILL], memory[WAYBILL] / memory[BOTO3]
    print(f"speed against boto3: {speed_ratio:.2f} (bar {MIN_SPEED_RATIO}); memory: {memory_ratio:.2f} "
          f"(bar {MAX_MEMORY_RATIO}); read back at {mib / reads:.0f} MiB/s")  # fmt: skip
    return 0 if speed_ratio >= MIN_SPEED_RATIO and memory_ratio <= MAX_MEMORY_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
