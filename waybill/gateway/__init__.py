"""The HTTP API, a process of its own (`waybill gateway`, or part of `waybill up`).

Takes files into custody and starts runs on them through Prefect's API, shows runs, files, webhooks and the audit log,
and serves content in constant memory. Every answer but content is JSON; every error has one shape (`errors`).

It knows nothing of how documents are processed: it imports neither flows nor commands, and of the stages only their
names and options. Access is checked before anything is looked up, and nothing internal (hosts, paths, other programs'
messages) reaches a client.

Start reading at `app.create_app`. `routes/` has one module a resource, `http/` the parts of HTTP that several routes
use, `server/` what is below the application: connections and time limits. Nothing is exported here, because it would
import FastAPI for every caller: to run the gateway, import `server.server.run_gateway`.
"""
