"""Parts of the flows that keep the outbox in step with Prefect: events of runs, and endpoints of blocks.

A run's state gets its event from a hook of the flow (`hooks`) or, since a hook is lost when its process is killed, a
little later from the comparison of Prefect's state history with the outbox (`reconciler`, called by `reconcile_loop`).
Both call `record_run_events`. `endpoint_blocks` syncs endpoints with Prefect blocks; `delivery_table` shows deliveries
in Prefect's UI. Nothing is sent from here.
"""
