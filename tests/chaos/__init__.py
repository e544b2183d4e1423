"""Chaos as a test of the product: a real stack under load, disturbed at random, and audited once at the end.

`world` is a home with everything that runs for it, `load` the clients that use it, `disturbances` what happens to it,
`samples` what its processes hold, `audit` what must be true when all is calm again. Run as a program for the long form:
``python -m tests.chaos --minutes 30``. Two worlds take turns: one with everything on this machine, on a disk that can
be filled, and one in a network namespace of its own, apart from its S3 storage and its pair of Postgres servers.

Nothing is mocked: processes are killed and stopped, the disk is full, descriptors and memory are limited, clocks jump,
servers restart, refuse to write and fail over, the network is cut. It needs root, as in a container.
"""
