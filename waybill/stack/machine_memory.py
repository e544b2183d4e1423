"""How much memory a server may count on: that of the machine, or less where a container or a service is limited."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# One line for each hierarchy of control groups: number, controllers, and the group that a process is in (cgroups(7)).
_OWN_GROUPS = Path("/proc/self/cgroup")
_HIERARCHIES = Path("/sys/fs/cgroup")


def machine_memory_bytes(own_groups: Path = _OWN_GROUPS, hierarchies: Path = _HIERARCHIES) -> int:
    """Return the memory of this machine in bytes, or the least limit of the control groups that this process is in."""
    from psutil import virtual_memory

    return min([virtual_memory().total, *_limits(own_groups, hierarchies)])


def _limits(own_groups: Path, hierarchies: Path) -> Iterator[int]:
    try:
        groups = [line.split(":", 2) for line in own_groups.read_text().splitlines()]
    except OSError:  # no Linux
        return
    for _, controllers, group in groups:
        if not controllers:
            top, name = hierarchies, "memory.max"
        elif "memory" in controllers.split(","):
            top, name = hierarchies / "memory", "memory.limit_in_bytes"
        else:
            continue
        # A limit of a group is one of all groups in it. In a container the group may be named as the host names it, and
        # only the top is there, which is then the container's own.
        own = top / group.lstrip("/")
        for folder in [own, *(one for one in own.parents if one.is_relative_to(top))]:
            with suppress(OSError, ValueError):  # there is no such file, or no limit: "max"
                yield int((folder / name).read_text())
