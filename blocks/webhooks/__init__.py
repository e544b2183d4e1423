"""Webhooks: events of runs and documents, sent to other programs as signed HTTP requests.

`outbox` records events and deliveries in the caller's transaction, `dispatch` sends what is due by way of `send`, and
`registration` adds endpoints and rotates their secrets; docs/architecture.md follows one event file by file. Promises:
at least once, an event's body never changes, no webhook fails a run, nothing is sent to private addresses unless a
setting allows it. This package exports nothing, since each of its users needs another part.
"""
