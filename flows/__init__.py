"""The flows that Prefect runs. Imports ``tasks`` and ``blocks``, never ``waybill``.

Each module here holds the flows of ``prefect.yaml``'s deployments: `process` has process-documents, `webhooks` has
deliver-webhooks and reconcile-events. `processing` and `events` are packages of their parts. A new deployment gets a
module of its own here.
"""
