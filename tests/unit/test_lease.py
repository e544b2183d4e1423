"""Run leases: the kernel knows who is dead, whatever process ids say."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from uuid import UUID, uuid4

import pytest

from blocks.errors import StackUnavailable
from blocks.runs.run_lock import dead_runs, hold_run_lock
from tests.stack_driver import PATIENCE_SECONDS

_HOLDER = """
import sys
from pathlib import Path
from uuid import UUID
from blocks.runs.run_lock import hold_run_lock
with hold_run_lock(Path(sys.argv[1]), UUID(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(home: Path, run_id: UUID) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lease until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(home), str(run_id)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def lease_files(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "leases").iterdir())


def leave_a_dead_lease(home: Path) -> UUID:
    """What a killed holder leaves: the file, and no lock on it."""
    run_id = uuid4()
    (home / "leases").mkdir(parents=True, exist_ok=True)
    (home / "leases" / f"{run_id}.lease").touch()
    return run_id


def test_a_lease_held_by_another_process_is_alive_until_that_is_killed(tmp_path: Path) -> None:
    run_id = uuid4()
    with holder(tmp_path, run_id) as process:
        assert list(dead_runs(tmp_path)) == []
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=PATIENCE_SECONDS)
        assert list(dead_runs(tmp_path)) == [run_id]
    assert lease_files(tmp_path) == []


def test_a_clean_end_leaves_no_file(tmp_path: Path) -> None:
    run_id = uuid4()
    with hold_run_lock(tmp_path, run_id):
        assert lease_files(tmp_path) == [f"{run_id}.lease"]
        assert list(dead_runs(tmp_path)) == []
    assert lease_files(tmp_path) == []


def test_a_run_that_ends_with_an_error_is_found_like_a_dead_one(tmp_path: Path) -> None:
    run_id = uuid4()
    with pytest.raises(RuntimeError), hold_run_lock(tmp_path, run_id):
        raise RuntimeError
    assert list(dead_runs(tmp_path)) == [run_id]


def test_a_run_that_is_started_again_is_alive(tmp_path: Path) -> None:
    run_id = leave_a_dead_lease(tmp_path)
    with hold_run_lock(tmp_path, run_id):
        assert list(dead_runs(tmp_path)) == []
    assert lease_files(tmp_path) == []


def test_of_two_that_clear_up_at_once_only_one_gets_the_run(tmp_path: Path) -> None:
    run_id = leave_a_dead_lease(tmp_path)
    first = dead_runs(tmp_path)
    assert next(first) == run_id
    assert list(dead_runs(tmp_path)) == []
    assert list(first) == []
    assert list(dead_runs(tmp_path)) == []


def test_many_that_clear_up_at_once_share_the_runs_without_overlap(tmp_path: Path) -> None:
    runs = {leave_a_dead_lease(tmp_path) for _ in range(50)}
    found: list[list[UUID]] = [[] for _ in range(4)]
    threads = [Thread(target=lambda own=own: own.extend(dead_runs(tmp_path))) for own in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE_SECONDS)
    everything = [run_id for own in found for run_id in own]
    assert len(everything) == len(set(everything))
    assert set(everything) | set(dead_runs(tmp_path)) == runs
    assert lease_files(tmp_path) == []


def test_a_run_whose_clearing_up_failed_is_found_again(tmp_path: Path) -> None:
    run_id = leave_a_dead_lease(tmp_path)
    with pytest.raises(RuntimeError):
        for _ in dead_runs(tmp_path):
            raise RuntimeError
    assert list(dead_runs(tmp_path)) == [run_id]


def test_a_lease_that_was_removed_while_it_was_being_taken_is_taken_again(tmp_path: Path) -> None:
    """Somebody who clears up holds the new file's lock first, and removes the file: the holder must not go unseen."""
    run_id = leave_a_dead_lease(tmp_path)
    path = tmp_path / "leases" / f"{run_id}.lease"
    sweeper = os.open(path, os.O_RDWR)
    fcntl.flock(sweeper, fcntl.LOCK_EX)
    held, finish = Event(), Event()

    def hold() -> None:
        with hold_run_lock(tmp_path, run_id):
            held.set()
            finish.wait(PATIENCE_SECONDS)

    thread = Thread(target=hold)
    thread.start()
    try:
        _until_blocked_on(path)
        path.unlink()
        os.close(sweeper)
        assert held.wait(PATIENCE_SECONDS)
        assert path.exists()
        assert list(dead_runs(tmp_path)) == []
    finally:
        finish.set()
        thread.join(timeout=PATIENCE_SECONDS)
    assert lease_files(tmp_path) == []


def _until_blocked_on(path: Path) -> None:
    """Until somebody waits for the lock: the kernel lists waiters with an arrow."""
    inode = f":{path.stat().st_ino} "
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines()):
        assert time.monotonic() < deadline, "nobody waits for the lease"
        time.sleep(0.002)


def test_foreign_files_among_the_leases_are_left_alone(tmp_path: Path) -> None:
    leave_a_dead_lease(tmp_path)
    (tmp_path / "leases" / "notes.txt").touch()
    (tmp_path / "leases" / "not-an-id.lease").touch()
    assert len(list(dead_runs(tmp_path))) == 1
    assert lease_files(tmp_path) == ["not-an-id.lease", "notes.txt"]


def test_leases_are_for_their_owner_alone(tmp_path: Path) -> None:
    with hold_run_lock(tmp_path / "home", uuid4()):
        folder = tmp_path / "home/leases"
        assert folder.stat().st_mode & 0o777 == 0o700
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())


def test_a_home_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StackUnavailable, match="WAYBILL_HOME"), hold_run_lock(tmp_path / "home", uuid4()):
        pass


def test_an_odd_file_among_the_locks_hides_no_dead_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dead = UUID(int=2)
    with pytest.raises(ZeroDivisionError), hold_run_lock(tmp_path, dead):
        raise ZeroDivisionError
    folder = next(tmp_path.iterdir())
    (folder / f"{UUID(int=1)}.lease").mkdir()
    (folder / "notes.lease").write_text("a person's own")
    assert list(dead_runs(tmp_path)) == [dead]
    assert [line for line in caplog.messages if str(UUID(int=1)) in line]
