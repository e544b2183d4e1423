"""The log of a kept process has its lines, whatever Prefect did to the root logger."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from waybill.process.process_log import LOGGER, log_to_stderr


@pytest.fixture(autouse=True)
def prefect_at_the_root() -> Iterator[io.StringIO]:
    """A root logger with a handler that shows errors alone, as Prefect leaves it; what it shows."""
    root, ours = logging.getLogger(), logging.getLogger(LOGGER)
    before = root.handlers[:], ours.handlers[:], ours.level, ours.propagate
    shown = io.StringIO()
    handler = logging.StreamHandler(shown)
    handler.setLevel(logging.ERROR)
    root.handlers[:] = [handler]
    yield shown
    root.handlers[:], ours.handlers[:] = before[0], before[1]
    ours.setLevel(before[2])
    ours.propagate = before[3]


@pytest.mark.parametrize("name", ["waybill.delivery", "waybill.webhooks", "waybill.stack"])
def test_each_line_from_info_on_is_written_once(
    prefect_at_the_root: io.StringIO, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log_to_stderr()
    log_to_stderr()  # also where a process is configured twice
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger(name).log(level, "delivery=%s", level)
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["delivery=20", "delivery=30", "delivery=40"]
    assert all(f"{name}:" in line for line in lines)
    assert prefect_at_the_root.getvalue() == ""
