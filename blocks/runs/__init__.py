"""A run of Waybill as Prefect records it: its plan, its progress, its states, and whether its process is alive."""
