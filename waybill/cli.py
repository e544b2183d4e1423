"""The `waybill` command: one module per group of commands, put together here.

Owns the exit codes (0 all done, 1 some or all failed, 2 wrong use) and how errors are told. Heavy libraries are
imported by the commands that need them, so that ``waybill --help`` answers at once.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType

import typer
from typer.exceptions import TyperException

from blocks.errors import (
    AddressRefused,
    InvalidKey,
    InvalidOptions,
    InvalidSettings,
    InvalidWebhookUrl,
    SourceNotFound,
    WaybillError,
)
from waybill.commands import (
    age,
    api_keys,
    audit,
    catalog,
    dispatch,
    events,
    files,
    gateway,
    keys,
    pin,
    process,
    search,
    share,
    status,
    up,
    webhook_deliveries,
    webhook_listen,
    webhooks,
)
from waybill.commands.output import print_error
from waybill.commands.standard_streams import tell_of_failing_streams

EXIT_DONE, EXIT_FAILED, EXIT_WRONG_USE, EXIT_INTERRUPTED = 0, 1, 2, 130

# Conditions that the person at the keyboard put there and can put right.
_WRONG_USE = (AddressRefused, InvalidKey, InvalidOptions, InvalidSettings, InvalidWebhookUrl, SourceNotFound)

app = typer.Typer(
    name="waybill",
    help="Takes documents through processing stages and keeps every output in custody.\n\n"
    "Start with 'waybill process FILE', then 'waybill search TEXT' and 'waybill files list'. "
    "'waybill up' keeps the database, the Prefect server and its UI running.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("process")(process.process)
app.command("up")(up.up)
app.command("gateway")(gateway.gateway)
app.command("dispatch")(dispatch.dispatch)
app.command("status")(status.status)
app.command("events")(events.events)
app.command("audit")(audit.audit)
app.command("search")(search.search)
app.command("stats")(files.stats)
files.app.command("share")(share.share)
files.app.command("pin")(pin.pin)
files.app.command("unpin")(pin.unpin)
app.add_typer(files.app, name="files")
app.add_typer(age.app, name="age")
keys.app.command("create")(api_keys.create)
keys.app.command("list")(api_keys.list_)
keys.app.command("revoke")(api_keys.revoke)
keys.app.command("rotate-links")(share.rotate_links)
app.add_typer(keys.app, name="keys")
app.add_typer(catalog.app, name="catalog")
webhooks.app.command("deliveries")(webhook_deliveries.deliveries)
webhooks.app.command("replay")(webhook_deliveries.replay)
webhooks.app.command("test")(webhook_deliveries.test)
webhooks.app.command("listen")(webhook_listen.listen)
app.add_typer(webhooks.app, name="webhooks")


@app.callback(invoke_without_command=True)
def version(show: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    """Options that stand before a command."""
    if show:
        from waybill import __version__

        typer.echo(f"waybill {__version__}")
        raise typer.Exit(EXIT_DONE)


def main() -> None:
    """Entry point of the console script; never shows a traceback for a condition that Waybill knows."""
    tell_of_failing_streams()
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:]))


def _interrupt(_number: int, frame: FrameType | None) -> None:
    """A terminated command ends like an interrupted one: the run is told and what was started is stopped."""
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)  # an event loop's own while one runs: it cancels the flow
    else:
        raise KeyboardInterrupt  # SIGINT is ignored in the background of a shell, SIGTERM must not be


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    as_json = "--json" in arguments
    try:
        result = app(list(arguments), standalone_mode=False, prog_name="waybill")
        if result == EXIT_INTERRUPTED:
            raise KeyboardInterrupt  # of which Typer makes this exit code
        sys.stdout.flush()
    except BrokenPipeError:
        return EXIT_FAILED  # who read the output has left, and wants to hear no more
    except TyperException as error:
        _tell(InvalidOptions(f"{error.format_message().rstrip('.')}; see 'waybill --help'"), as_json=as_json)
        return EXIT_WRONG_USE
    except WaybillError as error:
        _tell(error, as_json=as_json)
        return EXIT_WRONG_USE if isinstance(error, _WRONG_USE) else EXIT_FAILED
    except (KeyboardInterrupt, typer.Abort):
        _tell(WaybillError("interrupted; run the same again to continue from what is stored"), as_json=as_json)
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else EXIT_DONE


def _tell(error: WaybillError, *, as_json: bool) -> None:
    try:
        print_error(error, as_json=as_json)
    except (WaybillError, BrokenPipeError):  # standard output cannot be written
        print_error(error, as_json=False)
