#!/usr/bin/env bash
# Prefect 3.9.1: the timestamp of a state that a client sets is left out of the request.
#
# Behaviour: `State` has a timestamp that the caller may choose, and `set_flow_run_state` takes a State. The request has no
#   field for the timestamp (`StateCreate`): the server stores the time at which it received the request, also with
#   force=True. The start and end of the run follow from it. Nothing is raised or logged.
# Why one would expect otherwise: a State that is given with a timestamp is accepted and reads as set; the other fields of
#   it are stored. Code that records late what happened earlier, such as an import, would set it.
# Consequence: a client cannot record when something really ended. What has to be as old as it was, for a test of
#   retention say, needs the database.
#
# Output seen:
#   given:    10 days ago
#   answered: 0 days ago
#   stored:   0 days ago
#   run ended: 0 days ago
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
trap stop EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check prefect==3.9.1

port=$(venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PREFECT_HOME="$work/home" DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=WARNING
export PREFECT_API_URL="http://127.0.0.1:$port/api"
venv/bin/prefect server start --no-ui --host 127.0.0.1 --port "$port" >server.log 2>&1 &
server=$!

echo "Prefect 3.9.1: a run is set to Completed, with the timestamp of a day ten days ago."
echo "Expected by most readers: the state and the run's end have that time."
echo
cat >set_state.py <<'PY'
import asyncio
import sys
import time
from datetime import datetime, timedelta, timezone

import httpx

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed

TEN_DAYS_AGO = datetime.now(timezone.utc) - timedelta(days=10)


@flow
def old():
    pass


async def main():
    async with get_client() as client:
        run = await client.create_flow_run(old)
        state = Completed(timestamp=TEN_DAYS_AGO)
        answer = await client.set_flow_run_state(run.id, state, force=True)
        stored = await client.read_flow_run(run.id)
        return state.timestamp, answer.state.timestamp, stored.state.timestamp, stored.end_time


limit = time.monotonic() + 120
while True:
    try:
        httpx.get(PREFECT_API_URL.value() + "/health", timeout=5).raise_for_status()
        break
    except httpx.HTTPError:
        if time.monotonic() > limit:
            sys.exit("the server did not start")
        time.sleep(0.5)

sent, answered, stored, ended = asyncio.run(main())


def days_ago(moment):
    return round((datetime.now(timezone.utc) - moment).total_seconds() / 86400)


print(f"given:    {days_ago(sent)} days ago")
print(f"answered: {days_ago(answered)} days ago")
print(f"stored:   {days_ago(stored)} days ago")
print(f"run ended: {days_ago(ended)} days ago")
if days_ago(sent) != 10 or {days_ago(answered), days_ago(stored), days_ago(ended)} != {0}:
    sys.exit("NOT AS DESCRIBED: the timestamp of the client counts")
print("As described: the run has the time of the request.")
PY
venv/bin/python set_state.py
