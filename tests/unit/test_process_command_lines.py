"""The command line of a process, read on Linux without psutil and elsewhere with it: both ways give the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from waybill.stack import processes

_WAYS = pytest.mark.parametrize(
    "read", [processes._command_line_on_linux, processes._command_line_elsewhere], ids=["linux", "elsewhere"]
)
pytestmark = pytest.mark.skipif(not processes._ON_LINUX, reason="one of the two reads /proc")
Read = Callable[[int], str]


@_WAYS
@pytest.mark.parametrize("more", [[], ["", "two words", "-D /a/b ", ""]], ids=["none", "odd ones"])
def test_each_argument_is_followed_by_a_space(read: Read, more: list[str]) -> None:
    arguments = [sys.executable, "-c", "print(flush=True); input()", *more]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()  # while the kernel still loads a program, its command line is empty
        assert read(child.pid) == "".join(f"{argument} " for argument in arguments)
        child.communicate(b"\n")


@_WAYS
def test_a_process_that_is_gone_has_none_nor_has_its_exit_status(read: Read) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert read(child.pid) == ""
    assert read(child.pid) == "" == read(10**30)
