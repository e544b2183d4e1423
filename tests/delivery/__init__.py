"""What the tests of the dispatcher share: an outbox to fill, and dispatchers in this process and in others."""

from tests.delivery.outbox_place import OutboxPlace, open_place
from tests.delivery.process import DispatcherProcess

__all__ = ["DispatcherProcess", "OutboxPlace", "open_place"]
