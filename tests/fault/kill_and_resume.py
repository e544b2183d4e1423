"""kill -9 of ``waybill process`` at random moments, then the same command again, until it ends by itself.

The final catalogue, blobs and search index must equal those of an undisturbed run. Run as a program for the long form:
``python -m tests.fault.kill_and_resume --documents 50 --kills 10``.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from blocks.custody.manifest import manifest_path
from blocks.settings import Settings
from tests.corpus.generated import write_documents
from tests.stack_driver import plain_environment
from waybill.stack import running_stack

# What a file is, without what differs by nature from run to run (ids, times, how long it took).
_FILES = """
    select kind, stage, stage_name, stage_key, filename, source_file, document_sha256, media_type, size, sha256
      from artifacts where state = 'available' order by source_file, kind desc, stage
"""
_COUNTS = "select state, count(*) from artifacts group by state"
_LOCATIONS = "select location, manifest from artifacts where state = 'available'"


@dataclass(frozen=True)
class Outcome:
    """Everything that must be equal at the end."""

    files: list[tuple[Any, ...]]
    index: dict[str, list[tuple[Any, ...]]]


def disturbed(
    documents: Path, home: Path, *, kills: int, files: int, chance: random.Random, environment: Mapping[str, str]
) -> Outcome:
    """The same run, killed *kills* times at random moments of its work.

    A moment is a number of stored files out of all *files*, and up to 0.2 s after it was reached; the first one may be
    before anything is stored. So each kill hits documents on their way, however long the command takes to start.
    """
    for number, moment in enumerate(sorted(chance.sample(range(files - 1), kills)), start=1):
        command = subprocess.Popen(_command(documents), env=_environment(home, environment), stdout=subprocess.DEVNULL)
        while _stored(home) < moment:
            ended = command.poll() is not None
            assert not ended or _stored(home) >= moment, f"the run ended before {moment} files were stored"
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.2))
        command.kill()  # unless it has just ended
        command.wait()
        print(f"kill {number}: with {_stored(home)} of {files} files stored", file=sys.stderr)
    finish(documents, home, environment)
    return outcome(home)


def _stored(home: Path) -> int:
    return sum(1 for path in (home / "artifacts").rglob("*") if path.is_file())


def finish(documents: Path, home: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """The command, left alone; it must end well."""
    done = subprocess.run(
        _command(documents), env=_environment(home, environment), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["state"] == "completed"
    return report


def outcome(home: Path) -> Outcome:
    """Catalogue and search index; checks on the way that storage and catalogue agree and nothing is left over."""
    with (
        running_stack(Settings(home=home), prefect=False) as addresses,
        psycopg.connect(addresses.database_url) as connection,
    ):
        assert [state for state, _ in connection.execute(_COUNTS).fetchall()] == ["available"]
        rows = connection.execute(_LOCATIONS).fetchall()
        locations = {location for location, _ in rows}
        root = home / "artifacts"
        blobs = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        expected = locations | {manifest_path(location) for location, manifest in rows if manifest == "separate"}
        assert blobs == expected, f"orphans: {blobs - expected}; missing: {expected - blobs}"
        for folder in ("scratch", "leases"):
            assert list((home / folder).iterdir()) == [], f"{folder} is not empty"
        return Outcome(files=connection.execute(_FILES).fetchall(), index=_index(connection))


def _index(connection: psycopg.Connection[Any]) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of the search index by the content's hash, but for surrogate ids and when it was written."""
    columns = """
        select table_name, array_agg(column_name::text order by ordinal_position) from information_schema.columns
         where table_schema = 'public' and table_name like 'indexed%'
           and column_name not in ('document_id', 'ingested_at', 'sha256')
         group by table_name
    """
    tables = connection.execute(columns).fetchall()
    assert len(tables) >= 5, tables
    rows: dict[str, list[tuple[Any, ...]]] = {}
    for table, names in tables:
        wanted = ", ".join(f"t.{name}" for name in names)
        source = f"{table} t join indexed_documents d on d.document_id = t.document_id"
        rows[table] = connection.execute(
            f"select d.sha256, {wanted} from {source} order by 1, 2, 3".encode()  # noqa: S608 (names from the schema)
        ).fetchall()
        assert rows[table], f"{table} is empty"
    return rows


def _command(documents: Path) -> list[str]:
    return [sys.executable, "-m", "waybill", "process", str(documents), "--json"]


def _environment(home: Path, added: Mapping[str, str]) -> dict[str, str]:
    return {**plain_environment(), "WAYBILL_HOME": str(home), **added}


def assert_equal(what: str, expected: list[tuple[Any, ...]], found: list[tuple[Any, ...]]) -> None:
    """Say which rows differ; a failure that cannot be read cannot be mended."""
    missing = [row for row in expected if row not in found]
    extra = [row for row in found if row not in expected]
    assert expected == found, f"{what}: missing {missing[:3]}, extra {extra[:3]} ({len(missing)}, {len(extra)} in all)"


def compare(documents: int, kills: int, seed: int, environment: Mapping[str, str] | None = None) -> None:
    """The whole experiment, in a temporary folder, with *environment* for its commands.

    Raises AssertionError when anything differs.
    """
    environment = environment or {}
    chance = random.Random(seed)
    print(f"seed {seed}", file=sys.stderr)
    base = Path(tempfile.mkdtemp(prefix="waybill-kill-"))
    sources = base / "documents"
    sources.mkdir()
    write_documents(sources, documents)
    # Built beforehand, so that a kill hits the documents' work and not only the making of the embedding model.
    finish(sources, base / "calm", environment)
    expected = outcome(base / "calm")
    shutil.copytree(base / "calm" / "models", base / "killed" / "models")
    files = len(expected.files)
    found = disturbed(sources, base / "killed", kills=kills, files=files, chance=chance, environment=environment)
    assert_equal("files", expected.files, found.files)
    for table, rows in expected.index.items():
        assert_equal(table, rows, found.index[table])
    rows = sum(len(rows) for rows in found.index.values())
    print(
        f"{kills} kills, {documents} documents: {len(found.files)} files and {rows} index rows equal", file=sys.stderr
    )
    shutil.rmtree(base)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", type=int, default=50)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()
    compare(arguments.documents, arguments.kills, arguments.seed)
