"""The server below the application: uvicorn with stricter parsing and time limits for clients.

`server` runs it, `protocol` is one connection, `request_head` decides which requests are well-formed. What a reverse
proxy can do as well is kept small; what is here also holds without one. Import the modules by name: they pull in
uvicorn.
"""
