"""Runs as Prefect records them, for flows and for the gateway, which imports no flow.

`run_events` turns a run's states into events for webhooks. `progress` has how much work a run has planned and how much
of it is reported as done. `prefect_api` has the client for short requests to Prefect's API, with a time limit and one
error for every outage, and pages through long lists. `run_lock` knows which runs of this home are alive.

Importing most of these modules loads Prefect's client (half a second), so this package exports nothing: import the
module you need.
"""
