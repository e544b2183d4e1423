"""A real S3 server for tests and benchmarks, and a proxy in front of it that makes it fail."""

from tests.s3.server import S3Server, running_s3_server

__all__ = ["S3Server", "running_s3_server"]
