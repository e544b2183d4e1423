#!/usr/bin/env bash
# Prefect 3.9.1: a served flow run that is cancelled just before its process is registered stays "Cancelling".
#
# Behaviour: the process that serves a deployment (`Flow.serve`, `Runner`) acts on a cancellation only after it has
#   registered the process of that run. Before it starts that process, it sets the run to "Pending". When the run is
#   cancelled in between, the server accepts "Cancelling". The runner ignores the event, as one of a run that it does not
#   know, and does not ask again. If the process starts at all, it is refused "Running" and ends. The run stays
#   "Cancelling", and keeps its place under a concurrency limit for minutes, or for ever.
# Why one would expect otherwise: a run that is cancelled before it is taken ("Scheduled") becomes "Cancelled" at once,
#   and one that is cancelled while it runs becomes "Cancelled" when its process has ended. The runner sees this
#   process end, too.
# Consequence: whoever serves flows has to find such runs and end them.
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
server=
runner=
stop() {
  for each in $runner $server; do kill "$each" 2>/dev/null || true; wait "$each" 2>/dev/null || true; done
  rm -rf "$work"
}
trap stop EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check prefect==3.9.1

port=$(venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PREFECT_HOME="$work/home" DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=WARNING
export PREFECT_API_URL="http://127.0.0.1:$port/api" PREFECT_RUNNER_POLL_FREQUENCY=1
venv/bin/prefect server start --no-ui --host 127.0.0.1 --port "$port" >server.log 2>&1 &
server=$!

echo "Prefect 3.9.1: served flow runs are cancelled before, while and after their process is started."
echo "Expected by most readers: each of them is 'Cancelled' in the end."
echo
cat >nap.py <<'PY'
import time

from prefect import flow


@flow
def nap():
    time.sleep(60)


if __name__ == "__main__":
    nap.serve(name="nap")
PY
cat >cancel.py <<'PY'
import sys
import time

import httpx

from prefect.settings import PREFECT_API_URL

api = httpx.Client(base_url=PREFECT_API_URL.value() + "/", timeout=30)
TRIES = 50
# The others are "Cancelled" within seconds.
PATIENCE_SECONDS = 30


def ask(method, path, **body):
    """Ask again while the server is busy or not there yet."""
    limit = time.monotonic() + 120
    while True:
        try:
            answer = api.request(method, path, **body)
            if answer.status_code not in (404, 503):
                return answer.raise_for_status().json()
        except httpx.TransportError:
            pass
        if time.monotonic() > limit:
            sys.exit(f"no answer to {method} {path}")
        time.sleep(0.2)


deployment = ask("GET", "deployments/name/nap/nap")["id"]
print("the deployment is served")


def state(run_id):
    return ask("GET", f"flow_runs/{run_id}")["state"]["name"]


def wait_until(run_id, wanted, seconds):
    """The run's state as soon as it is among the *wanted*, or after some seconds."""
    limit = time.monotonic() + seconds
    while (found := state(run_id)) not in wanted and time.monotonic() < limit:
        pass
    return found


def cancel_when(wanted, **scheduled):
    """Start a run, cancel it when its state is among the *wanted*; what became of it, and all its states."""
    body = {"state": {"type": "SCHEDULED", "state_details": scheduled}} if scheduled else {}
    run_id = ask("POST", f"deployments/{deployment}/create_flow_run", json=body)["id"]
    wait_until(run_id, wanted, 120)
    ask("POST", f"flow_runs/{run_id}/set_state", json={"state": {"type": "CANCELLING", "name": "Cancelling"}})
    end = wait_until(run_id, {"Cancelled", "Crashed", "Completed"}, PATIENCE_SECONDS)
    states = [found["name"] for found in ask("GET", "flow_run_states/", params={"flow_run_id": run_id})]
    return end, states


before, states = cancel_when({"Scheduled"}, scheduled_time="2099-01-01T00:00:00Z")
print(f"cancelled before it is taken:  {before:10} after {states}")
after, states = cancel_when({"Running"})
print(f"cancelled while it runs:       {after:10} after {states}")
for number in range(TRIES):
    between, states = cancel_when({"Pending", "Submitting"})
    print(f"cancelled while it is pending: {between:10} after {states}")
    if between == "Cancelling":
        break
if (before, after, between) != ("Cancelled", "Cancelled", "Cancelling"):
    sys.exit("NOT AS DESCRIBED")
print(f"As described: {PATIENCE_SECONDS} s after it was cancelled, the last run is still 'Cancelling'.")
PY
for _ in $(seq 120); do
  venv/bin/python -c "import httpx; httpx.get('$PREFECT_API_URL/health').raise_for_status()" 2>/dev/null && break
  sleep 1
done
venv/bin/python nap.py >runner.log 2>&1 &
runner=$!
venv/bin/python cancel.py
