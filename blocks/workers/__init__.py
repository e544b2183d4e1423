"""Remote workers: which machines may take jobs, their public keys, and the one-time codes that enrol them.

A worker proves itself by opening what is sealed for its key, so the catalogue keeps no secret of it.
"""
