#!/usr/bin/env bash
# Prefect 3.9.1: a task that only waits for another one's state reads the result of that state.
#
# Behaviour: with `wait_for=[state]`, where the state is a completed one, the engine reads the persisted result of the state
#   before it starts the task that waits, and then does not use it. When the result has been removed, the waiting task fails
#   before its first line (ValueError of the storage). The same with a state that never had a result to read, as the API
#   gives it for a task that persists none: MissingResult.
# Why one would expect otherwise: `wait_for` gives an order, and passes no value; the state says by itself that it is completed,
#   and the arrow between the two tasks comes from the id in the state.
# Consequence: each arrow costs a read of the storage, and a result that has expired stops tasks that never wanted it. A state
#   of the type PENDING with the same details, in `allow_failure`, gives the arrow and reads nothing.
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
export PREFECT_HOME="$work/home" DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=CRITICAL
export PREFECT_API_URL="http://127.0.0.1:$port/api" PREFECT_LOCAL_STORAGE_PATH="$work/results"
venv/bin/prefect server start --no-ui --host 127.0.0.1 --port "$port" >server.log 2>&1 &
server=$!

echo "Prefect 3.9.1: tasks wait for the completed state of a first one, and want no result of it."
echo "Expected by most readers: its result is not read, so all of them run, whether it is there or not."
echo
cat >order.py <<'PY'
import asyncio
import sys
import time
from pathlib import Path

import httpx

from prefect import State, allow_failure, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import StateType
from prefect.filesystems import LocalFileSystem
from prefect.settings import PREFECT_API_URL, PREFECT_LOCAL_STORAGE_PATH

limit = time.monotonic() + 120
while True:
    try:
        httpx.get(PREFECT_API_URL.value() + "/health", timeout=30).raise_for_status()
        break
    except httpx.HTTPError:
        if time.monotonic() > limit:
            sys.exit("the server did not start")
        time.sleep(1)

reads = []
read = LocalFileSystem.aread_path


async def noted(self, path):
    reads.append(path)
    return await read(self, path)


LocalFileSystem.aread_path = noted
ran = []


@task(persist_result=True)
async def first():
    return "something large"


@task(persist_result=False, cache_policy=NO_CACHE)
async def second(name):
    ran.append(name)


def metadata_only(state):
    """The state as another process knows it: with the place of its result, and without the result."""
    return state.model_copy(update={"data": state.data.metadata})


async def waits(name, state):
    """Run the second task after *state*; return the name of the error that stopped it, and how often a result was read."""
    before = len(reads)
    try:
        await second(name, wait_for=[state])
        error = None
    except Exception as exc:
        error = type(exc).__name__
    print(f"{name}: {error or 'the task ran'}, {len(reads) - before} reads")
    return error, len(reads) - before


@flow
async def ordered():
    state = await first(return_state=True)
    found = [await waits("the result is there", metadata_only(state))]
    for path in Path(PREFECT_LOCAL_STORAGE_PATH.value()).rglob("*"):
        if path.is_file():
            path.unlink()
    found.append(await waits("the result was removed", metadata_only(state)))
    found.append(await waits("the state has no data", state.model_copy(update={"data": None})))
    mark = State(type=StateType.PENDING, name="NotReady", state_details=state.state_details)
    found.append(await waits("a pending state with the same details", allow_failure(mark)))
    return found


found = asyncio.run(ordered())
(there, reads_there), (removed, _), (no_data, _), (mark, reads_of_mark) = found
if there is not None or not reads_there or removed != "ValueError" or no_data != "MissingResult":
    sys.exit("NOT AS DESCRIBED")
if mark is not None or reads_of_mark or ran != ["the result is there", "a pending state with the same details"]:
    sys.exit("NOT AS DESCRIBED")
print("As described: an order alone reads the result, and where there is none, the task is not called.")
PY
venv/bin/python order.py
