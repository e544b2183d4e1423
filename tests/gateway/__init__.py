"""A gateway that really listens, with what lies behind it and a client in front of it, for tests and benchmarks."""

from tests.gateway.place import CONTENT, Gateway, error_of, running_gateway

__all__ = ["CONTENT", "Gateway", "error_of", "running_gateway"]
