"""The client's side of a hand-over: a large file down and up, next to curl from and to nginx in the same run.

One file (5 GB by default), sealed for a key, is downloaded by curl and by our client, whole and in four ranges, from
the same nginx; ours also decrypts, compares the hash and writes the content. Up, curl sends the plain file to nginx
(PUT), and our client seals it on its way to a server that does nothing but write, because nginx speaks no tus. Every
copy goes to the same disk and is removed again. Prints medians, their ratios, the processor time of one round, and the
rise of the client's peak memory. Exit code 1 when a bar is missed.

    python -m benchmarks.transfer_client [--size 5000000000] [--rounds 3] [--folder /tmp]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.custody_throughput import write_source
from blocks.age import X25519Identity, seal
from tests.nginx_server import running_nginx

MIN_RATIO = 0.8
MAX_RISE_MIB = 64
PIECE_BYTES = 1 << 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=5_000_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="waybill-bench-", dir=arguments.folder) as name:
        folder = Path(name)
        (folder / "target").mkdir()
        (folder / "target").chmod(0o777)
        source, sealed = folder / "plain", folder / "sealed"
        write_source(source, arguments.size)
        identity = X25519Identity.generate()
        with source.open("rb") as plain, sealed.open("wb") as into:
            for piece in seal(iter(lambda: plain.read(PIECE_BYTES), b""), [identity.recipient]):
                into.write(piece)
        with source.open("rb") as plain:
            sha256 = hashlib.file_digest(plain, "sha256").hexdigest()
        with running_nginx(folder, puts=True) as nginx, running_sink(folder / "target" / "sunk") as sink:
            runs = {
                "curl down": lambda: curl(f"{nginx}/sealed", folder),
                "client down": lambda: client(folder, "down", f"{nginx}/sealed", identity.text, sha256, 1),
                "client down, ranges": lambda: client(folder, "down", f"{nginx}/sealed", identity.text, sha256, 4),
                "curl up": lambda: curl(f"{nginx}/target/put", folder, "-T", str(source)),
                "client up": lambda: client(folder, "up", f"{sink}/t/upload", identity.recipient.text, sha256, 1),
            }
            return report(measure(runs, arguments.rounds), arguments.size)


Measured = dict[str, list[tuple[float, float, float]]]
"""Seconds, MiB of memory and processor seconds of the runs of a kind."""


def measure(runs: dict[str, Callable[[], tuple[float, float]]], rounds: int) -> Measured:
    """Every kind of run, in turns."""
    found: Measured = {name: [] for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            busy = busy_seconds()
            seconds, rise = run()
            found[name].append((seconds, rise, busy_seconds() - busy))
        print(f"round {number}: " + ", ".join(f"{n} {v[-1][0]:.2f} s" for n, v in found.items()), file=sys.stderr)
    return found


def curl(url: str, folder: Path, *more: str) -> tuple[float, float]:
    target = folder / "target" / "curl"
    began = time.perf_counter()
    subprocess.run(["curl", "-sSf", "-o", str(target), *more, url], check=True)
    took = time.perf_counter() - began
    for written in (folder / "target").iterdir():
        written.unlink()
    return took, 0.0


def client(folder: Path, direction: str, url: str, key: str, sha256: str, ranges: int) -> tuple[float, float]:
    """Run our client in a process of its own, whose memory and time begin after its imports."""
    command = [sys.executable, "-c", _CLIENT, direction, url, str(folder), key, sha256, str(ranges)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    found: dict[str, Any] = json.loads(done.stdout)
    for written in (folder / "target").iterdir():
        written.unlink()
    return found["seconds"], found["rise_mib"]


_CLIENT = "from benchmarks.transfer_client import run_client; run_client()"


def run_client() -> None:
    """One download or upload, in this process."""
    import httpx

    from blocks.age import parse_recipient
    from blocks.hand_over import Declared, download, upload

    direction, url, name, key, sha256, ranges = sys.argv[1:]
    folder = Path(name)

    async def run() -> None:
        async with httpx.AsyncClient() as control:
            if direction == "up":
                state, declared = folder / "state", Declared(content_sha256=sha256)
                await upload(
                    url, "t", folder / "plain", recipients=[parse_recipient(key)], state=state, declared=declared
                )
                return
            identities = [X25519Identity.from_text(key)]
            target = folder / "target" / "received"
            await download(
                control, url, None, target, identities=identities, expected_sha256=sha256, ranges=int(ranges)
            )

    Path("/proc/self/clear_refs").write_text("5")
    before, began = peak_mib(), time.perf_counter()
    asyncio.run(run())
    took = time.perf_counter() - began
    print(json.dumps({"seconds": took, "rise_mib": peak_mib() - before}))


def peak_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel does not say what this process has had")


def busy_seconds() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


@contextmanager
def running_sink(path: Path) -> Generator[str]:
    """A server that takes one upload after the other into *path*, in a process of its own."""
    reading, writing = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", _SINK, str(path), str(writing)], pass_fds=[writing])
    os.close(writing)
    try:
        with os.fdopen(reading) as port:
            yield f"http://127.0.0.1:{int(port.readline())}"
    finally:
        process.terminate()
        process.wait()


_SINK = "from benchmarks.transfer_client import serve_sink; serve_sink()"


def serve_sink() -> None:
    """Take uploads until the end."""
    path, told = sys.argv[1], int(sys.argv[2])
    room = memoryview(bytearray(PIECE_BYTES))

    class Sink(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.answer(201, {"Location": self.path, "Upload-Offset": "0"})

        def do_GET(self) -> None:
            self.answer(200, {}, b'{"state": "completed"}')

        def do_PATCH(self) -> None:
            left = size = int(self.headers["Content-Length"])
            with open(path, "wb", buffering=0) as into:  # noqa: PTH123
                while left:
                    count = self.rfile.readinto1(room[: min(left, PIECE_BYTES)])  # type: ignore[attr-defined]
                    into.write(room[:count])
                    left -= count
            self.answer(204, {"Upload-Offset": str(size)})

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    # One connection after the other would wait for the first to be closed.
    with ThreadingHTTPServer(("127.0.0.1", 0), Sink) as server:
        os.write(told, f"{server.server_port}\n".encode())
        os.close(told)
        server.serve_forever()


def report(found: Measured, size: int) -> int:
    seconds = {name: statistics.median(run[0] for run in runs) for name, runs in found.items()}
    for name, runs in found.items():
        busy = statistics.median(run[2] for run in runs)
        print(f"{name:<20} {size / 1e6 / seconds[name]:7.0f} MB/s   processor {busy:5.1f} s of {seconds[name]:5.1f} s")
    rise = max(run[1] for name, runs in found.items() for run in runs if name.startswith("client"))
    down, up = seconds["curl down"] / seconds["client down"], seconds["curl up"] / seconds["client up"]
    parallel = seconds["client down"] / seconds["client down, ranges"]
    bars = [
        (f"down, ratio to curl {down:.2f}", down >= MIN_RATIO),
        (f"up, ratio to curl {up:.2f}", up >= MIN_RATIO),
        (f"rise of peak memory {rise:.0f} MiB", rise < MAX_RISE_MIB),
    ]
    for text, met in bars:
        print(f"{text}{'' if met else '  MISSED'}")
    print(f"four ranges at once, ratio to one {parallel:.2f} (cores: {os.cpu_count()})")
    return 0 if all(met for _, met in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
