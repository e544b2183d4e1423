"""The memory that a server may count on: the least limit of the control groups around it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from waybill.stack.machine_memory import machine_memory_bytes
from waybill.stack.postgres_cluster import shared_buffers_mb

GIB = 1 << 30
UNLIMITED_V1 = "9223372036854771712"


def memory_with(folder: Path, own_groups: str, limits: dict[str, str]) -> int:
    (folder / "cgroup").write_text(own_groups)
    for name, limit in limits.items():
        path = folder / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(limit + "\n")
    return machine_memory_bytes(folder / "cgroup", folder / "fs")


@pytest.mark.parametrize(
    ("own_groups", "limits"),
    [
        ("0::/app/web\n", {"app/memory.max": str(GIB // 8), "app/web/memory.max": "max"}),
        ("0::/app/web\n", {"app/memory.max": "max", "app/web/memory.max": str(GIB // 8)}),
        ("0::/../of-the-host\n", {"memory.max": str(GIB // 8)}),
        ("3:cpu:/a\n4:memory:/a\n", {"memory/a/memory.limit_in_bytes": str(GIB // 8), "cpu/a/memory.max": "1"}),
        (
            "4:memory:/a\n",
            {"memory/a/memory.limit_in_bytes": UNLIMITED_V1, "memory/memory.limit_in_bytes": str(GIB // 8)},
        ),
    ],
)
def test_the_least_limit_of_the_groups_counts(tmp_path: Path, own_groups: str, limits: dict[str, str]) -> None:
    assert memory_with(tmp_path, own_groups, limits) == GIB // 8


@pytest.mark.parametrize(
    ("own_groups", "limits"),
    [
        ("", {}),
        ("0::/app\n", {"app/memory.max": "max"}),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": UNLIMITED_V1}),
        ("2:cpu:/small\n", {"cpu/small/memory.max": "1"}),
    ],
)
def test_without_a_limit_it_is_that_of_the_machine(tmp_path: Path, own_groups: str, limits: dict[str, str]) -> None:
    assert memory_with(tmp_path, own_groups, limits) == psutil.virtual_memory().total


def test_a_system_without_control_groups_has_the_memory_of_the_machine(tmp_path: Path) -> None:
    assert machine_memory_bytes(tmp_path / "nothing", tmp_path) == psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("memory", "megabytes"), [(GIB // 2, 256), (2 * GIB, 256), (8 * GIB, 1024), (16 * GIB, 2048), (512 * GIB, 2048)]
)
def test_the_cache_of_postgres_grows_with_the_machine_within_bounds(memory: int, megabytes: int) -> None:
    assert shared_buffers_mb(memory) == megabytes
