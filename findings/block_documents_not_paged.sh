#!/usr/bin/env bash
# Prefect 3.9.1: the list of the block documents of one type takes `limit` and `offset`, and ignores both.
#
# Behaviour: `read_block_documents_by_type(slug, offset=..., limit=...)` of both clients sends the two as query parameters of
#   `GET /api/block_types/slug/{slug}/block_documents`. The server does not have them, so each call returns every
#   document of the type. A value that is no number is not refused either.
# Why one would expect otherwise: the method describes `limit` as the number of blocks to return. The sister method
#   `read_block_documents` of the same client has the same two parameters and obeys them, and its route refuses a limit above
#   200.
# Consequence: a loop that asks for the next page until one is empty never ends, and counts the same documents again.
#   Read the list in one call, or page through `POST /api/block_documents/filter` with a filter for the type.
#
# Output seen:
#   documents of the type: 5
#   by type,     limit 2, offset 0: ['key-0', 'key-1', 'key-2', 'key-3', 'key-4']
#   by type,     limit 2, offset 4: ['key-0', 'key-1', 'key-2', 'key-3', 'key-4']
#   by type,     limit 2, offset 6: ['key-0', 'key-1', 'key-2', 'key-3', 'key-4']
#   of any type, limit 2, offset 0: ['key-0', 'key-1']
#   of any type, limit 2, offset 4: ['key-4']
#   of any type, limit 2, offset 6: []
#   limit "many", by type: status 200; of any type: status 422
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
export PREFECT_HOME="$work/home" DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=WARNING
export PREFECT_API_URL="http://127.0.0.1:$port/api"
venv/bin/prefect server start --no-ui --host 127.0.0.1 --port "$port" >server.log 2>&1 &
server=$!

echo "Prefect 3.9.1: block documents are listed in pages of two, by their type and without it."
echo "Expected by most readers: both lists come in pages."
echo
for _ in $(seq 120); do
  venv/bin/python -c "import httpx; httpx.get('$PREFECT_API_URL/health').raise_for_status()" 2>/dev/null && break
  sleep 1
done
cat >pages.py <<'PY'
import sys

import httpx

from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

NAMES = [f"key-{number}" for number in range(5)]
for name in NAMES:
    Secret(value=name).save(name)
print("documents of the type:", len(NAMES))


def show(what, pages):
    for offset, found in pages.items():
        print(f"{what:12} limit 2, offset {offset}: {found}")


with get_client(sync_client=True) as client:
    by_type, by_filter = {}, {}
    for offset in (0, 4, 6):
        by_type[offset] = sorted(
            found.name for found in client.read_block_documents_by_type("secret", limit=2, offset=offset)
        )
        by_filter[offset] = [found.name for found in client.read_block_documents(limit=2, offset=offset)]
show("by type,", by_type)
show("of any type,", by_filter)

api = httpx.Client(base_url=PREFECT_API_URL.value() + "/", timeout=60)
get = api.get("block_types/slug/secret/block_documents", params={"limit": "many"}).status_code
post = api.post("block_documents/filter", json={"limit": "many"}).status_code
print(f'limit "many", by type: status {get}; of any type: status {post}')

paged = {0: NAMES[:2], 4: NAMES[4:], 6: []}
if by_type != dict.fromkeys(paged, NAMES) or by_filter != paged or (get, post) != (200, 422):
    sys.exit("NOT AS DESCRIBED")
print("As described: by type, each page is the whole list.")
PY
venv/bin/python pages.py
