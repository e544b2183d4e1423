#!/usr/bin/env bash
# Prefect 3.9.1: PREFECT_API_KEY goes with each HTTP request, but not with the websockets that events go through.
#
# Behaviour: for a server that is not Prefect Cloud, the client for events takes its credentials from
#   PREFECT_API_AUTH_STRING alone. With PREFECT_API_KEY, an HTTP request of the same process has "Authorization: Bearer",
#   while the handshake of both websockets (/api/events/in and /api/events/out) has no such header, and the
#   first message through them has the token null. With the auth string, the socket that sends has the header and the
#   token, and the one that subscribes has the token only.
# Why one would expect otherwise: both settings are credentials for the API, HTTP requests are sent with either of them, and
#   the websockets are part of that API.
# Consequence: behind a proxy that asks for the key, flow runs work, but their events are refused, and with them the task
#   runs that the server builds from events. A proxy that goes by the header of the handshake refuses subscribers with
#   either setting; for these it has to read the first message.
#
# The server is a stub on the loopback address that notes the header of each request and the first message of each socket.
#
# Output seen:
#   with PREFECT_API_KEY:
#     GET /api/admin/version      Authorization: Bearer the-key
#     websocket /api/events/in    Authorization: none                 token in the first message: None
#     websocket /api/events/out   Authorization: none                 token in the first message: None
#   with PREFECT_API_AUTH_STRING:
#     GET /api/admin/version      Authorization: Basic dXNlcjp3b3Jk
#     websocket /api/events/in    Authorization: Basic dXNlcjp3b3Jk   token in the first message: user:word
#     websocket /api/events/out   Authorization: none                 token in the first message: user:word
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check prefect==3.9.1 websockets==16.1.1

export PREFECT_HOME="$work/home" DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=CRITICAL

echo "Prefect 3.9.1: what a server is given by a client with an API key, and by one with an auth string."
echo "Expected by most readers: the same credentials with HTTP requests and with websockets."
echo
cat >credentials.py <<'PY'
import asyncio
import contextlib
import json
import os
import sys

import websockets
from websockets.datastructures import Headers
from websockets.http11 import Response

SETTINGS = {"PREFECT_API_KEY": "the-key", "PREFECT_API_AUTH_STRING": "user:word"}
BASIC = "Basic dXNlcjp3b3Jk"
VERSION = "GET /api/admin/version"
WANTED = {
    "PREFECT_API_KEY": {
        VERSION: "Bearer the-key",
        "/api/events/in": (None, None),
        "/api/events/out": (None, None),
    },
    "PREFECT_API_AUTH_STRING": {
        VERSION: BASIC,
        "/api/events/in": (BASIC, "user:word"),
        "/api/events/out": (None, "user:word"),
    },
}
seen = {}


def answer_http(connection, request):
    """Answer a request that is no handshake, and note its credentials."""
    if "Upgrade" not in request.headers:
        seen[f"GET {request.path}"] = request.headers.get("Authorization")
        body = json.dumps("3.9.1").encode()
        headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body))})
        return Response(200, "OK", headers, body)


async def accept(socket):
    first = json.loads(await socket.recv())
    seen[socket.request.path] = (socket.request.headers.get("Authorization"), first["token"])
    await socket.send(json.dumps({"type": "auth_success"}))
    with contextlib.suppress(websockets.ConnectionClosed):
        async for _ in socket:
            pass


async def use_the_api():
    from prefect.client.orchestration import get_client
    from prefect.events import Event
    from prefect.events.clients import get_events_client, get_events_subscriber

    async with get_client() as client:
        await client.api_version()
    async with get_events_client() as events:
        await events.emit(Event(event="document.stored", resource={"prefect.resource.id": "document.1"}))
    async with get_events_subscriber():
        pass


async def main(setting):
    async with websockets.serve(accept, "127.0.0.1", 0, process_request=answer_http, subprotocols=["prefect"]) as stub:
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{stub.sockets[0].getsockname()[1]}/api"
        os.environ[setting] = SETTINGS[setting]
        await use_the_api()


(setting,) = sys.argv[1:]
asyncio.run(main(setting))
print(f"with {setting}:")
print(f"  {VERSION:27} Authorization: {seen[VERSION]}")
for path in ("/api/events/in", "/api/events/out"):
    header, token = seen[path]
    print(f"  {f'websocket {path}':27} Authorization: {header or 'none':20} token in the first message: {token}")
if {key: seen[key] for key in WANTED[setting]} != WANTED[setting]:
    sys.exit("NOT AS DESCRIBED")
PY
venv/bin/python credentials.py PREFECT_API_KEY
venv/bin/python credentials.py PREFECT_API_AUTH_STRING
echo "As described: the websockets do not get the key."
