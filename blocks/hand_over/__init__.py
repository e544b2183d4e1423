"""The client's side of the hand-over: what machines without storage, catalogue and Prefect use to reach a gateway.

`worker_home` is a worker's folder, with its key; `session` proves to the gateway who the worker is. Imports no
database, no storage and no Prefect.
"""
