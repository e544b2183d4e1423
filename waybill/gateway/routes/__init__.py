"""One module a resource: its paths, their parameters, and the models of their bodies.

Routes check the caller's scope, call `waybill.services` or `blocks`, and return JSON. A module has a `router`, which
`waybill.gateway.app` includes; routes do not import each other, and share `form_upload`. The pydantic models describe
responses in the OpenAPI document; the responses themselves come from the same `as_json` methods as the command line's
``--json``, and tests compare the two.
"""
