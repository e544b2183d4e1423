"""Dispatching: sends due deliveries to their endpoints, from any number of processes, without Prefect.

Every due delivery is attempted by its schedule; an endpoint has one sender at a time (a lease) and at most four
attempts in flight. Delivery is at least once: a kill between the receiver's answer and the write of the outcome sends
the same event again. Start with `dispatcher` (leases, polling, shutdown), then `endpoint_worker` (queue and attempts of
one endpoint) and `retry_policy`. `dispatcher_thread` runs a dispatcher next to a command's own work.
"""

from blocks.webhooks.dispatch.dispatcher import Dispatcher
from blocks.webhooks.dispatch.dispatcher_thread import DispatcherThread

__all__ = ["Dispatcher", "DispatcherThread"]
