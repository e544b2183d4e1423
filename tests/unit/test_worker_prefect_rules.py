"""What a remote worker may call of Prefect's API: paths, bodies, and the runs that it may touch."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from waybill.gateway import worker_prefect_rules as rules
from waybill.gateway.worker_prefect_rules import Call, Refused, Run, request_of

ID = "0b6f1c3e-7d52-4f0e-9a55-2f6f0f5f3c1a"
OTHER_ID = "11111111-7d52-4f0e-9a55-2f6f0f5f3c1a"
LABELS = frozenset({"gpu-pool", "big"})


def run(**given: Any) -> Run:
    facts = {"deployment_id": ID, "pool": "waybill-remote", "queue": "gpu-pool", "state": "RUNNING", "holder": "w1"}
    return Run(**{"id": uuid.UUID(ID), **facts, **given})


def proposal(kind: str, **more: Any) -> dict[str, Any]:
    return {"state": {"type": kind, "name": kind.title(), "message": None, "data": None, **more}, "force": False}


@pytest.mark.parametrize("call", list(Call))
def test_each_call_is_recognised_and_built_anew(call: Call) -> None:
    method, path = call.value[0], call.value[1].replace(rules._ID, ID)  # pyright: ignore[reportPrivateUsage]
    found = request_of(method, path)
    assert (found.call, found.method, found.path) == (call, method, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/settings"),
        ("GET", "/admin/version"),
        ("POST", "/deployments/"),
        ("PATCH", f"/deployments/{ID}"),
        ("DELETE", f"/deployments/{ID}"),
        ("POST", f"/deployments/{ID}/create_flow_run"),
        ("POST", "/deployments/filter"),
        ("POST", "/flow_runs/"),
        ("DELETE", f"/flow_runs/{ID}"),
        ("HEAD", f"/flow_runs/{ID}"),
        ("GET", f"/flow_runs/{ID}/graph"),
        ("GET", f"/flow_runs/{ID.upper()}"),
        ("GET", f"/flow_runs/{ID}/"),
        ("GET", f"/flow_runs/{ID}\n"),
        ("GET", f"/flow_runs/{ID}/../../admin/settings"),
        ("GET", f"/flow_runs/{ID}%2f..%2f..%2fadmin%2fsettings"),
        ("GET", f"/flow_runs/%2e%2e/deployments/{ID}"),
        ("GET", f"//flow_runs/{ID}"),
        ("GET", f"/flow_runs//{ID}"),
        ("GET", "/block_documents/"),
        ("POST", "/block_documents/filter"),
        ("GET", f"/block_documents/{ID}?include_secrets=true"),
        ("POST", "/variables/"),
        ("POST", "/logs/filter"),
        ("POST", "/events/filter"),
        ("POST", "/task_runs/"),
        ("GET", "/work_pools/other-pool"),
        ("PATCH", "/work_pools/waybill-remote"),
        ("POST", "/work_pools/waybill-pool/get_scheduled_flow_runs"),
        ("POST", "/work_pools/waybill-remote/queues"),
        ("POST", "/work_queues/filter"),
        ("GET", "/csrf-token"),
        ("POST", "/automations/"),
        ("GET", ""),
    ],
)
def test_everything_else_is_refused(method: str, path: str) -> None:
    with pytest.raises(Refused):
        request_of(method, path)


def test_runs_are_asked_for_on_the_queues_of_the_labels_alone() -> None:
    asked = {"work_queue_names": ["gpu-pool"], "scheduled_before": "2026-11-29 22:43:38+00:00"}
    assert rules.scheduled_body(asked, LABELS) == {
        "work_queue_names": ["gpu-pool"], "limit": 100, "scheduled_before": "2026-11-29 22:43:38+00:00",
    }  # fmt: skip
    # Prefect would give the runs of all queues.
    assert rules.scheduled_body({}, LABELS)["work_queue_names"] == ["big", "gpu-pool"]
    assert rules.scheduled_body({"work_queue_names": []}, LABELS)["work_queue_names"] == ["big", "gpu-pool"]
    for names in (["other"], ["gpu-pool", "other"], "gpu-pool", [["gpu-pool"]], {"any_": ["gpu-pool"]}):
        with pytest.raises(Refused):
            rules.scheduled_body({"work_queue_names": names}, LABELS)
    with pytest.raises(Refused):
        rules.scheduled_body({}, frozenset())


def test_queues_are_looked_for_by_label_alone() -> None:
    body = {"work_queues": {"name": {"any_": ["big"]}}, "limit": None, "offset": None}
    assert rules.queues_body(body, LABELS)["work_queues"] == {"name": {"any_": ["big"]}}
    for filtered in ({"name": {"startswith_": ["b"]}}, {"id": {"any_": [ID]}}, {"name": {"any_": ["other"]}}):
        with pytest.raises(Refused):
            rules.queues_body({"work_queues": filtered}, LABELS)


def test_a_worker_is_alive_under_its_own_name_alone() -> None:
    assert rules.heartbeat_body({"name": "w1", "heartbeat_interval_seconds": 30}, "w1")["name"] == "w1"
    with pytest.raises(Refused):
        rules.heartbeat_body({"name": "w2"}, "w1")


def test_runs_are_looked_for_by_id() -> None:
    asked = {
        "flows": None,
        "flow_runs": {"id": {"any_": [ID]}, "state": {"type": {"any_": ["CANCELLING"]}}},
        "offset": 0,
    }
    assert rules.runs_body(asked) == (
        [uuid.UUID(ID)],
        {"flow_runs": {"id": {"any_": [ID]}, "state": {"type": {"any_": ["CANCELLING"]}}}, "limit": 200},
    )
    for refused in (
        {},
        {"flow_runs": {}},
        {"flow_runs": {"id": {"any_": []}}},
        {"flow_runs": {"id": {"not_any_": [ID]}}},
        {"flow_runs": {"id": {"any_": [ID]}, "tags": {"any_": ["x"]}}},
        {"flow_runs": {"id": {"any_": [ID]}}, "deployments": {"name": {"any_": ["x"]}}},
        {"flow_runs": {"id": {"any_": ["no id"]}}},
    ):
        with pytest.raises(Refused):
            rules.runs_body(refused)


def test_a_state_loses_what_would_be_unpickled_or_read_at_home() -> None:
    data = {"storage_key": "/etc/passwd", "serializer": {"type": "pickle"}, "storage_block_id": OTHER_ID}
    details = {
        "transition_id": OTHER_ID,
        "child_flow_run_id": OTHER_ID,
        "scheduled_time": "2026-01-01",
        "retriable": False,
    }
    claims, sent = rules.state_body(proposal("COMPLETED", data=data, state_details=details, id=OTHER_ID), run())
    assert not claims
    assert sent == {
        "state": {
            "type": "COMPLETED",
            "name": "Completed",
            "message": None,
            "state_details": {"flow_run_id": ID, "transition_id": OTHER_ID, "retriable": False},
        },
        "force": False,
    }


@pytest.mark.parametrize("kind", ["SCHEDULED", "PAUSED", "CANCELLING", "running", "", None, ["RUNNING"]])
def test_states_that_are_for_the_home_are_refused(kind: Any) -> None:
    with pytest.raises(Refused):
        rules.state_body({"state": {"type": kind}}, run())


def test_only_an_end_is_forced() -> None:
    assert rules.state_body(proposal("CRASHED") | {"force": True}, run())[1]["force"] is True
    for kind in ("PENDING", "RUNNING", "COMPLETED"):
        with pytest.raises(Refused):
            rules.state_body(proposal(kind) | {"force": True}, run())


def test_a_worker_changes_neither_parameters_nor_how_often_a_run_is_repeated() -> None:
    given = {"infrastructure_pid": "12", "flow_version": "1", "empirical_policy": {"retries": 1_000}}
    assert rules.change_body(given) == {"infrastructure_pid": "12", "flow_version": "1"}
    for name in ("parameters", "name", "tags", "job_variables", "work_pool_name"):
        with pytest.raises(Refused):
            rules.change_body({name: "x"})


def test_labels_name_the_worker_itself() -> None:
    assert rules.labels_body({"prefect.worker.name": "w2"}, "w1")["prefect.worker.name"] == "w1"
    with pytest.raises(Refused):
        rules.labels_body({"prefect.deployment.id": ID}, "w1")


def test_log_lines_of_no_run_are_left_out() -> None:
    line = {"name": "n", "level": 20, "message": "m", "timestamp": "2026-11-29T22:43:29Z", "flow_run_id": ID}
    assert rules.log_lines([line | {"task_run_id": OTHER_ID}, line | {"flow_run_id": None}]) == [line]
    for refused in ({}, [line] * 5_001, [line | {"level": "20"}], [line | {"more": 1}], [line | {"flow_run_id": "x"}]):
        with pytest.raises(Refused):
            rules.log_lines(refused)


def test_of_events_only_heartbeats_pass() -> None:
    assert rules.heartbeat_events([{"event": "prefect.flow-run.heartbeat", "flow_run_id": ID}]) == [uuid.UUID(ID)]
    for event in (
        {"event": "prefect.task-run.Completed", "flow_run_id": ID},
        {"event": "prefect.flow-run.heartbeat", "flow_run_id": ID, "related": []},
    ):
        with pytest.raises(Refused):
            rules.heartbeat_events([event])


def test_progress_has_no_key_and_is_a_percentage() -> None:
    given = {"type": "progress", "key": "report", "data": 12.5, "flow_run_id": ID, "task_run_id": None}
    assert rules.artifact_body(given) == (uuid.UUID(ID), {"type": "progress", "flow_run_id": ID, "data": 12.5})
    for changed in ({"type": "markdown"}, {"data": 101}, {"data": True}, {"data": float("nan")}, {"flow_run_id": None}):
        with pytest.raises(Refused):
            rules.artifact_body(given | changed)


def test_a_run_belongs_to_a_worker_by_deployment_pool_and_queue() -> None:
    run().require_belongs(uuid.UUID(ID), LABELS)
    for changed in (
        {"deployment_id": OTHER_ID},
        {"deployment_id": None},
        {"pool": "x"},
        {"queue": "x"},
        {"queue": None},
    ):
        with pytest.raises(Refused):
            run(**changed).require_belongs(uuid.UUID(ID), LABELS)


def test_one_worker_has_a_run_until_it_is_scheduled_again() -> None:
    run().require_held("w1")
    with pytest.raises(Refused):
        run().require_readable("w2")
    # After it was scheduled again, the former worker and all others may claim it, and only the former goes on with it.
    run(state="SCHEDULED").require_held("w1")
    run(state="SCHEDULED").require_readable("w2")
    with pytest.raises(Refused):
        run(state="SCHEDULED").require_held("w2")
    with pytest.raises(Refused):
        run(state="SCHEDULED", holder=None).require_held("w1")
    # Claimed by a gateway that died before it could note the worker.
    run(holder=None).require_held("w2")
