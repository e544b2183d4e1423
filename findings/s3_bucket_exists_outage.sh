#!/usr/bin/env bash
# s3fs 2026.9.0: `exists` of a bucket is False while the server is away; `exists` of an object raises.
#
# Behaviour: `exists("bucket/key")` returns False when the server answers 404, and raises what went wrong otherwise.
#   `exists("bucket")` catches every exception of its requests, writes it to the debug log and returns False: with
#   status 503 and without a server as with 404.
# Why one would expect otherwise: it is the same method, and for an object it distinguishes the two. `isdir` and `info` of
#   the same bucket raise during an outage, too.
# Consequence: code that asks whether its bucket is there takes an outage for a missing bucket, and reports a wrong
#   setting or tries to create it. Use `info` of the bucket, which raises FileNotFoundError only for a missing one.
#
# The server is a stub on the loopback address that gives each request the same status. botocore's own retries are off,
# since they only take time here.
#
# Output seen:
#   status 404 for each request:
#     exists("archive"):       False
#     exists("archive/1.pdf"): False
#     isdir("archive"):        False
#     info("archive"):         raised FileNotFoundError
#   status 503 for each request:
#     exists("archive"):       False
#     exists("archive/1.pdf"): raised OSError
#     isdir("archive"):        raised OSError
#     info("archive"):         raised OSError
#   no server:
#     exists("archive"):       False
#     exists("archive/1.pdf"): raised EndpointConnectionError
#     isdir("archive"):        raised EndpointConnectionError
#     info("archive"):         raised EndpointConnectionError
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check s3fs==2026.9.0

echo "s3fs 2026.9.0: a bucket and an object are asked for while the server is away."
echo "Expected by most readers: the same for both, an error."
echo
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true
export AWS_CONFIG_FILE="$work/none" AWS_SHARED_CREDENTIALS_FILE="$work/none"
venv/bin/python - <<'PY'
import http.server
import socket
import sys
import threading

import s3fs
from botocore.exceptions import EndpointConnectionError


class Stub(http.server.BaseHTTPRequestHandler):
    status = 503

    def answer(self):
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = answer

    def log_message(self, *_):
        pass


stub = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub)
threading.Thread(target=stub.serve_forever, daemon=True).start()
# Bound, but not listening: a connection is refused, and no other process gets the port.
silent = socket.socket()
silent.bind(("127.0.0.1", 0))


def ask(what, port):
    print(f"{what}:")
    files = s3fs.S3FileSystem(
        endpoint_url=f"http://127.0.0.1:{port}",
        config_kwargs={"retries": {"max_attempts": 0}},
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    seen = []
    for name, path in (("exists", "archive"), ("exists", "archive/1.pdf"), ("isdir", "archive"), ("info", "archive")):
        try:
            found = getattr(files, name)(path)
        except (OSError, EndpointConnectionError) as error:
            found = f"raised {type(error).__name__}"
        call = f'{name}("{path}"):'
        print(f"  {call:24} {found}")
        seen.append(found)
    return seen


Stub.status = 404
missing = ask("status 404 for each request", stub.server_port)
Stub.status = 503
busy = ask("status 503 for each request", stub.server_port)
away = ask("no server", silent.getsockname()[1])
REFUSED = "raised EndpointConnectionError"
if (missing, busy, away) != (
    [False, False, False, "raised FileNotFoundError"],
    [False, "raised OSError", "raised OSError", "raised OSError"],
    [False, REFUSED, REFUSED, REFUSED],
):
    sys.exit("NOT AS DESCRIBED")
print("As described: only exists of the bucket takes an outage for a bucket that is not there.")
PY
