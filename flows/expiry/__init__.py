"""What `flows.expire` shows in Prefect's UI: a table of what went and what stayed, and the statistics around it."""
