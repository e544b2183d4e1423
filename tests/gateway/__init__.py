"""A gateway that really listens, with what lies behind it and a client in front of it, for tests and benchmarks."""

from tests.gateway.place import CONTENT, Gateway, error_of, running_gateway
from tests.gateway.process import ServerProcess, bare_process, gateway_process

__all__ = ["CONTENT", "Gateway", "ServerProcess", "bare_process", "error_of", "gateway_process", "running_gateway"]
