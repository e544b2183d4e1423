"""The `waybill` command: every command by name, exit codes, and how errors are reported.

Exit codes: 0 all done, 1 some or all failed, 2 wrong use, 130 interrupted. A command's module is imported when the
command runs, so that ``waybill --help`` and light commands start without the libraries of heavy ones.
"""

from __future__ import annotations

import os
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
    SourceRefused,
    WaybillError,
)
from blocks.runtime.write_errors import is_disk_full, write_error
from waybill.commands.lazy_group import LazyCommand, LazyCommands, lazy_group
from waybill.commands.output import print_error, print_notice
from waybill.commands.standard_streams import report_failing_streams
from waybill.process.inherited_limits import make_inherited_limits_fit

EXIT_DONE, EXIT_FAILED, EXIT_WRONG_USE, EXIT_INTERRUPTED = 0, 1, 2, 130

# What Prefect raises at SIGTERM while a flow runs; importing it here would slow every command down.
_PREFECT_TERMINATED = "TerminationSignal"

# Conditions that the user caused and can correct.
_WRONG_USE = (
    AddressRefused,
    InvalidKey,
    InvalidOptions,
    InvalidSettings,
    InvalidWebhookUrl,
    SourceNotFound,
    SourceRefused,
)


def _command(place: str, summary: str) -> LazyCommand:
    module, _, function = place.partition(":")
    return LazyCommand(f"waybill.commands.{module}", function, summary)


# The summaries are the first sentences of the functions' docstrings; a test compares them.
COMMANDS = {
    "process": _command("process:process", "Process documents through the stages and keep every output."),
    "up": _command("servers:up", "Run everything until Ctrl-C: Postgres, Prefect, gateway, webhooks."),
    "gateway": _command("servers:gateway", "Answer HTTP until Ctrl-C: files, links, webhooks."),
    "dispatch": _command("servers:dispatch", "Send webhooks that are due until Ctrl-C, without Prefect."),
    "status": _command("runs:status", "Show how far a run is, or its history."),
    "runs": LazyCommands(
        "List and cancel runs.",
        {
            "list": _command("runs:list_runs", "List runs, newest first."),
            "cancel": _command("runs:cancel", "Cancel a run, under way or scheduled."),
        },
    ),
    "watch": _command("watch:watch", "Process what is new in a folder, a bucket or a URL."),
    "events": _command("runs:events", "Show recent events of all runs and documents, newest first."),
    "doctor": _command("doctor:doctor", "Examine the home: files, keys, runs, webhooks, processes and servers."),
    "sweep": _command("sweep:sweep", "Remove stored files that no row knows, and what dead processes have left."),
    "backup": _command("backup:backup", "Back the home up: database, stored files and keys."),
    "restore": _command("backup:restore", "Make a new home of a backup, and examine it."),
    "audit": _command("audit:audit", "Show who did what to which file, newest first."),
    "send": _command("hand_over:send", "Seal a file for a person, and print the link to fetch it with."),
    "receive": _command("hand_over:receive", "Fetch the file of a link, verified and decrypted."),
    "search": _command("search:search", "Find the passages that answer a question."),
    "expire": _command("expire:expire", "Remove files whose time is over, and say what stays and why."),
    "forget": _command("forget:forget", "Forget a document: files, passages, events, and what Prefect shows of it."),
    "trim": _command("trim:trim", "Remove old history: runs, events, deliveries, records of deleted files."),
    "stats": _command("files:stats", "Show how much is in custody and in the search index."),
    "files": LazyCommands(
        "List, show, get, put, share, pin, hold, remove and verify files.",
        {
            "list": _command("files:list_files", "List files, newest first."),
            "show": _command("files:show", "Show everything the catalogue knows about a file."),
            "get": _command("get:get", "Copy a file out of custody, verified against its sha256."),
            "put": _command("files:put", "Store a file without processing it."),
            "rm": _command("files:rm", "Delete files for good, also expired ones."),
            "verify": _command("verify:verify", "Compare stored bytes with their hashes."),
            "share": _command("share:share", "Print a link that downloads one file until it expires."),
            "pin": _command("keeping:pin", "Keep a file past its expiry until it is unpinned."),
            "unpin": _command("keeping:unpin", "Let a file expire again."),
            "hold": _command("keeping:hold", "Put a file under a legal hold until it is released."),
            "extend": _command("keeping:extend", "Let files expire later."),
            "release": _command("keeping:release", "Lift the legal hold of a file."),
        },
    ),
    "export": _command("exports:export", "Export a table, a query or a file as one file that expires."),
    "exports": LazyCommands(
        "List, show and remove exports.",
        {
            "list": _command("exports:list_exports", "List exports, newest first."),
            "show": _command("exports:show", "Show an export: its state, rows, file, and when that expires."),
            "rm": _command("exports:rm", "Cancel exports that are under way, and delete the files of finished ones."),
        },
    ),
    "age": LazyCommands(
        "Encrypt and decrypt files in the age format.",
        {
            "encrypt": _command("age:encrypt", "Encrypt a file for recipients or a passphrase."),
            "decrypt": _command("age:decrypt", "Decrypt a file with identities or a passphrase."),
        },
    ),
    "keys": LazyCommands(
        "Manage API keys, the storage key and the keys that sign links.",
        {
            "storage": _command("keys:storage", "Print the recipient that stored files are encrypted for."),
            "rotate-storage": _command("keys:rotate_storage", "Make a new storage key and move every file to it."),
            "create": _command("api_keys:create", "Make an API key and print it, this once."),
            "list": _command("api_keys:list_", "List API keys, newest first, also those that no longer work."),
            "revoke": _command("api_keys:revoke", "Revoke an API key."),
            "rotate-links": _command("share:rotate_links", "Sign links with a new key from now on."),
        },
    ),
    "catalog": LazyCommands(
        "Restore the catalogue from the storage.",
        {"rebuild": _command("catalog:rebuild", "Restore the catalogue from the manifests of stored files.")},
    ),
    "worker": LazyCommands(
        "Remote workers: invite, list, label and revoke them; be one on this machine.",
        {
            "invite": _command("worker:invite", "Print a code that enrols one worker, this once."),
            "list": _command("worker:list_", "List remote workers: labels, when they were last seen, state."),
            "show": _command("worker:show", "Show one remote worker, with its public key."),
            "label": _command("worker:label", "Replace the labels of a worker."),
            "revoke": _command("worker:revoke", "Revoke a worker at once, and take back what it holds."),
            "keygen": _command("worker:keygen", "Make the key of this machine as a worker, and print its public half."),
            "enroll": _command("worker:enroll", "Enrol this machine as a worker, with a code that works once."),
            "start": _command("worker_start:start", "Take jobs from the gateway until Ctrl-C."),
        },
    ),
    "transfers": LazyCommands(
        "Hand files to other machines and people, and watch that.",
        {
            "prepare": _command(
                "transfers:prepare", "Prepare the download of a file, encrypted for a recipient or a worker."
            ),
            "list": _command("transfers:list_", "List transfers, newest first, also those that are over."),
            "show": _command("transfers:show", "Show a transfer: its state, how far it is, and at which rate."),
            "cancel": _command("transfers:cancel", "Cancel open transfers, and remove what has arrived of uploads."),
        },
    ),
    "webhooks": LazyCommands(
        "Notify other programs of events: endpoints, secrets, deliveries.",
        {
            "add": _command("webhooks:add", "Register an endpoint and print its secret, this once."),
            "list": _command("webhooks:list_", "List endpoints, their events and their waiting and dead deliveries."),
            "enable": _command("webhooks:enable", "Send to an endpoint again, starting with what waits."),
            "disable": _command("webhooks:disable", "Stop sending to an endpoint; what is due waits."),
            "remove": _command("webhooks:remove", "Remove an endpoint and its secret."),
            "rotate": _command("webhooks:rotate", "Make a new secret and print it."),
            "secret": _command("webhooks:secret", "Print the secret that signs what goes to a run's --webhook-url."),
            "deliveries": _command("webhook_deliveries:deliveries", "List deliveries, or show every attempt of one."),
            "replay": _command("webhook_deliveries:replay", "Send deliveries again, with the same id and body."),
            "test": _command("webhook_deliveries:test", "Send a test event to an endpoint and show the answer."),
            "listen": _command("webhook_listen:listen", "Receive webhooks for tryouts, until Ctrl-C."),
        },
    ),
}

app = typer.Typer(
    name="waybill",
    cls=lazy_group(COMMANDS),
    help="Processes documents through stages and keeps every output in custody.\n\n"
    "Start with 'waybill process FILE', then 'waybill search TEXT' and 'waybill files list'. "
    "'waybill up' keeps the database, the Prefect server and its UI running.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def version(show: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    """Handle options that stand before a command."""
    if show:
        from waybill import __version__

        typer.echo(f"waybill {__version__}")
        raise typer.Exit(EXIT_DONE)


def main() -> None:
    """Run the console script; a condition that Waybill knows never shows a traceback."""
    report_failing_streams()
    make_inherited_limits_fit()
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:]))


def _interrupt(_number: int, frame: FrameType | None) -> None:
    """End a terminated command like an interrupted one: the run is recorded, and servers it started are stopped."""
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)  # the handler of a running event loop: it cancels the flow
    else:
        raise KeyboardInterrupt  # a shell's background jobs ignore SIGINT; SIGTERM must still end them


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    as_json = "--json" in arguments
    try:
        result = app(list(arguments), standalone_mode=False, prog_name="waybill")
        if result == EXIT_INTERRUPTED:
            raise KeyboardInterrupt  # Typer turned it into this exit code
        sys.stdout.flush()
    except BrokenPipeError:
        return EXIT_FAILED  # the reader of the output is gone, so there is nothing to print
    except TyperException as error:
        _report_wrong_use(error, as_json=as_json)
        return EXIT_WRONG_USE
    except WaybillError as error:
        _report(error, as_json=as_json)
        return EXIT_WRONG_USE if isinstance(error, _WRONG_USE) else EXIT_FAILED
    except OSError as error:
        # A disk that is full or has failed, under a file that no command expects to fail; nothing else.
        if error.filename is None and not is_disk_full(error):
            raise
        _report(write_error(error.filename or "a file", error), as_json=as_json)
        return EXIT_FAILED
    except ValueError as error:
        # Prefect reads its variables when it is imported or its settings are made again, which is in many places.
        if (refused := _refused_by_prefect(error)) is None:
            raise
        _report(refused, as_json=as_json)
        return EXIT_WRONG_USE
    except BaseException as error:
        if not isinstance(error, (KeyboardInterrupt, typer.Abort)) and type(error).__name__ != _PREFECT_TERMINATED:
            raise
        _report(WaybillError("interrupted; run the same again to continue from what is stored"), as_json=as_json)
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else EXIT_DONE


def _refused_by_prefect(error: ValueError) -> InvalidSettings | None:
    """Return the error for a variable that Prefect's settings refuse; None for any other error."""
    # Known by its names: importing Prefect or pydantic here would slow every command down.
    if type(error).__name__ != "ValidationError" or not str(getattr(error, "title", "")).endswith("Settings"):
        return None
    refused = {str(one.get("input")) for one in error.errors()}  # type: ignore[attr-defined]
    names = sorted(name for name, value in os.environ.items() if name.startswith("PREFECT_") and value in refused)
    return InvalidSettings(f"Prefect refuses the value of {', '.join(names)}: unset or correct it") if names else None


def _report_wrong_use(error: TyperException, *, as_json: bool) -> None:
    """Say what is wrong and which command's help has more; a group without a command shows its own help."""
    context = getattr(error, "ctx", None)
    message, command = error.format_message(), context.command_path if context is not None else "waybill"
    if context is not None and message == context.get_help():
        if not as_json:
            print_notice(message)
            return
        message = "Missing command"
    # A question is a sentence already: "Did you mean 'list'?"
    end = " See" if message.endswith("?") else "; see"
    _report(InvalidOptions(f"{message.rstrip('.')}{end} '{command} --help'"), as_json=as_json)


def _report(error: WaybillError, *, as_json: bool) -> None:
    try:
        print_error(error, as_json=as_json)
    except (WaybillError, BrokenPipeError):  # standard output cannot be written
        print_error(error, as_json=False)
