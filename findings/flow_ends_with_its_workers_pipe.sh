#!/usr/bin/env bash
# Prefect 3.9.1, rich 15.0.0: when a process worker was killed, the next log line of its flow runs ends them.
#
# Behaviour: a process worker reads what its flow runs print from a pipe. When the worker is killed (SIGKILL, out of
#   memory), its flow runs go on, but the pipe has no reader. The next line that a flow logs raises SystemExit in the
#   flow: Prefect's handler prints with rich, and rich answers a broken pipe by ending the program. The run becomes
#   "Crashed" with the message that Python's exit was called, which neither the flow nor Prefect did. `except Exception`
#   around the line does not help. A run that logs nothing after the kill becomes "Completed", and so does one that
#   logs with a handler of the standard library, because that drops the line.
# Why one would expect otherwise: logging does not raise; a handler of the standard library reports to standard error that
#   it could not write. The line itself reaches the server, which is all the time there to take it.
# Consequence: work that would have outlived its worker ends in the middle, at a line of the log. Whoever starts workers
#   under a supervisor has to expect both: runs that go on, and runs that end.
#
# Output seen:
#   logs with nothing:          raised in the flow: nothing,    Completed
#   logs with run logger:       raised in the flow: SystemExit, Crashed, Execution was aborted by Python system exit call.
#   logs with standard handler: raised in the flow: nothing,    Completed
#   the server has the line of the run logger: yes
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
server=
worker=
stop() {
  for each in $worker $(cat "$work"/*.pid 2>/dev/null); do kill -KILL "$each" 2>/dev/null || true; done
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap stop EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check prefect==3.9.1 rich==15.0.0

port=$(venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PREFECT_HOME="$work/home" DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_WORKER_QUERY_SECONDS=1
export PREFECT_API_URL="http://127.0.0.1:$port/api"
PREFECT_LOGGING_LEVEL=WARNING venv/bin/prefect server start --no-ui --host 127.0.0.1 --port "$port" >server.log 2>&1 &
server=$!

echo "Prefect 3.9.1: three flow runs go on after their process worker was killed with SIGKILL; one of them logs a line."
echo "Expected by most readers: all three are 'Completed' in the end."
echo
for _ in $(seq 120); do
  venv/bin/python -c "import httpx; httpx.get('$PREFECT_API_URL/health').raise_for_status()" 2>/dev/null && break
  sleep 1
done
cat >report.py <<'PY'
import logging
import os
import sys
import time
from pathlib import Path

from prefect import flow, get_run_logger

HERE = Path(__file__).parent


def wait_for(path):
    limit = time.monotonic() + 300
    while not path.exists() and time.monotonic() < limit:
        time.sleep(0.1)


@flow
def report(how: str):
    (HERE / f"{how}.part").write_text(str(os.getpid()))
    (HERE / f"{how}.part").rename(HERE / f"{how}.pid")
    wait_for(HERE / "killed")
    raised = "nothing"
    try:
        if how == "run logger":
            get_run_logger().info("half of it is done")
        elif how == "standard handler":
            plain = logging.getLogger("plain")
            plain.propagate = False
            plain.addHandler(logging.StreamHandler(sys.stdout))
            plain.warning("half of it is done")
    except Exception as error:
        raised = f"caught {type(error).__name__}"
    except BaseException as error:
        raised = type(error).__name__
        raise
    finally:
        (HERE / f"{how}.raised").write_text(raised)
        (HERE / f"{how}.pid").unlink()
PY
cat >start.py <<'PY'
import os

from prefect import flow
from prefect.deployments import run_deployment

deployed = flow.from_source(source=os.getcwd(), entrypoint="report.py:report")
deployed.deploy(name="report", work_pool_name="pool", print_next_steps=False, ignore_warnings=True)
for how in ("nothing", "standard handler", "run logger"):
    run_deployment("report/report", parameters={"how": how}, flow_run_name=how, timeout=0)
PY
cat >states.py <<'PY'
import sys
import time
from pathlib import Path

import httpx

from prefect.settings import PREFECT_API_URL

api = httpx.Client(base_url=PREFECT_API_URL.value() + "/", timeout=30)
FINAL = {"Completed", "Crashed", "Failed"}
EXIT = "Execution was aborted by Python system exit call."
limit = time.monotonic() + 120
while True:
    runs = api.post("flow_runs/filter", json={}).raise_for_status().json()
    if {run["state"]["name"] for run in runs} <= FINAL or time.monotonic() > limit:
        break
    time.sleep(0.5)
seen = {}
for run in sorted(runs, key=lambda run: len(run["name"])):
    raised = Path(f"{run['name']}.raised")
    found = raised.read_text() if raised.exists() else None
    seen[run["name"]] = (found, run["state"]["name"], run["state"]["message"] or "")
    what, *state = seen[run["name"]]
    print(f"logs with {run['name'] + ':':17} raised in the flow: {f'{what},':11} {', '.join(filter(None, state))}")
lines = []
while not lines and time.monotonic() < limit:
    found = api.post("logs/filter", json={"limit": 200}).raise_for_status().json()
    lines = [line["message"] for line in found if line["message"] == "half of it is done"]
    time.sleep(0.5)
print("the server has the line of the run logger:", "yes" if lines else "no")
wanted = {"nothing": ("nothing", "Completed", ""), "standard handler": ("nothing", "Completed", "")}
wanted["run logger"] = ("SystemExit", "Crashed", EXIT)
if seen != wanted or not lines:
    sys.exit("NOT AS DESCRIBED")
print("As described: a line that cannot be printed ends the run.")
PY
venv/bin/prefect work-pool create --type process pool >/dev/null
venv/bin/python start.py >/dev/null
venv/bin/prefect worker start --pool pool >worker.log 2>&1 &
worker=$!
for _ in $(seq 240); do
  [ "$(find . -maxdepth 1 -name '*.pid' | wc -l)" = 3 ] && break
  sleep 1
done
kill -KILL "$worker"
wait "$worker" 2>/dev/null || true
worker=
touch killed
venv/bin/python states.py
