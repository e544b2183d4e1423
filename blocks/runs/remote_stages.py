"""The names under which Prefect knows remote stages, to gateway and workers alike; pure."""

# Both sides must agree on them. No other deployment's runs may be on this pool: workers take none of those.
REMOTE_POOL = "waybill-remote"
REMOTE_DEPLOYMENT = "run-stage/remote"
HEARTBEAT_EVENT = "prefect.flow-run.heartbeat"
