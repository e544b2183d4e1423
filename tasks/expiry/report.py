"""The report of a run of the retention: what went, what stayed and why, what failed, and the statistics around it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from blocks.retention import REASONS, Plan, PlannedFile
from blocks.retention.policy import SHARE_COUNTS_FROM


@dataclass(frozen=True, kw_only=True)
class FailedFile:
    """A file that is unreadable and whose bytes could not be deleted; the next run tries again."""

    file_id: UUID
    error: str
    file: PlannedFile | None

    def view(self) -> dict[str, Any]:
        """Return the file as JSON."""
        known = file_view(self.file) if self.file is not None else {"file_id": str(self.file_id)}
        return {**known, "error": self.error}


@dataclass(frozen=True, kw_only=True)
class FileWarning:
    """A file that was removed although no stored bytes could be deleted: its row named no place for them."""

    file_id: UUID
    warning: str

    def view(self) -> dict[str, Any]:
        """Return the warning as JSON."""
        return {"file_id": str(self.file_id), "warning": self.warning}


@dataclass(kw_only=True)
class Report:
    """What a run did, or in a dry run what it would do. Lists hold the first of many; counts are of all.

    *removed_files* and *removed_bytes* are those of the plan; *finished* are deletions that earlier runs began.
    *failed_files* includes *failed_again*, those that an earlier run could not delete either.
    """

    plan: Plan
    dry_run: bool
    before: Mapping[str, Any]
    after: Mapping[str, Any] = field(default_factory=dict[str, Any])
    removed: list[PlannedFile] = field(default_factory=list[PlannedFile])
    kept: list[PlannedFile] = field(default_factory=list[PlannedFile])
    failed: list[FailedFile] = field(default_factory=list[FailedFile])
    warnings: list[FileWarning] = field(default_factory=list[FileWarning])
    removed_files: int = 0
    removed_bytes: int = 0
    kept_after_all: int = 0
    failed_files: int = 0
    failed_again: int = 0
    renewed: int = 0
    finished: int = 0

    @property
    def failed_share(self) -> float:
        """The share of files that could not be deleted, of all that this run worked on.

        What failed before counts in runs of all kinds alone: one such file would be all that a run of every five
        minutes works on, and each of them would fail until a person has looked.
        """
        failed = self.failed_files - (self.failed_again if self.plan.policy.kinds is not None else 0)
        return failed / max(1, failed + self.removed_files + self.finished)

    @property
    def kept_files(self) -> int:
        """How many files stay, also those that are over the cap of a run."""
        judged = sum(group.files for group in self.plan.groups)
        return max(0, judged - self.plan.files + self.kept_after_all)

    @property
    def lifted_by(self) -> str | None:
        """The flags that let one run remove what was left over; None when nothing was."""
        plan = self.plan
        if plan.over_cap == 0:
            return None
        going, available = plan.files + plan.over_cap, sum(group.files for group in plan.groups)
        flags = [f"--max-files {going}"] if going > plan.policy.max_files else []
        if going > max(int(plan.policy.max_share * available), SHARE_COUNTS_FROM):
            flags.append(f"--max-share {math.ceil(going / available * 100) / 100:g}")
        return " ".join(flags)

    @property
    def is_complete(self) -> bool:
        """Whether all that had to go is gone, or in a dry run would go."""
        return self.failed_files == 0 and self.plan.over_cap == 0

    def view(self) -> dict[str, Any]:
        """Return the report as the JSON that the command, the API and the flow give."""
        return {
            **plan_view(self.plan),
            "dry_run": self.dry_run,
            "removed": [file_view(one) for one in self.removed],
            "kept": [file_view(one) for one in self.kept],
            "failed": [one.view() for one in self.failed],
            "warnings": [one.view() for one in self.warnings],
            "counts": {
                "removed": self.removed_files,
                "removed_bytes": self.removed_bytes,
                "kept": self.kept_files,
                "failed": self.failed_files,
                "failed_again": self.failed_again,
                "finished": self.finished,
            },
            "renewed": self.renewed,
            "lifted_by": self.lifted_by,
            "before": dict(self.before),
            "after": dict(self.after),
        }


def plan_view(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON."""
    return {
        "plan_id": str(plan.plan_id),
        "digest": plan.digest,
        "state": plan.state,
        "policy": plan.policy.model_dump(mode="json", exclude_defaults=True),
        "cutoff": plan.cutoff.isoformat(),
        "created_at": plan.created_at.isoformat(),
        "started_at": plan.started_at.isoformat() if plan.started_at else None,
        "ended_at": plan.ended_at.isoformat() if plan.ended_at else None,
        "files": plan.files,
        "bytes": plan.bytes,
        "over_cap": plan.over_cap,
        "groups": [
            {
                "rule": group.rule,
                "reason": REASONS[group.rule],
                "goes": group.removes,
                "kind": group.kind,
                "files": group.files,
                "bytes": group.bytes,
            }
            for group in plan.groups
        ],
    }


def file_view(one: PlannedFile) -> dict[str, Any]:
    """Return a file with its rule as JSON."""
    return {
        "file_id": str(one.file_id),
        "filename": one.filename,
        "kind": one.kind,
        "stage": one.stage,
        "stage_name": one.stage_name,
        "size": one.size,
        "sha256": one.sha256,
        "media_type": one.media_type,
        "created_at": one.created_at.isoformat(),
        "expires_at": one.expires_at.isoformat(),
        "source_file": one.source_file,
        "rule": one.rule,
        "reason": REASONS.get(one.rule, "a rule of another version"),
    }
