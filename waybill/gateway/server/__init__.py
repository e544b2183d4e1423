"""The server below the application: sockets, connections, time limits, request logs."""
