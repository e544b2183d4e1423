"""The deployments of this project, as ``prefect.yaml`` describes them: the only place where they are named.

`prefect deploy --all` reads it for a work pool, `waybill up` here to serve the same flows. Never imports Prefect.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from blocks.errors import StackUnavailable
from blocks.runs.remote_stages import REMOTE_POOL

# What `waybill up` does all the time by itself. Served with their schedules off: a run every minute that finds nothing
# to do is two processes a minute, and three thousand runs a day in a history that people look for their documents in.
DONE_BY_UP = frozenset({"flows/webhooks.py:deliver_webhooks", "flows/webhooks.py:reconcile_events"})


class _WorkPool(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str | None = None


class Deployment(BaseModel):
    """One entry of ``deployments``. Pull steps are for `prefect deploy` and not read here."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    entrypoint: str
    version: str | None = None
    description: str | None = None
    tags: list[str] = []
    parameters: dict[str, Any] = {}
    # As Prefect's `Schedule` takes them: cron, interval or rrule, timezone, active, parameters, slug.
    schedules: list[dict[str, Any]] = []
    # A number, or limit and collision_strategy.
    concurrency_limit: int | dict[str, Any] | None = None
    enforce_parameter_schema: bool = True
    work_pool: _WorkPool = _WorkPool()

    @property
    def is_remote(self) -> bool:
        """Whether remote workers run it."""
        return self.work_pool.name == REMOTE_POOL

    @property
    def is_served(self) -> bool:
        """Whether `waybill up` serves it itself, whatever its pool. A flow that workers import is for those."""
        return ":" in self.entrypoint


class _ProjectFile(BaseModel):
    model_config = ConfigDict(extra="ignore")

    deployments: list[Deployment]


def project_directory() -> Path:
    """The directory that holds ``prefect.yaml`` and ``flows/``."""
    return Path(__file__).resolve().parents[2]


def read_deployments(project: Path) -> list[Deployment]:
    """What *project* deploys. Raises `StackUnavailable` when the file is missing or cannot be understood."""
    import yaml

    path = project / "prefect.yaml"
    try:
        return _ProjectFile.model_validate(yaml.safe_load(path.read_bytes())).deployments
    except OSError as exc:
        raise StackUnavailable(f"cannot read {path}: {exc.strerror}; run waybill from its source directory") from exc
    except (yaml.YAMLError, ValidationError) as exc:
        raise StackUnavailable(f"{path} does not describe deployments: {exc}") from exc
