"""Findings of an audit, by named check; pure.

A check without a finding is *ok*. One that could not be examined is *skipped* where it is in order (no Prefect server
runs) and a *problem* where examining it failed: an audit must not take silence for health.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from blocks.errors import WaybillError
from blocks.runtime.clock import utc_now

Status = Literal["ok", "skipped", "warning", "problem"]
_SEVERITY: tuple[Status, ...] = ("ok", "skipped", "warning", "problem")

# The checks in the order in which they are shown, each with what holds when it is ok.
CHECKS = {
    "settings": "the settings can be read",
    "home": "the home belongs to its account alone",
    "disk": "there is room on the disks of home and storage",
    "limits": "processes may open enough files",
    "processes": "recorded processes run, and no others of this home",
    "key-files": "key files can be read, by their account alone",
    "database": "Postgres can be written to and has room",
    "schema": "the schema is that of this version",
    "indexes": "every index is valid and sorted as now",
    "clock": "the clocks of this machine and of Postgres agree",
    "stored-keys": "the keys here open every stored file and webhook secret",
    "blobs": "every available file has its stored bytes, whole",
    "damaged": "no file is marked as damaged",
    "manifests": "every available file has its manifest",
    "orphans": "every stored blob has its row",
    "unfinished": "nothing is half stored, half deleted or half moved",
    "skipped-records": "no list, queue or loop leaves an unreadable record out",
    "run-outputs": "every output of a run has its row",
    "run-locks": "no dead run waits to be cleared up",
    "run-leases": "no run of any home has stopped to renew its lease",
    "slices": "slices of runs are started, and taken by workers",
    "output-locks": "output locks are held by living runs only",
    "deployment": "Prefect knows the deployment that processes documents",
    "shared-limits": "Prefect's limits for all machines let work through",
    "dask": "the Dask cluster answers and has workers",
    "runs": "every run in progress has its process",
    "run-events": "every state of a run has its event, once",
    "documents": "every document of a finished run has its outputs or its failure",
    "deliveries": "every event has its delivery for each endpoint, once",
    "overdue": "deliveries are sent when they are due",
    "endpoints": "every webhook endpoint is sent to",
    "backups": "the last backup is recent, and the log is archived since",
    "dead-deliveries": "no delivery was given up",
}
# Enough to find the kind of object; the counts say how many there are.
MAX_EXAMPLES = 10


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """How long a state that is normal for a moment may last before it is a finding."""

    # Heartbeats stay away for 75 s until a run is Lost, and the flow server waits two minutes for a cancelled one.
    run_without_process: timedelta = timedelta(minutes=3)
    # The reconciler looks back twice a minute; a slow Prefect server gets some of its rounds.
    event_missing: timedelta = timedelta(minutes=2)
    # Twice as long as a writer may be silent before what it left is removed.
    unfinished: timedelta = timedelta(hours=1)
    # A dispatcher polls every second; a busy receiver takes some of its time limits.
    delivery_overdue: timedelta = timedelta(minutes=10)
    # How far back Prefect's history is compared with the outbox.
    history: timedelta = timedelta(hours=24)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is not as it should be: *count* objects, some of them as *examples*, and what to do."""

    check: str
    status: Status
    message: str
    remedy: str = ""
    count: int = 1
    examples: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "message": self.message,
            "remedy": self.remedy,
            "count": self.count,
            "examples": list(self.examples),
        }


@dataclass
class Findings:
    """What an audit has found so far, and its counts.

    Whatever began after the audit did is left to the next one: it was compared with what was read before.
    """

    tolerances: Tolerances = field(default_factory=Tolerances)
    began_at: datetime = field(default_factory=utc_now)
    found: list[Finding] = field(default_factory=list[Finding])
    counts: dict[str, Any] = field(default_factory=dict[str, Any])
    examined: set[str] = field(default_factory=set[str])

    def problem(self, check: str, message: str, remedy: str, examples: Iterable[object] = ()) -> None:
        """Add what has to be mended; *examples* are all objects that it concerns, or none."""
        self._add(check, "problem", message, remedy, examples)

    def warning(self, check: str, message: str, remedy: str, examples: Iterable[object] = ()) -> None:
        """Add what a person should know, or what ends by itself."""
        self._add(check, "warning", message, remedy, examples)

    def skip(self, checks: Sequence[str], why: str) -> None:
        """Note that *checks* could not be examined, and that this is in order."""
        for check in checks:
            self._add(check, "skipped", why, "")

    @contextmanager
    def examining(self, *checks: str) -> Generator[None]:
        """Examine *checks* in the block; a failure becomes a problem of each of them and does not stop the others."""
        self.examined.update(checks)
        try:
            yield
        except WaybillError as error:
            for check in checks:
                self.problem(check, f"could not be examined: {error.message}", "mend that and run the doctor again")
        except Exception as error:  # noqa: BLE001 - one defect or odd object must not hide the other checks
            for check in checks:
                self.problem(
                    check, f"could not be examined: {type(error).__name__}: {error}", "report this as a defect"
                )

    def status_of(self, check: str) -> Status:
        """Return the worst status of *check*; ``skipped`` when nothing has examined it."""
        given: list[Status] = [one.status for one in self.found if one.check == check]
        unless_found: Status = "ok" if check in self.examined else "skipped"
        return max(given, key=_SEVERITY.index) if given else unless_found

    @property
    def status(self) -> Status:
        """The worst of all findings; what was skipped does not count."""
        given: list[Status] = [one.status for one in self.found if one.status != "skipped"]
        return max(given, key=_SEVERITY.index) if given else "ok"

    def number(self, status: Status) -> int:
        """Return how many findings have *status*."""
        return sum(one.status == status for one in self.found)

    def as_json(self) -> dict[str, Any]:
        """Return the whole report, one entry for each of `CHECKS`."""
        return {
            "status": self.status,
            "problems": self.number("problem"),
            "warnings": self.number("warning"),
            "counts": self.counts,
            "checks": [
                {
                    "name": name,
                    "expects": expects,
                    "status": self.status_of(name),
                    "findings": [one.as_json() for one in self.found if one.check == name],
                }
                for name, expects in CHECKS.items()
            ],
        }

    def _add(self, check: str, status: Status, message: str, remedy: str, examples: Iterable[object] = ()) -> None:
        if check not in CHECKS:
            raise ValueError(f"{check!r} is not in CHECKS")
        shown = [str(one) for one in examples]
        self.found.append(
            Finding(
                check=check,
                status=status,
                message=message,
                remedy=remedy,
                count=max(1, len(shown)),
                examples=tuple(shown[:MAX_EXAMPLES]),
            )
        )
