"""One `waybill up` for the tests that kill parts of it, and a disk that is soon full."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fault.small_disk import small_disk
from tests.gateway.up import Up, running_up

__all__ = ["small_disk", "up"]


@pytest.fixture(scope="session")
def up() -> Iterator[Up]:
    """A running `waybill up`. A test that uses it needs the mark `KILLED_IN_PARTS`."""
    with running_up() as found:
        yield found
