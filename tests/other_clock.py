"""Processes whose clock is another one than the machine's: by libfaketime, or in Python alone where that is missing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

# libfaketime 0.9.10 refuses to sleep until a moment of the monotonic clock where it leaves that clock alone, and Python
# sleeps in no other way.
_SLEEP = """
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_nanosleep(clockid_t clock, int flags, const struct timespec *request, struct timespec *left) {
    return syscall(SYS_clock_nanosleep, clock, flags, request, left) ? errno : 0;
}
"""
# As on a machine whose date is set: what measures time goes on evenly.
EVEN_MEASURES = {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}

# Python imports it at its start. What asks `datetime` for the time has the machine's clock all the same.
_SITE = """
import os, time
of_the_machine, seconds = time.time, float(os.environ["TESTS_CLOCK_IS_OFF_BY_SECONDS"])
time.time = lambda: of_the_machine() + seconds
"""


def clock_libraries(folder: Path) -> list[str]:
    """What is loaded into a process so that its clock can be set: libfaketime, and a mend of it; empty without them."""
    faketime = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    compiler = shutil.which("cc")
    if faketime is None or compiler is None:
        return []
    mend = folder / "sleep.so"
    if not mend.exists():
        source = folder / "sleep.c"
        source.write_text(_SLEEP)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", str(mend), str(source)], check=True)
    return [str(mend), str(faketime)]


def variables_of_clock(folder: Path, seconds: int) -> dict[str, str]:
    """Variables of a process whose clock is *seconds* ahead of the machine's; *folder* is for what it loads."""
    if libraries := clock_libraries(folder):
        return {"LD_PRELOAD": ":".join(libraries), "FAKETIME": f"{seconds:+d}", **EVEN_MEASURES}
    (folder / "sitecustomize.py").write_text(_SITE)
    return {"PYTHONPATH": str(folder), "TESTS_CLOCK_IS_OFF_BY_SECONDS": str(seconds)}
