"""What `waybill process one.md` costs where every output is stored already: processor time, with and without `up`.

Each round runs the command once in each way, of this checkout and of *--baseline*, another checkout of Waybill with a
`.venv` of its own. Without `up` everything that the command starts counts: Postgres, the Prefect server, workers. With
`up` the command counts, and next to it what the processes of `up` have spent meanwhile. Prints medians and their ratio.

    python -m benchmarks.process_command [--baseline DIRECTORY] [--rounds 5]
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.stack_driver import plain_environment, unused_port

ALONE, BY_UP, OF_UP = "without up, all processes", "with up, the command", "with up, up's processes"
# What the command may cost of the baseline's processor time.
BARS = {ALONE: 0.6, BY_UP: 0.2}

_DOCUMENT = "# A viaduct\n\nThe viaduct was built in 1931 and is 214 metres long. It cost 4.2 million euros.\n"
_PATIENCE_SECONDS = 300.0
# Until the flow server serves, and what happens at a start is over.
_SETTLING_SECONDS = 20.0
# prctl(2): a process whose parent has ended becomes this program's child, so that its time is counted.
_PR_SET_CHILD_SUBREAPER = 36

Seconds = dict[str, list[float]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--baseline", type=Path, help="another checkout, with its .venv")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    checkouts = {"this checkout": Path(sys.executable)}
    if arguments.baseline is not None:
        checkouts["baseline"] = arguments.baseline.absolute() / ".venv" / "bin" / "python"
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as folder:
        places = {name: Place(python, Path(folder) / name.split()[0]) for name, python in checkouts.items()}
        results = measure(places, arguments.rounds)
    return report(results)


class Place:
    """A checkout with a home, and a document that has been processed in it."""

    def __init__(self, python: Path, folder: Path) -> None:
        folder.mkdir()
        self._python = python
        self._folder = folder
        (folder / "one.md").write_text(_DOCUMENT)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Begin a command of the checkout in the folder."""
        return subprocess.Popen(
            [str(self._python), "-m", "waybill", *arguments],
            cwd=self._folder,
            env={**plain_environment(), "WAYBILL_HOME": str(self._folder / "home")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def process(self) -> float:
        """Process the document, and return the processor time of the command and of what it has waited for."""
        command = self.start("process", "one.md")
        _, status, usage = os.wait4(command.pid, 0)
        command.returncode = os.waitstatus_to_exitcode(status)
        if command.returncode:
            raise RuntimeError(f"'waybill process' ended with {command.returncode}")
        return usage.ru_utime + usage.ru_stime

    def process_alone(self) -> float:
        """Process the document without `up`, and return the processor time of everything that was started."""
        before = _time_of_children()
        self.process()
        while _reaped():
            pass
        return _time_of_children() - before

    @contextmanager
    def up(self) -> Iterator[psutil.Process]:
        """Have `waybill up` running in the block."""
        up = self.start("up", "--port", str(unused_port()), "--ui-port", str(unused_port()))
        try:
            _wait_until_up(up, self._folder / "home")
            yield psutil.Process(up.pid)
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(_PATIENCE_SECONDS)


def _wait_until_up(up: subprocess.Popen[bytes], home: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    # The gateway is launched last, once the servers answer and the flow server is recorded.
    while not (home / "gateway.json").exists():
        if up.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("'waybill up' does not start")
        time.sleep(0.2)
    time.sleep(_SETTLING_SECONDS)


def measure(places: dict[str, Place], rounds: int) -> dict[str, Seconds]:
    """Processor seconds by way and checkout, the checkouts in turn."""
    results: dict[str, Seconds] = {way: {name: [] for name in places} for way in (ALONE, BY_UP, OF_UP)}
    for place in places.values():
        place.process_alone()
    for _ in range(rounds):
        for name, place in places.items():
            results[ALONE][name].append(place.process_alone())
    for name, place in places.items():
        with place.up() as up:
            place.process()
            for _ in range(rounds):
                before = _time_of_tree(up)
                results[BY_UP][name].append(place.process())
                results[OF_UP][name].append(_time_of_tree(up) - before)
    return results


def _time_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def _reaped() -> bool:
    try:
        os.wait()
    except ChildProcessError:
        return False
    return True


def _time_of_tree(root: psutil.Process) -> float:
    """Return what *root* and its descendants have spent, also those that have ended."""
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def report(results: dict[str, Seconds]) -> int:
    """Print the medians; 1 when a bar is missed."""
    is_missed = False
    for way, by_checkout in results.items():
        medians = {name: statistics.median(seconds) for name, seconds in by_checkout.items()}
        line = f"{way:28}" + "  ".join(f"{name} {seconds:5.2f} s" for name, seconds in medians.items())
        if "baseline" in medians:
            ratio = medians["this checkout"] / medians["baseline"]
            bar = BARS.get(way)
            is_missed |= bar is not None and ratio > bar
            line += f"  ratio {ratio:.2f}" + (f" (bar {bar})" if bar is not None else "")
        print(line)
    return 1 if is_missed else 0


if __name__ == "__main__":
    sys.exit(main())
