"""Runs as Prefect records them, for flows and for the gateway, which imports no flow.

`run_events` turns a run's states into events for webhooks, `progress` has its planned and its finished work,
`prefect_api` is the client for short requests to Prefect's API, `prefect_lists` reads its lists past records that
cannot be read, and `run_lock` knows which runs of this home are alive. Most of these load Prefect's client (half a
second), so import the module you need by name.
"""
