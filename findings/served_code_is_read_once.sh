#!/usr/bin/env bash
# Prefect 3.9.1: whether a served deployment sees an edit of its file depends on how it was added to the runner.
#
# Behaviour: `Runner.add_flow` (which `flow.serve` uses) passes the flow object of the serving process to every run, so
#   the file is not read again until the serving process restarts. `Runner.add_deployment` of a deployment from local
#   storage, in the same runner and for the same function of the same file, starts each run in a Python process that
#   loads the file: the next run has the edit.
# Why one would expect otherwise: both deployments have the same entrypoint in the API and the user interface, both start a process for
#   each run, and a worker reads the file for each run.
# Consequence: after an upgrade of the code, restart serving processes, or serve deployments from storage.
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
pids=()
stop() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap stop EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check prefect==3.9.1

port=$(venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PREFECT_HOME="$work/home" DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=WARNING
export PREFECT_API_URL="http://127.0.0.1:$port/api" PREFECT_RUNNER_POLL_FREQUENCY=2
venv/bin/prefect server start --no-ui --host 127.0.0.1 --port "$port" >server.log 2>&1 &
pids+=($!)

cat >message.py <<'PY'
from prefect import flow
from prefect.states import Completed


@flow
def message():
    return Completed(message="first version")
PY
cat >serving.py <<'PY'
import asyncio

from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner
from prefect.runner.storage import LocalStorage

from message import message


async def main():
    runner = Runner(name="both")
    await runner.aadd_flow(message, name="from-object")
    stored = await RunnerDeployment.afrom_storage(
        storage=LocalStorage(path="."), entrypoint="message.py:message", name="from-storage"
    )
    await runner.aadd_deployment(stored)
    await runner.start()


# The runner starts processes that import this file again.
if __name__ == "__main__":
    asyncio.run(main())
PY

echo "Prefect 3.9.1: one runner, one file, two deployments; the file is edited while they are served."
echo "Expected by most readers: both see the edit, or neither does."
echo
cat >trigger.py <<'PY'
"""Run both deployments and print the message of each final state."""

import sys
import time

import httpx

from prefect.settings import PREFECT_API_URL

api = httpx.Client(base_url=PREFECT_API_URL.value() + "/", timeout=30)


def ask(method, path, expected, limit_s, **body):
    """Ask until the answer has the expected status: the server may be busy, and deployments are registered in the background."""
    limit = time.monotonic() + limit_s
    while time.monotonic() < limit:
        try:
            answer = api.request(method, path, **body)
            if answer.status_code == expected:
                return answer.json()
        except httpx.TransportError:
            pass
        time.sleep(1)
    sys.exit(f"{method} {path} did not answer {expected} within {limit_s} s")


NAMES = ("from-object", "from-storage")
deployments = [ask("GET", f"deployments/name/message/{name}", 200, 120) for name in NAMES]
for name, found in zip(NAMES, deployments, strict=True):
    path = f"deployments/{found['id']}/create_flow_run"
    run = ask("POST", path, 201, 60, json={"state": {"type": "SCHEDULED"}})
    limit = time.monotonic() + 180
    while run["state_type"] not in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
        if time.monotonic() > limit:
            sys.exit(f"the run of {name} did not end within 180 s")
        time.sleep(1)
        run = ask("GET", f"flow_runs/{run['id']}", 200, 60)
    print(f"{name}: entrypoint {found['entrypoint']}, {run['state_type']}: {run['state']['message']}")
PY

limit=$((SECONDS + 120))
until venv/bin/python - <<'PY'
import os, urllib.request
urllib.request.urlopen(os.environ["PREFECT_API_URL"] + "/health", timeout=5)
PY
do
  if [ $SECONDS -gt $limit ]; then echo "the server did not start" >&2; exit 1; fi
  sleep 1
done 2>/dev/null
venv/bin/python serving.py >serving.log 2>&1 &
pids+=($!)

echo "before the edit:"
venv/bin/python trigger.py | tee before.txt
sed -i 's/first version/second version/' message.py
echo "after the edit:"
venv/bin/python trigger.py | tee after.txt

if grep -q '^from-object: .*COMPLETED: first version$' before.txt &&
  grep -q '^from-storage: .*COMPLETED: first version$' before.txt &&
  grep -q '^from-object: .*COMPLETED: first version$' after.txt &&
  grep -q '^from-storage: .*COMPLETED: second version$' after.txt; then
  echo "As described: only the deployment from storage has the edit."
else
  echo "NOT AS DESCRIBED" >&2
  tail -20 serving.log >&2
  exit 1
fi
