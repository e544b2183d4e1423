#!/usr/bin/env bash
# Prefect 3.9.1: a worker that a script started with "&" does not end on SIGTERM; the second one kills it.
#
# Behaviour: `prefect worker start` answers SIGTERM by sending SIGINT to itself, and for SIGINT it restores the disposition
#   that it had at its start. A shell without job control starts a command with "&" so that it ignores SIGINT, as POSIX
#   asks for, and the worker inherits this. Its log says that it received SIGTERM and then SIGINT, and it goes on
#   and sends heartbeats. The second SIGTERM is answered with SIGKILL, so that nothing is tidied up. Started in the same
#   way, but with SIGINT at its default, the worker ends within seconds.
# Why one would expect otherwise: SIGTERM is not ignored in the background, and is how process managers, containers and
#   "kill" ask a program to end. `prefect server start` ends on it in the background, too.
# Consequence: a script that stops its worker with "kill" and waits for it waits for ever. Start the worker with SIGINT at
#   its default, as with "env --default-signal=INT" of GNU coreutils, or from a program that restores it.
#
# Output seen:
#   worker, SIGINT at its default:    status 0 after SIGTERM
#   worker, SIGINT ignored as by '&': ended 20 seconds after SIGTERM: no
#     its log: Received SIGTERM. Sending SIGINT
#     its log: Received SIGINT. Sending SIGINT
#     still sends heartbeats:         yes
#     after a second SIGTERM:         status 137
#   server, SIGINT ignored as by '&': status 143 after SIGTERM
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
server=
worker=
other=
stop() {
  for each in $worker $other; do kill -KILL "$each" 2>/dev/null || true; wait "$each" 2>/dev/null || true; done
  if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap stop EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check prefect==3.9.1

port=$(venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PREFECT_HOME="$work/home" DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false
export PREFECT_API_URL="http://127.0.0.1:$port/api" PREFECT_WORKER_HEARTBEAT_SECONDS=1
PREFECT_LOGGING_LEVEL=WARNING venv/bin/prefect server start --no-ui --host 127.0.0.1 --port "$port" >server.log 2>&1 &
server=$!

echo "Prefect 3.9.1: SIGTERM for two workers, each started by a script with '&'."
echo "Expected by most readers: both end."
echo
for _ in $(seq 120); do
  venv/bin/python -c "import httpx; httpx.get('$PREFECT_API_URL/health').raise_for_status()" 2>/dev/null && break
  sleep 1
done
venv/bin/prefect work-pool create --type process pool >/dev/null

# Wait until the worker's log has this text.
wait_for() {
  for _ in $(seq 120); do grep -q "$2" "$1" 2>/dev/null && return; sleep 1; done
  cat "$1"
  echo "no '$2' in $1"
  exit 1
}

# Set *ended* to the exit status of a child, or to "no" if it still runs after some seconds.
wait_for_end() {
  ended=no
  for _ in $(seq "$2"); do
    if ! kill -0 "$1" 2>/dev/null; then
      ended=0
      wait "$1" 2>/dev/null || ended=$?
      return
    fi
    sleep 1
  done
} 2>/dev/null

# Print when the server last heard from this worker.
last_heartbeat() {
  venv/bin/python - "$1" <<'PY'
import sys

import httpx

from prefect.settings import PREFECT_API_URL

workers = httpx.post(f"{PREFECT_API_URL.value()}/work_pools/pool/workers/filter", json={}).raise_for_status().json()
print(*(found["last_heartbeat_time"] for found in workers if found["name"] == sys.argv[1]))
PY
}

env --default-signal=INT venv/bin/prefect worker start --pool pool --name default >default.log 2>&1 &
other=$!
wait_for default.log "started!"
kill "$other"
wait_for_end "$other" 120
of_default=$ended
echo "worker, SIGINT at its default:    status $of_default after SIGTERM"

venv/bin/prefect worker start --pool pool --name background >background.log 2>&1 &
worker=$!
wait_for background.log "started!"
kill "$worker"
wait_for background.log "Received SIGINT"
wait_for_end "$worker" 20
after_first=$ended
echo "worker, SIGINT ignored as by '&': ended 20 seconds after SIGTERM: $after_first"
tr '\n' ' ' <background.log | grep -o "Received SIG[A-Z]*. Sending SIG[A-Z]*" | sed 's/^/  its log: /'
before=$(last_heartbeat background)
for _ in $(seq 30); do
  now=$(last_heartbeat background)
  [ "$now" != "$before" ] && break
  sleep 1
done
alive=$([ "$now" != "$before" ] && echo yes || echo no)
echo "  still sends heartbeats:         $alive"
after_second=no
if [ "$after_first" = no ]; then
  kill "$worker"
  wait_for_end "$worker" 120
  after_second=$ended
fi
echo "  after a second SIGTERM:         status $after_second"

kill "$server"
wait_for_end "$server" 120
echo "server, SIGINT ignored as by '&': status $ended after SIGTERM"

# 143 is what a shell gives for SIGTERM, 137 for SIGKILL.
if [ "$of_default $after_first $alive $after_second $ended" != "0 no yes 137 143" ]; then
  echo "NOT AS DESCRIBED"
  exit 1
fi
echo "As described: started with '&' by a script, the worker goes on after SIGTERM."
