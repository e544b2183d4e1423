"""The `waybill` command as a process that is forked, in a tenth of the time that Python and its imports take.

A server process has imported what commands need, except Prefect, whose settings are those of its first import. For each
call it forks a child with the caller's environment, working directory and streams, in which the command runs and ends
as in any process. `run` gives each command to a Python of its own the first time in a test run, which shows that the
command imports what it needs. Run as a program, this module is the server.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

from blocks.runtime.quick_imports import quick_imports
from tests.stack_driver import plain_environment

# Prefect reads its settings when it is imported; the others start threads, which a fork does not copy.
_NOT_BEFORE_THE_FORK = {"prefect", "numpy", "onnx", "onnxruntime"}
_ROOT = Path(__file__).parents[1]
_STREAMS = 3
_REQUEST_BYTES = 1_000_000


def run(
    arguments: Sequence[str], environment: Mapping[str, str], *, cwd: Path | None, given: str | None, seconds: float,
    run_folder: Path,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run `waybill` with *arguments* to its end, *given* on standard input. Raises `subprocess.TimeoutExpired`."""
    if _is_the_first(arguments, run_folder):
        command = [sys.executable, "-m", "waybill", *arguments]
        return subprocess.run(
            command, env=environment, cwd=cwd, input=given, stdin=None if given else subprocess.DEVNULL,
            capture_output=True, text=True, timeout=seconds,
        )  # fmt: skip
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        stdin.write((given or "").encode())
        stdin.seek(0)
        code = _forked(arguments, environment, cwd, [file.fileno() for file in (stdin, out, err)], seconds)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(arguments, code, out.read().decode(), err.read().decode())


def _is_the_first(arguments: Sequence[str], run_folder: Path) -> bool:
    """Whether no process of the run has called this command yet; from now on one has."""
    words = [word for word in arguments[:2] if word.isalpha()]
    try:
        (run_folder / f"called-{'-'.join(words)}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _forked(
    arguments: Sequence[str], environment: Mapping[str, str], cwd: Path | None, streams: list[int], seconds: float
) -> int:
    request = {"arguments": arguments, "environment": dict(environment), "cwd": str(cwd or Path.cwd())}
    with _connection() as connection:
        connection.settimeout(seconds)
        socket.send_fds(connection, [json.dumps(request).encode()], streams)
        pid = int(connection.recv(20))
        try:
            return int(connection.recv(20))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(arguments), seconds) from None


def write_program(path: Path, run_folder: Path) -> None:
    """Write a program that does the same from a shell; signals that it gets go to the command."""
    path.write_text(_PROGRAM.format(python=sys.executable, run=run_folder, address=_address()))
    path.chmod(0o755)


_PROGRAM = """#!{python} -IS
import json, os, signal, socket, sys
arguments = sys.argv[1:]
try:
    os.close(os.open("{run}/called-" + "-".join(filter(str.isalpha, arguments[:2])), os.O_CREAT | os.O_EXCL))
    os.execv("{python}", ["{python}", "-m", "waybill", *arguments])
except FileExistsError:
    pass
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.connect("{address}")
request = dict(arguments=arguments, environment=dict(os.environ), cwd=os.getcwd())
socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
pid = int(connection.recv(20))
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: os.kill(pid, number))
code = int(connection.recv(20))
sys.exit(code if code >= 0 else 128 - code)
"""

_server: list[Path] = []


def _connection() -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(str(_address()))
    return connection


def _address() -> Path:
    """Where this process' server listens. It is started on the first call and ends with this process."""
    if not _server:
        folder = tempfile.TemporaryDirectory(prefix="waybill-fork-")
        address = Path(folder.name) / "socket"
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.forked_commands", str(address)],
            cwd=_ROOT, env=plain_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        _server.append(address)

        def end() -> None:
            process.communicate()
            folder.cleanup()

        atexit.register(end)
    return _server[0]


class _Refuse(MetaPathFinder):
    """Lets what may not be imported before the fork fail."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        del path, target
        if fullname.partition(".")[0] in _NOT_BEFORE_THE_FORK:
            raise ImportError(f"{fullname} is imported after the fork")


def _import_what_commands_need() -> None:
    """Import every module of Waybill, and what it imports, as far as that goes without what has to wait."""
    refuse = _Refuse()
    sys.meta_path.insert(0, refuse)
    for package in ("waybill", "blocks"):
        module = importlib.import_module(package)
        for found in pkgutil.walk_packages(module.__path__, f"{package}.", onerror=lambda _: None):
            if ".migrations." not in found.name and not found.name.endswith("__main__"):
                try:
                    importlib.import_module(found.name)
                except ImportError:
                    continue
    sys.meta_path.remove(refuse)


def _serve(address: str) -> tuple[dict[str, Any], list[int]] | None:
    """Fork a process for each call; in that process, what to run. None when nobody calls any more."""
    with quick_imports():
        _import_what_commands_need()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        print("ready", flush=True)
        while True:
            if sys.stdin in select.select([sys.stdin, listener], [], [])[0]:
                return None
            connection, _ = listener.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                break
            connection.close()
    with connection:
        sent, streams, _, _ = socket.recv_fds(connection, _REQUEST_BYTES, _STREAMS)
        pid = os.fork()
        if pid == 0:
            return json.loads(sent), streams
        for stream in streams:
            os.close(stream)
        connection.send(str(pid).encode())
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(BrokenPipeError):  # nobody waited that long
            connection.send(str(code).encode())
    os._exit(0)


def _become(arguments: list[str], environment: dict[str, str], cwd: str, streams: list[int]) -> None:
    """Have this process run as ``python -m waybill`` does."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:1] = [cwd, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = ["waybill", *arguments]
    try:
        runpy.run_module("waybill", run_name="__main__", alter_sys=True)
        code: Any = 0
    except SystemExit as ended:
        code = ended.code or 0
    # What the interpreter does at its end, without taking apart the modules: that would copy the memory of the server.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__" and (called := _serve(sys.argv[1])) is not None:
    _become(**called[0], streams=called[1])
