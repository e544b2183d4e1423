#!/usr/bin/env bash
# Prefect 3.9.1: the client waits before the next attempt even when there will be none; the server can set for how long.
#
# Behaviour: after a response with a status that is retried (408, 429, 502, 503), the client sleeps, and looks only then
#   whether attempts are left. With PREFECT_CLIENT_MAX_RETRIES=0 it sends one request, sleeps for about two seconds, and raises
#   the error. With the header "Retry-After: 300" it sleeps for 300 seconds or more before it raises. With one retry, the
#   second response is followed by a sleep, too. The asynchronous and the synchronous client do the same. An attempt that
#   fails without a response is raised immediately when it was the last one.
# Why one would expect otherwise: the setting says that 0 disables retries, so nothing is left to wait for. Retry-After
#   says when another request may be sent, and none is sent.
# Consequence: MAX_RETRIES=0 does not make a call fail fast. A caller with a deadline needs a timeout around the call,
#   or a plain HTTP client.
#
# The server is a stub on the loopback address that gives the same response to each request. `anyio.sleep` and
# `time.sleep` are replaced by functions that record the seconds and return, so no clock is measured. The seconds vary
# by Prefect's jitter, which is set to 0 here.
#
# Output seen:
#   async client, 503, no retry:                         1 requests, sleeps [2],     PrefectHTTPStatusError
#   async client, 503, no retry, Retry-After 300:        1 requests, sleeps [300.0], PrefectHTTPStatusError
#   async client, 503, one retry:                        2 requests, sleeps [2, 4],  PrefectHTTPStatusError
#   async client, 500, no retry:                         1 requests, sleeps [],      PrefectHTTPStatusError
#   async client, closed connection, no retry:           1 requests, sleeps [],      RemoteProtocolError
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

echo "Prefect 3.9.1: requests that fail, and the client's sleeps before it raises the error."
echo "Expected by most readers: one sleep fewer than requests, so none without retries."
echo
cat >sleeps.py <<'PY'
import asyncio
import http.server
import os
import sys
import threading
import time

import anyio

CASES = [
    # status (None: the connection is closed), Retry-After, retries, requests, sleeps, error
    (503, None, 0, 1, [2], "PrefectHTTPStatusError"),
    (503, 300, 0, 1, [300], "PrefectHTTPStatusError"),
    (503, None, 1, 2, [2, 4], "PrefectHTTPStatusError"),
    (500, None, 0, 1, [], "PrefectHTTPStatusError"),
    (None, None, 0, 1, [], "RemoteProtocolError"),
]
requests = []
sleeps = []


class Stub(http.server.BaseHTTPRequestHandler):
    status, retry_after = 503, None

    def do_GET(self):
        requests.append(self.path)
        if self.status is None:
            self.close_connection = True
            return
        self.send_response(self.status)
        if self.retry_after is not None:
            self.send_header("Retry-After", str(self.retry_after))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


stub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub)
threading.Thread(target=stub.serve_forever, daemon=True).start()
os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{stub.server_port}/api"

from prefect.client.orchestration import get_client  # noqa: E402
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings  # noqa: E402

RUN = "00000000-0000-0000-0000-000000000001"


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
    for status, retry_after, retries, *expected in CASES:
        Stub.status, Stub.retry_after = status, retry_after
        requests.clear()
        sleeps.clear()
        error = None
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: retries}):
            try:
                ask()
            except Exception as raised:
                error = type(raised).__name__
        what = f"{name} client, {status or 'closed connection'}, {'one' if retries else 'no'} retry"
        what += f", Retry-After {retry_after}:" if retry_after else ":"
        print(f"{what:52} {len(requests)} requests, sleeps {f'{sleeps},':8} {error}")
        as_described = as_described and [len(requests), sleeps, error] == expected
if not as_described:
    sys.exit("NOT AS DESCRIBED")
print("As described: the client sleeps after the last response, too.")
PY
venv/bin/python sleeps.py
