"""Parts of the flows that keep the outbox in step with Prefect: events of runs, and endpoints of blocks.

A run's state gets its event in one of two ways, with the same content and id: from a hook of the flow (`hooks`), or a
little later from the comparison of Prefect's state history with the outbox (`reconciler`, called by `reconcile_loop`),
since a hook is lost when its process is killed. Both call `record_run_events`. `endpoint_blocks` syncs endpoints with
Prefect blocks; `delivery_table` shows deliveries in Prefect's UI. Nothing is sent from here: `blocks.webhooks.dispatch`
sends.
"""
