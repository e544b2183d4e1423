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
@pytest.mark.parametrize("arguments", [["-c", "input()"], ["-c", "input()", "", "two words", "-D /a/b ", ""]])
def test_each_argument_is_followed_by_a_space(read: Read, arguments: list[str]) -> None:
    with subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE) as child:
        assert read(child.pid) == "".join(f"{argument} " for argument in [sys.executable, *arguments])


@_WAYS
def test_a_process_that_is_gone_has_none_nor_has_its_exit_status(read: Read) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert read(child.pid) == ""
    assert read(child.pid) == "" == read(10**30)
