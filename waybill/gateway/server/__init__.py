"""The server below the application: uvicorn with stricter parsing, time limits for clients, and a request log.

`server` runs it, `protocol` is one connection, `request_head` decides which requests are well-formed, `request_log`
gives each request an id and a line. What a reverse proxy can do as well is kept small; what is here also holds without
one. Import the modules by name: they pull in uvicorn.
"""
