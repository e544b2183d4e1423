"""The worker's side of remote stages: a machine that has neither the database nor the storage nor Prefect's credential.

`prefect_forwarder` is where Prefect's own worker believes Prefect's API to be, and `prefect_worker` keeps that worker
running. Knows the gateway by its address alone, and nothing of the local stack.
"""
