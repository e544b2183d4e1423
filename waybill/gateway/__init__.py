"""The HTTP API, a process of its own (`waybill gateway`, or part of `waybill up`).

Takes files into custody, starts runs on them through Prefect's API, shows what is recorded, and serves content in
constant memory. It imports neither flows nor commands. Access is checked before anything is looked up, and nothing
internal (hosts, paths, other programs' messages) reaches a client. Start reading at `app.create_app`: `routes/` has one
module a resource, `http/` the parts of HTTP that several routes use, `server/` connections and time limits. Nothing is
exported, because it would import FastAPI for every caller: to run the gateway, import `server.server.run_gateway`.
"""
