"""``waybill worker invite|list|show|label|revoke`` on the server, ``keygen|enroll`` on a worker's own machine.

The commands of a worker's machine start nothing: they use its home folder and the gateway's HTTP API alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blocks.durations import parse_duration
from blocks.errors import InvalidOptions
from blocks.settings import current_settings
from waybill.commands.arguments import AsJson, this_account, typed_path
from waybill.commands.output import human_time, print_json, print_line, print_notice
from waybill.commands.session import with_transaction
from waybill.commands.tables import print_table

if TYPE_CHECKING:
    from blocks.hand_over.worker_home import WorkerConfig, WorkerHome
    from blocks.workers import Worker

Name = Annotated[str, typer.Argument(metavar="NAME", help="The worker's name, as 'worker list' shows it.")]
Home = Annotated[
    str | None,
    typer.Option(metavar="FOLDER", help="The worker's folder; WAYBILL_WORKER_HOME or ~/.waybill-worker when left out."),
]
# A gateway answers within a second, or is away.
_ANSWER_SECONDS = 30.0
# A code has 44 characters.
_MOST_CODE_CHARS = 1024


def invite(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The new worker's name; it chooses one when left out.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("-l", "--label", metavar="LABEL", help="What it may take, such as gpu-pool; can be repeated."),
    ] = None,
    expires: Annotated[str, typer.Option(metavar="1h", help="How long the code works; 7d at most.")] = "1h",
    as_json: AsJson = False,
) -> int:
    """Print a code that enrols one worker, this once.

    Only its hash is stored.

    Example: waybill worker invite gpu-1 --label gpu-pool --expires 1h
    """
    from blocks.links.public_url import public_url
    from blocks.workers import check_labels, check_worker_name
    from blocks.workers.codes import check_code_lifetime
    from waybill.services.workers import invite_worker

    # Checked before anything is started.
    labels, lasts = check_labels(label or []), check_code_lifetime(parse_duration(expires))
    if name is not None:
        check_worker_name(name)

    made = with_transaction(
        lambda connection: invite_worker(connection, name=name, labels=labels, lasts=lasts, by=this_account()),
        makes_home=True,
    )
    if as_json:
        print_json(made.as_json())
        return 0
    typer.echo(made.text)
    naming = "" if name is not None else " --name NAME"
    print_notice(
        f"It works once, until {human_time(made.expires_at.isoformat())}. On the worker: "
        f"waybill worker start {public_url(current_settings())} CODE{naming}"
    )
    return 0


def list_(as_json: AsJson = False) -> int:
    """List remote workers: labels, when they were last seen, state."""
    from blocks.workers import list_workers

    found = with_transaction(list_workers)
    if as_json:
        print_json({"workers": [one.as_json() for one in found]})
        return 0
    print_table(
        ("worker", "labels", "version", "last seen", "address", "running", "state"), [_row(one) for one in found],
        numeric=("running",), cut=("labels",), spare=("version", "address", "labels", "last seen", "running"),
    )  # fmt: skip
    return 0


def show(name: Name, as_json: AsJson = False) -> int:
    """Show one remote worker, with its public key."""
    from blocks.workers import check_worker_name, get_worker

    wanted = check_worker_name(name)
    found = with_transaction(lambda connection: get_worker(connection, wanted)).as_json()
    if as_json:
        print_json(found)
        return 0
    for field, value in found.items():
        shown = ", ".join(found["labels"]) if field == "labels" else "" if value is None else str(value)
        print_line(f"{field}: {shown}")
    return 0


def label(
    name: Name,
    labels: Annotated[list[str], typer.Argument(metavar="LABEL...", help="All labels that it has from now on.")],
    as_json: AsJson = False,
) -> int:
    """Replace the labels of a worker.

    What it works on, it finishes.

    Example: waybill worker label gpu-1 gpu-pool large
    """
    from blocks.workers import check_labels, check_worker_name
    from waybill.services.workers import label_worker

    wanted, given = check_worker_name(name), check_labels(labels)
    changed = with_transaction(lambda connection: label_worker(connection, wanted, given, by=this_account()))
    if as_json:
        print_json(changed.as_json())
    else:
        print_line(f"{changed.name}  {', '.join(changed.labels)}")
    return 0


def revoke(name: Name, as_json: AsJson = False) -> int:
    """Revoke a worker at once, and take back what it holds.

    Its transfers are cancelled and its assignments wait for another worker. Its name and its key stay taken.
    """
    from blocks.workers import check_worker_name
    from waybill.services.workers import revoke_worker

    wanted = check_worker_name(name)
    done = with_transaction(lambda connection: revoke_worker(connection, wanted, by=this_account()))
    if as_json:
        print_json(done.as_json())
    else:
        print_line(
            f"{done.worker.name}  revoked; transfers cancelled: {len(done.cancelled_transfers)}, assignments taken "
            f"back: {len(done.returned_assignments)}"
        )
    return 0


def keygen(home: Home = None, as_json: AsJson = False) -> int:
    """Make the key of this machine as a worker, and print its public half.

    The secret key stays in the worker's folder, in a file for its owner alone. An existing key is never replaced.
    """
    place = worker_home(home)
    identity = place.create_identity()
    if as_json:
        print_json({"recipient": identity.recipient.text, "identity_file": str(place.identity_path)})
        return 0
    typer.echo(identity.recipient.text)
    print_notice(f"made {place.identity_path}; enrol this machine with: waybill worker enroll URL CODE")
    return 0


def enroll(
    url: Annotated[str, typer.Argument(metavar="URL", help="The gateway's URL.")],
    code: Annotated[
        str, typer.Argument(metavar="CODE", help="The code of 'worker invite'; - reads it from standard input.")
    ],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="This worker's name, if the code has none.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> int:
    """Enrol this machine as a worker, with a code that works once.

    Nothing but the public key leaves the machine.

    Example: waybill worker enroll https://waybill.example.org wbw_... --name gpu-1
    """
    place = worker_home(home)
    config, labels = enroll_machine(place, url, code, name)
    if as_json:
        print_json({**vars(config), "labels": labels, "config_file": str(place.config_path)})
    else:
        print_line(f"{config.name}  enrolled at {config.gateway_url}; labels: {', '.join(labels) or 'none'}")
    return 0


def enroll_machine(place: WorkerHome, url: str, code: str, name: str | None) -> tuple[WorkerConfig, list[str]]:
    """Enrol the machine of *place*; return what it knows of its gateway, and its labels. Raises `WaybillError`."""
    import asyncio

    import httpx

    from blocks.hand_over.session import enroll as enroll_here
    from blocks.hand_over.worker_home import check_gateway_url
    from waybill import __version__

    base = check_gateway_url(url)
    place.identity()  # before the code is used up
    if place.is_enrolled():
        known = place.config()
        raise InvalidOptions(
            f"this machine is enrolled already, as {known.name} at {known.gateway_url}; for another worker name "
            f"another folder with --home, or remove {place.config_path} if that gateway is gone"
        )
    if code == "-":
        code = typer.get_text_stream("stdin").readline(_MOST_CODE_CHARS).strip()

    async def run() -> tuple[WorkerConfig, list[str]]:
        async with httpx.AsyncClient(timeout=_ANSWER_SECONDS) as client:
            return await enroll_here(place, client, base, code, name=name, version=__version__)

    return asyncio.run(run())


def worker_home(given: str | None) -> WorkerHome:
    """Return the worker's folder that the option names, or else the settings."""
    from blocks.hand_over.worker_home import WorkerHome

    path = typed_path(given).absolute() if given is not None else current_settings().resolved_worker_home
    return WorkerHome(Path(path))


def _row(worker: Worker) -> tuple[str, ...]:
    seen = human_time(worker.last_seen_at.isoformat()) if worker.last_seen_at else ""
    state = "revoked" if worker.is_revoked else "active"
    return (
        worker.name, ", ".join(worker.labels), worker.version or "", seen, worker.address or "", str(worker.running),
        state,
    )  # fmt: skip
