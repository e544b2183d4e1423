#!/usr/bin/env bash
# Prefect 3.9.1: with the header "Prefect-Maintenance: true", a 503 is repeated without end, also when retries are off.
#
# Behaviour: a request that is answered with a status that is retried (408, 429, 502, 503) counts as an attempt, and the
#   client gives up after PREFECT_CLIENT_MAX_RETRIES repetitions, which are five. When the answer has the header
#   "Prefect-Maintenance: true", it does not count. The client asks until an answer is without the header or has another
#   status; MAX_RETRIES=0 makes no difference. The wait does not grow from one repetition to the next, either. Any other
#   value of the header, "True" or "1", counts. A status that is not retried, such as 500, is raised with the header, too.
#   The asynchronous and the synchronous client do the same.
# Why one would expect otherwise: a maximum is a maximum, and its setting says that 0 disables retries. A header of the
#   answer can usually set how long a client waits (Retry-After), not how often it asks.
# Consequence: a proxy that restarts the server behind it can hold its clients' calls for as long as it takes. A caller
#   with a deadline needs a timeout around the call, because no setting of the client ends it.
#
# The server is a stub on the loopback address that gives the same response to the first requests, and then a flow run.
# `anyio.sleep` and `time.sleep` are replaced by functions that record the seconds and return, so no clock is measured.
# Prefect's jitter is set to 0 here.
#
# Output seen:
#   async client, 503, no header, 5 retries:       6 requests, sleeps of [2, 4, 8, 16, 32, 64],   PrefectHTTPStatusError
#   async client, 503, header true, 5 retries:    13 requests, sleeps of [1],                     answered
#   async client, 503, header true, 0 retries:    13 requests, sleeps of [1],                     answered
#   async client, 503, header True, 0 retries:     1 requests, sleeps of [2],                     PrefectHTTPStatusError
#   async client, 500, header true, 5 retries:     1 requests, sleeps of [],                      PrefectHTTPStatusError
#   (the same five lines for the sync client)
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check prefect==3.9.1

export PREFECT_HOME="$work/home" DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=CRITICAL
export PREFECT_CLIENT_RETRY_JITTER_FACTOR=0 PREFECT_CLIENT_CSRF_SUPPORT_ENABLED=false

echo "Prefect 3.9.1: a server that fails 12 times and then answers, with and without the header Prefect-Maintenance."
echo "Expected by most readers: an error after five repetitions, and after none when retries are disabled."
echo
cat >maintenance.py <<'PY'
import asyncio
import http.server
import json
import os
import sys
import threading
import time

import anyio

FAILURES = 12
ERROR = "PrefectHTTPStatusError"
CASES = [
    # status, value of the header, retries, requests, different sleeps, outcome
    (503, None, 5, 6, [2, 4, 8, 16, 32, 64], ERROR),
    (503, "true", 5, 13, [1], "answered"),
    (503, "true", 0, 13, [1], "answered"),
    (503, "True", 0, 1, [2], ERROR),
    (500, "true", 5, 1, [], ERROR),
]
RUN = "00000000-0000-0000-0000-000000000001"
ANSWER = json.dumps({"id": RUN, "flow_id": RUN, "name": "nightly"}).encode()
requests = []
sleeps = []


class Stub(http.server.BaseHTTPRequestHandler):
    status, maintenance = 503, None

    def do_GET(self):
        requests.append(self.path)
        failing = len(requests) <= FAILURES
        content = b"" if failing else ANSWER
        self.send_response(self.status if failing else 200)
        if failing and self.maintenance:
            self.send_header("Prefect-Maintenance", self.maintenance)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


stub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub)
threading.Thread(target=stub.serve_forever, daemon=True).start()
os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{stub.server_port}/api"

from prefect.client.orchestration import get_client  # noqa: E402
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings  # noqa: E402


async def ask_async():
    async with get_client() as client:
        await client.read_flow_run(RUN)


def ask_sync():
    with get_client(sync_client=True) as client:
        client.read_flow_run(RUN)


async def record(seconds):
    sleeps.append(seconds)


anyio.sleep, time.sleep = record, sleeps.append
as_described = True
for name, ask in (("async", lambda: asyncio.run(ask_async())), ("sync", ask_sync)):
    for status, maintenance, retries, *expected in CASES:
        Stub.status, Stub.maintenance = status, maintenance
        requests.clear()
        sleeps.clear()
        outcome = "answered"
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: retries}):
            try:
                ask()
            except Exception as raised:
                outcome = type(raised).__name__
        found = [len(requests), sorted(set(sleeps)), outcome]
        header = f"header {maintenance}" if maintenance else "no header"
        what = f"{name} client, {status}, {header}, {retries} retries:"
        print(f"{what:45} {len(requests):2} requests, sleeps of {f'{found[1]},':24} {outcome}")
        as_described = as_described and found == expected
if not as_described:
    sys.exit("NOT AS DESCRIBED")
print("As described: the header switches the limit off.")
PY
venv/bin/python maintenance.py
