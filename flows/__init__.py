"""The flows that Prefect runs. Imports ``tasks`` and ``blocks``, never ``waybill``.

Each module here holds the flows of ``prefect.yaml``'s deployments: `process` has process-documents, `expire` has
expire-artifacts, `webhooks` has deliver-webhooks and reconcile-events. `processing`, `expiry` and `events` are packages
of their parts; `schedules` is for flows that a schedule starts. A new deployment gets a module of its own here.
"""
