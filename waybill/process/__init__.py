"""The programs that `waybill up` keeps running, and what such a process and its parent agree on.

`gateway_process` and `dispatcher_process` are programs; the third one, which serves flows, is
`waybill.stack.flow_server`. `child_protocol` is a child's side: it reports when it is ready and ends with its parent.
`signals` turns signals into an orderly shutdown, `gateway_socket` binds the gateway's socket. Nothing is exported here,
so that each program loads only its own libraries.
"""
