"""Parts of the flow process-documents.

`resources` opens what a run works with and clears up after dead runs, `progress` reports progress, `expected` hands the
report over to a command that waits for it, `failures` records the events of failed documents, and `summary` renders the
page that Prefect's UI shows after a run.
"""
