"""Application services: what the command line and the gateway both do, without a user interface.

`files`, `webhooks` and `api_keys` change something and record it in the audit log in the same transaction. `audit`,
`search`, `run_status`, `run_history` and `recent_events` read. `run_options` parses what a run is asked for,
`register_blocks` prepares a home, `webhook_listener` receives for tryouts. They check no permissions. Import them by
name: some import Prefect and others must not.
"""
