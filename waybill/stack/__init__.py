"""The local stack: Postgres and a Prefect server that a command starts, shares with others and stops.

`running_stack` provides them for the length of a block, and migrates the database. Servers that the user has named in
`WAYBILL_DATABASE_URL` and `PREFECT_API_URL` are used and never started or stopped. Knows no command and no route.
Imports Prefect only once the servers' addresses are in the environment; `flow_server` is a process that starts with
them. Start reading in `stack`; `up` keeps everything running.
"""

from waybill.stack.stack import StackAddresses, running_stack

__all__ = ["StackAddresses", "running_stack"]
