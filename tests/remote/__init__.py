"""A flow for Prefect's worker on a remote machine, and the gateway's door to Prefect with a worker's forwarder."""
