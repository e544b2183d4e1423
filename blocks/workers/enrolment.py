"""Enrol workers by one-time codes: each code enrols one worker, also of several that use it at once.

Every call takes the caller's connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from blocks.age import X25519Recipient
from blocks.errors import EnrolmentRefused, InvalidKey, InvalidOptions, WorkerExists
from blocks.postgres import Connection, Row, execute, fetch_optional, fetch_row
from blocks.workers import queries
from blocks.workers.codes import EnrolmentCode, check_code_lifetime, code_digest, is_code, new_code
from blocks.workers.rows import worker_of
from blocks.workers.worker import MAX_VERSION_CHARS, Worker, check_labels, check_worker_name


async def create_code(
    connection: Connection, *, name: str | None, labels: Sequence[str], lasts: timedelta, created_by: str
) -> EnrolmentCode:
    """Create a code that enrols one worker: as *name*, or as the worker says where that is None.

    Raises `InvalidOptions`, and `WorkerExists` for a name that is taken.
    """
    wanted = check_labels(labels)
    if name is not None and (await fetch_row(connection, queries.IS_TAKEN, {"name": check_worker_name(name)}))["found"]:
        raise _name_taken(name)
    text = new_code()
    values = {
        "code_sha256": code_digest(text),
        "name": name,
        "labels": wanted,
        "created_by": created_by,
        "lasts": check_code_lifetime(lasts),
    }
    await execute(connection, queries.FORGET_CODES, {})
    row = await fetch_row(connection, queries.CREATE_CODE, values)
    return EnrolmentCode(text=text, name=name, labels=tuple(wanted), **row)


async def enroll(
    connection: Connection,
    code: str,
    *,
    name: str | None,
    recipient: str,
    version: str | None = None,
    address: str | None = None,
) -> Worker:
    """Enrol a worker with a code that was never used. *name* may be left out where the code has one.

    The caller's transaction must end with an error of this: then the code stays usable. Raises `EnrolmentRefused` for a
    code that is unknown, used or expired, all with one message, so that codes cannot be probed; `WorkerExists` for a
    name or a key that is taken; `InvalidOptions` for a name that the code is not for, or none, and for a bad key.
    """
    if name is not None:
        check_worker_name(name)
    if version is not None and (len(version) > MAX_VERSION_CHARS or not version.isprintable()):
        raise InvalidOptions(f"a version has at most {MAX_VERSION_CHARS} printable characters")
    key = _checked_recipient(recipient)
    digest = code_digest(code)
    found = await fetch_optional(connection, queries.USABLE_CODE, {"code_sha256": digest}) if is_code(code) else None
    if found is None:
        raise EnrolmentRefused(
            "this enrolment code is not valid: it is unknown, was used, or has expired; an administrator makes another "
            "with 'waybill worker invite'"
        )
    worker_name = _chosen_name(name, found["name"])
    values: Row = {
        "name": worker_name,
        "recipient": key,
        "labels": found["labels"],
        "version": version,
        "address": address,
        "enrolled_by": found["created_by"],
    }
    row = await fetch_optional(connection, queries.ENROLL, values)
    if row is None:
        if (await fetch_row(connection, queries.IS_TAKEN, {"name": worker_name}))["found"]:
            raise _name_taken(worker_name)
        raise WorkerExists("a worker has this key already; every worker makes its own with 'waybill worker keygen'")
    await execute(connection, queries.USE_CODE, {"code_sha256": digest, "name": worker_name})
    return worker_of(row)


def _chosen_name(given: str | None, of_code: str | None) -> str:
    if of_code is None and given is None:
        raise InvalidOptions("this code names no worker; say how this one is called with --name")
    if of_code is not None and given is not None and given != of_code:
        raise InvalidOptions("this code is for a worker of another name; leave the name out")
    return str(of_code or given)


def _name_taken(name: str) -> WorkerExists:
    return WorkerExists(f"there is a worker {name} already, perhaps a revoked one; choose another name")


def _checked_recipient(text: str) -> str:
    """Return the public key *text* of a worker. Raises `InvalidOptions` for anything but an X25519 recipient."""
    try:
        return X25519Recipient.from_text(text).text
    except InvalidKey as exc:
        raise InvalidOptions(
            "the recipient is not an age key of the X25519 kind, age1 and 58 more characters; make one with "
            "'waybill worker keygen'"
        ) from exc
