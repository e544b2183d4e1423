"""The names under which Prefect knows remote stages, to gateway and workers alike; pure."""

# Both sides must agree on them. A label of a worker is a work queue of this pool. No other deployment's runs may be on
# it: workers take none of those.
REMOTE_POOL = "waybill-remote"
REMOTE_DEPLOYMENT = "run-stage/remote"
HEARTBEAT_EVENT = "prefect.flow-run.heartbeat"
