"""The local stack: Postgres and a Prefect server that a command starts, shares with others and stops."""

from waybill.stack.stack import StackAddresses, running_stack

__all__ = ["StackAddresses", "running_stack"]
