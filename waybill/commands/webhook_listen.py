"""``waybill webhooks listen``: a receiver for tryouts."""

from __future__ import annotations

import sys
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING, Annotated

import typer

from blocks.settings import current_settings
from waybill.commands.arguments import secret_from_stdin
from waybill.commands.output import print_notice

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from waybill.services.webhook_listener import Arrival, WebhookListener

# How soon Ctrl-C is noticed.
_POLL_SECONDS = 0.1


def listen(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 for any free one.")] = 8001,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    secret: Annotated[
        str | None,
        typer.Option(metavar="-", help="'-' reads the secret from standard input. Without it: WAYBILL_WEBHOOK_SECRET."),
    ] = None,
    status: Annotated[
        int, typer.Option(min=200, max=599, help="The status to answer, to see how Waybill reacts: 503, 410.")
    ] = 204,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON for each webhook.")] = False,
) -> int:
    """Receive webhooks for tryouts, until Ctrl-C.

    Verifies each webhook and prints it. Any path is accepted.

    Example: waybill webhooks add http://127.0.0.1:8001/hook
    """
    from waybill.process.signals import noting_signals
    from waybill.services.webhook_listener import listening

    keys = _keys(secret)
    # When the reader of the output has exited, there is nothing left to print; what was received is still answered.
    with suppress(BrokenPipeError), noting_signals() as shutdown_requested:
        with listening(host, port, keys=keys, status=status) as listener:
            print_notice(
                f"listening on {listener.url}, "
                + ("verifying signatures" if keys else "verifying NOTHING: no secret is given (WAYBILL_WEBHOOK_SECRET)")
                + "\n  stop it with Ctrl-C"
            )
            _print_arrivals(listener, shutdown_requested.is_set, as_json=as_json)
        _print_queued(listener, as_json=as_json)
    return 0


def _print_arrivals(listener: WebhookListener, shutdown_requested: Callable[[], bool], *, as_json: bool) -> None:
    """Print webhooks as they arrive."""
    while not shutdown_requested():
        with suppress(Empty):
            _print(listener.arrivals.get(timeout=_POLL_SECONDS), as_json=as_json)


def _print_queued(listener: WebhookListener, *, as_json: bool) -> None:
    """Print what a closed listener had received and was not printed yet."""
    for _ in range(listener.arrivals.qsize()):
        _print(listener.arrivals.get_nowait(), as_json=as_json)


def _print(arrival: Arrival, *, as_json: bool) -> None:
    sys.stdout.write(f"{arrival.as_json_line() if as_json else arrival.as_line()}\n")
    sys.stdout.flush()


def _keys(option: str | None) -> Sequence[bytes]:
    """Return the keys to verify with, if any. Raises `InvalidOptions`, and `InvalidKey` for a malformed secret."""
    from blocks.webhooks.secrets import secret_bytes

    if (given := secret_from_stdin(option)) is not None:
        return (secret_bytes(given),)
    known = current_settings().webhook_secret
    return (secret_bytes(known.reveal()),) if known else ()
