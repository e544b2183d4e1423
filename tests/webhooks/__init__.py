"""A receiver of webhooks that does as a script tells it, for tests and benchmarks."""

from tests.webhooks.answers import (
    BLACK_HOLE,
    CLOSED_WITHOUT_ANSWER,
    RESET,
    Answer,
    dripping,
    endless_body,
    gzip_bomb,
    redirect,
)
from tests.webhooks.receiver import Receiver, Request, running_receiver

__all__ = [
    "BLACK_HOLE",
    "CLOSED_WITHOUT_ANSWER",
    "RESET",
    "Answer",
    "Receiver",
    "Request",
    "dripping",
    "endless_body",
    "gzip_bomb",
    "redirect",
    "running_receiver",
]
