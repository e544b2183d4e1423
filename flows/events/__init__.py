"""Recording the events of runs: hooks, the reconciler, and endpoints that follow Prefect blocks."""
