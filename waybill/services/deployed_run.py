"""A run of a deployment on the home's own Prefect server, over its API alone: begun, followed and cancelled.

Prefect's client takes longer to import than most runs of stored outputs take. What is here is what a command needs that
leaves its run to `waybill up`. A server that is being started again is waited for.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self, cast

import httpx

from blocks.errors import DeploymentMissing, InvalidOptions, PrefectUnavailable

# Prefect answers in milliseconds, and in a second when it is busy.
_ANSWER_SECONDS = 10.0
# `waybill up` has a server that ended answering again within some ten seconds, more on a busy machine.
_RESTART_SECONDS = 60.0
_RESTART_PAUSE_SECONDS = 0.5
_ENDED = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
# Prefect's validation errors repeat the parameters, which may be long.
_MOST_REASON_CHARS = 500


@dataclass(frozen=True, kw_only=True)
class RunState:
    """The state of a run: Prefect's type and name of it, and its message."""

    type: str
    name: str
    message: str

    @property
    def has_ended(self) -> bool:
        """Whether no further state is to be expected."""
        return self.type in _ENDED


class DeployedRuns:
    """The runs of the Prefect server at *api_url*, for which *is_worth_waiting* says that it will answer again."""

    def __init__(self, client: httpx.Client, is_worth_waiting: Callable[[], bool]) -> None:
        self._client = client
        self._is_worth_waiting = is_worth_waiting

    @classmethod
    @contextmanager
    def open(cls, api_url: str, credential: str, is_worth_waiting: Callable[[], bool]) -> Generator[Self]:
        """Open a client for the length of the block; *credential* is ``USER:PASSWORD``."""
        user, _, password = credential.partition(":")
        # A server on loopback: no proxy, and no certificate is trusted. To load them takes longer than a request.
        no_certificates = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        with httpx.Client(
            base_url=f"{api_url}/",
            auth=(user, password),
            timeout=_ANSWER_SECONDS,
            trust_env=False,
            verify=no_certificates,
        ) as client:
            yield cls(client, is_worth_waiting)

    def begin(self, deployment: str, parameters: Mapping[str, Any], *, name: str, key: str) -> str:
        """Queue a run of *deployment* and return its id; with the same *key* it is the same run.

        Raises `DeploymentMissing`, `InvalidOptions` for parameters that the server refuses, `PrefectUnavailable`.
        """
        found = self._answer("GET", f"deployments/name/{deployment}")
        if found.status_code == HTTPStatus.NOT_FOUND:
            raise DeploymentMissing(f"the Prefect server has no deployment {deployment}; start 'waybill up' again")
        deployment_id = self._read(found)["id"]
        body = {"parameters": dict(parameters), "name": name, "idempotency_key": key, "state": {"type": "SCHEDULED"}}
        made = self._answer("POST", f"deployments/{deployment_id}/create_flow_run", body)
        if made.status_code in (HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY):
            raise InvalidOptions(f"Prefect refuses the parameters of this run: {_reason(made)}")
        return str(self._read(made)["id"])

    def state(self, run_id: str) -> RunState:
        """Return the run's state. Raises `PrefectUnavailable`."""
        found = cast("dict[str, Any]", self._read(self._answer("GET", f"flow_runs/{run_id}"))["state"] or {})
        kind = str(found.get("type"))
        return RunState(type=kind, name=str(found.get("name") or kind), message=str(found.get("message") or ""))

    def progress(self, run_id: str) -> tuple[float, str] | None:
        """Return the percent that the run has reported last, with its text; None before it has."""
        newest = {
            "artifacts": {"flow_run_id": {"any_": [run_id]}, "type": {"any_": ["progress"]}},
            "sort": "UPDATED_DESC",
            "limit": 1,
        }
        for artifact in cast("list[dict[str, Any]]", self._read(self._answer("POST", "artifacts/filter", newest))):
            return float(artifact["data"]), str(artifact["description"] or "")
        return None

    def cancel(self, run_id: str, message: str) -> None:
        """Request the end of the run; one that has not begun is cancelled at once."""
        state = {"type": "CANCELLING", "name": "Cancelling", "message": message}
        self._read(self._answer("POST", f"flow_runs/{run_id}/set_state", {"state": state}))

    def _answer(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        deadline = time.monotonic() + _RESTART_SECONDS
        while True:
            try:
                answer = self._client.request(method, path, json=body)
            except httpx.TransportError as exc:
                problem, cause = f"does not answer ({type(exc).__name__})", exc
            else:
                if answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
                    return answer
                problem, cause = f"answers with status {answer.status_code}; its log says why", None
            if time.monotonic() >= deadline or not self._is_worth_waiting():
                raise PrefectUnavailable(f"the Prefect server at {self._client.base_url} {problem}") from cause
            time.sleep(_RESTART_PAUSE_SECONDS)

    def _read(self, answer: httpx.Response) -> Any:
        if not answer.is_success:
            raise PrefectUnavailable(
                f"the Prefect server at {self._client.base_url} answers with status {answer.status_code}: "
                f"{_reason(answer)}"
            )
        return answer.json()


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("detail"))[:_MOST_REASON_CHARS]
    except (ValueError, AttributeError):
        return answer.reason_phrase
