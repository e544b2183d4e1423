#!/usr/bin/env bash
# Prefect 3.9.1: deleting a flow run keeps its subflow runs and turns them into top-level runs.
#
# Behaviour: `DELETE /api/flow_runs/{id}` removes the run and its task runs, but not the runs of its subflows. Their
#   `parent_task_run_id` becomes null, so a filter for runs without a parent now finds them: with two subflows, deleting the only
#   top-level run raises the number of top-level runs from one to two. An artifact that the run made stays too, with the
#   id of a run that no longer exists.
# Why one would expect otherwise: a subflow run exists because of its parent, the user interface shows it inside the parent, and the
#   task runs next to it are deleted with the parent.
# Consequence: a clean-up has to collect the subflow runs and artifacts first and to delete them itself.
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
server=
stop() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap stop EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check prefect==3.9.1

port=$(venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PREFECT_HOME="$work/home" DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=WARNING
export PREFECT_API_URL="http://127.0.0.1:$port/api"
venv/bin/prefect server start --no-ui --host 127.0.0.1 --port "$port" >server.log 2>&1 &
server=$!

echo "Prefect 3.9.1: a flow run with one task, one artifact and two subflows is deleted over the API."
echo "Expected by most readers: the subflow runs are deleted with it, as its task runs are."
echo
cat >delete_parent.py <<'PY'
import sys
import time

import httpx

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.settings import PREFECT_API_URL

api = httpx.Client(base_url=PREFECT_API_URL.value() + "/", timeout=30)


@task
def step():
    return 1


@flow
def part(number):
    return number


@flow
def parent():
    step()
    part(1)
    part(2)
    create_markdown_artifact("# Report", key="report")


def ask(method, path, **body):
    """Ask again while the server is busy (503)."""
    limit = time.monotonic() + 60
    answer = api.request(method, path, **body)
    while answer.status_code == 503 and time.monotonic() < limit:
        time.sleep(1)
        answer = api.request(method, path, **body)
    return answer


def find(kind, **filters):
    return ask("POST", f"{kind}/filter", json=filters).raise_for_status().json()


def wait_for(condition, what):
    """Wait, since the server records task runs in the background."""
    limit = time.monotonic() + 60
    while not condition():
        if time.monotonic() > limit:
            sys.exit(f"NOT AS DESCRIBED: {what} within 60 s")
        time.sleep(0.5)


def top_level():
    return find("flow_runs", flow_runs={"parent_task_run_id": {"is_null_": True}})


def tasks_of(run_id):
    return find("task_runs", task_runs={"flow_run_id": {"any_": [run_id]}})


limit = time.monotonic() + 120
while True:
    try:
        api.get("health").raise_for_status()
        break
    except httpx.HTTPError:
        if time.monotonic() > limit:
            sys.exit("the server did not start")
        time.sleep(1)

parent()
wait_for(lambda: len(top_level()) == 1, "one top-level run")
run = top_level()[0]
# One task run for the task and one for each subflow.
wait_for(lambda: len(tasks_of(run["id"])) == 3, "three task runs of the parent")


def show(moment):
    runs = find("flow_runs")
    artifacts = find("artifacts")
    print(f"{moment}: flow runs {len(runs)}, top-level {len(top_level())}, task runs of the parent {len(tasks_of(run['id']))},")
    print(f"    parents of the others: {[found['parent_task_run_id'] for found in runs if found['id'] != run['id']]}")
    print(f"    artifacts: {[(found['key'], found['flow_run_id']) for found in artifacts]}")


show("before")
ask("DELETE", f"flow_runs/{run['id']}").raise_for_status()
wait_for(lambda: not tasks_of(run["id"]), "no task runs of the deleted parent")
time.sleep(5)  # the server deletes some of what belongs to a run in the background
show("after ")

gone = ask("GET", f"flow_runs/{run['id']}").status_code == 404
left = top_level()
artifacts = find("artifacts")
if not gone or len(left) != 2 or [found["flow_run_id"] for found in artifacts] != [run["id"]]:
    sys.exit("NOT AS DESCRIBED")
print(f"As described: the run {run['id']} is gone, and there are now two top-level runs instead of one.")
PY
venv/bin/python delete_parent.py
