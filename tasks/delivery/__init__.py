"""Delivery: sends what the outbox holds, from any number of processes at once, without Prefect."""

from tasks.delivery.dispatcher import Dispatcher
from tasks.delivery.limits import Limits

__all__ = ["Dispatcher", "Limits"]
