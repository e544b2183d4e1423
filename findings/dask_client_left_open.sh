#!/usr/bin/env bash
# distributed 2026.8.0: a client whose connection is cancelled stays open, and another piece of code gets its warning.
#
# Behaviour: `await Client(address, asynchronous=True)` that is cancelled, as a time limit around it does, raises, and leaves
#   the client half open. When it is deleted, at some later moment, its destructor begins to close it, in a loop that nothing
#   waits for: Python reports that the coroutines `wait_for` and `Client._close` were never awaited. When the scheduler does
#   not answer within the client's own timeout (OSError), the client closes itself, and nothing is reported.
# Why one would expect otherwise: the caller has no client to close. The expression that makes it raised, and for the other
#   way to fail in the same place, a scheduler that is not there, the library cleans up itself.
# Consequence: with warnings as errors, as test suites have, a test fails that has nothing to do with Dask: the one that runs
#   when the garbage collector does. What avoids it: make the client first, await it, and on any exception `await
#   client.close()`.
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check dask==2026.8.0 distributed==2026.8.0

echo "distributed 2026.8.0: clients of a scheduler that is not there."
echo "Expected by most readers: however the wait ends, a client that was never handed out needs no closing."
echo
cat >left_open.py <<'PY'
import asyncio
import gc
import socket
import sys
import warnings

from distributed import Client

warnings.simplefilter("error")
reported = []
sys.unraisablehook = lambda error: reported.append(str(error.exc_value))


def unused_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


async def by_expression(address, own_limit, limit):
    async with asyncio.timeout(limit):
        await Client(address, asynchronous=True, timeout=own_limit, set_as_default=False)


async def closed_by_hand(address, own_limit, limit):
    client = Client(address, asynchronous=True, timeout=own_limit, set_as_default=False)
    try:
        async with asyncio.timeout(limit):
            await client
    except BaseException:
        await client.close()
        raise


async def outcome(connect, own_limit, limit):
    reported.clear()
    error = None
    try:
        await connect(f"tcp://127.0.0.1:{unused_port()}", own_limit, limit)
    except OSError as exc:  # TimeoutError too
        error = type(exc).__name__
    for _ in range(5):
        await asyncio.sleep(0)
        gc.collect()
    return error, sorted(reported)


async def main():
    ways = {
        "its own timeout": (by_expression, "500ms", 30),
        "a time limit around it": (by_expression, "30s", 0.5),
        "the same, closed by hand": (closed_by_hand, "30s", 0.5),
    }
    seen = {}
    for name, given in ways.items():
        error, left = await outcome(*given)
        seen[name] = left
        print(f"{name}: raised {error}; reported later: {left or 'nothing'}")
    left = ["coroutine 'Client._close' was never awaited", "coroutine 'wait_for' was never awaited"]
    expected = dict(zip(ways, [[], left, []], strict=True))
    print()
    if seen != expected:
        print("The behaviour has changed.")
        return 1
    print("As described: only the client whose wait was cancelled is left open.")
    return 0


sys.exit(asyncio.run(main()))
PY
venv/bin/python left_open.py
