"""Delivery: sends what the outbox holds, from any number of processes at once, without Prefect."""

from blocks.webhooks.dispatch.dispatcher import Dispatcher
from blocks.webhooks.dispatch.limits import Limits

__all__ = ["Dispatcher", "Limits"]
