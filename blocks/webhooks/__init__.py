"""Webhooks: events of runs and documents, sent to other programs as signed HTTP requests.

The way of one event, file by file:

1. ``tasks/document_events.py`` and ``blocks/runs/run_events.py`` build it as an `outbox.Event`.
2. ``outbox/event.py`` renders the JSON body; ``event_links.py`` makes the links in it.
3. ``outbox/outbox.py`` records event and deliveries in the caller's transaction (SQL in ``outbox/queries.py``), one
   delivery for each endpoint of ``endpoints.py`` that wants the type; Postgres notifies dispatchers at the commit.
4. ``dispatch/listener.py`` is notified, ``dispatch/dispatcher.py`` leases the endpoint (``dispatch/leases.py``, keys
   from ``dispatch/signing_keys.py``) and reads its due deliveries (``outbox/deliveries.py``).
5. ``dispatch/endpoint_worker.py`` queues them and makes each attempt with ``send/client.py``: signed by
   ``signature.py``, to a URL that ``send/address.py`` allows, over ``send/transport.py`` and ``send/connection.py``.
6. ``dispatch/retry_policy.py`` decides what follows, ``dispatch/health.py`` whether the endpoint is held, and
   ``dispatch/outcome_writer.py`` writes both.
7. ``outbox/delivery_log.py`` lists deliveries with their attempts, and replays them.

``registration.py`` adds endpoints and rotates secrets, ``secrets.py`` seals them, ``block.py`` is the Prefect block.
Promises: at least once, an event's body never changes, no webhook fails a run, nothing is sent to private addresses
unless a setting allows it. This package exports nothing, since each of its users needs another part.
"""
