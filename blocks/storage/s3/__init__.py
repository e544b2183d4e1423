"""Blobs in an S3 bucket.

`backend` is the `Backend`; `upload` and `reader` do one write and one read; `connection` makes the calls, with one
bound on time and attempts; `failure` classifies errors. Why it does not use s3fs' file objects: ADR 0009. Import
`blocks.storage.s3.backend` by name: s3fs takes half a second to import.
"""
