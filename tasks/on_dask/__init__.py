"""Stages on an existing Dask cluster: `runner` in the process of the run, `host` in Dask's workers, `messages` between.

A Dask worker gets the input of a document, the stage's options and the public key to seal the output for: no identity,
and no credentials of database, storage or language model. It runs the stage in worker processes with the limits of
`tasks.pool`, and returns the output. What it takes to trust a cluster is in ``docs/many-machines.md``.
"""
