"""The credential of the local Prefect server's API: one for each home, random, in a file for its owner alone.

Owns that file (``WAYBILL_HOME/prefect-api-auth``, 0600), and what counts instead when the operator has set the two
variables that Prefect reads it from. A caller of Prefect's API can run commands as the account of the server, so
there is no server without one. The credential is handed on in the environment of child processes, never on a command
line, which every account can read, and is never logged.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from pathlib import Path

from blocks.errors import InvalidSettings
from blocks.runtime.atomic_file import write_atomically
from blocks.settings import inherited_environment

FILE_NAME = "prefect-api-auth"
SERVER_VARIABLE = "PREFECT_SERVER_API_AUTH_STRING"
CLIENT_VARIABLE = "PREFECT_API_AUTH_STRING"
# Prefect's form is that of HTTP's basic authentication, USER:PASSWORD; it compares the whole text.
_USER = "waybill"
# 256 bits: more cannot be guessed by anyone.
_RANDOM_BYTES = 32
# Longer than any credential, and short enough for memory if the file is something else.
_MOST_BYTES = 1024


def prefect_credential(home: Path) -> str:
    """Return the credential of the Prefect server of *home*; create its file, unless the operator has set another one.

    Raises `InvalidSettings` when only one of the two variables is set, or both differ, or the file cannot be used.
    """
    given = inherited_environment()
    server, client = given.get(SERVER_VARIABLE), given.get(CLIENT_VARIABLE)
    if server and client:
        if server != client:
            raise InvalidSettings(
                f"{SERVER_VARIABLE} and {CLIENT_VARIABLE} differ: the server would refuse its own clients; set both to "
                "the same credential, or unset both"
            )
        return _checked(server, f"{SERVER_VARIABLE} and {CLIENT_VARIABLE} hold")
    own = _of_file(home / FILE_NAME)
    # A person who has exported the home's own credential for other programs has set nothing else by that.
    if (half := server or client) and half != own:
        is_set, missing = (SERVER_VARIABLE, CLIENT_VARIABLE) if server else (CLIENT_VARIABLE, SERVER_VARIABLE)
        raise InvalidSettings(
            f"{is_set} is set without {missing}: set {missing} to the same credential, or unset {is_set} to use the "
            f"one of {home / FILE_NAME}"
        )
    return own


def check_credential_file(home: Path) -> None:
    """Raise `InvalidSettings` when the file of *home* holds something that is no credential. Changes nothing."""
    path = home / FILE_NAME
    # One that is missing or cannot be read is reported with the other key files.
    with contextlib.suppress(OSError):
        if found := path.read_bytes()[:_MOST_BYTES].decode(errors="replace").strip():
            _checked(found, f"{path} holds")


def is_given() -> bool:
    """Return whether the operator has set the credential of the local server; it is then in no file."""
    given = inherited_environment()
    return bool(given.get(SERVER_VARIABLE) and given.get(CLIENT_VARIABLE))


def fingerprint_of(credential: str) -> str:
    """Return a text that differs between credentials and does not reveal a random one."""
    return hashlib.sha256(credential.encode()).hexdigest()[:16]


def _of_file(path: Path) -> str:
    try:
        found = _read(path)
        if found is None:
            made = f"{_USER}:{secrets.token_urlsafe(_RANDOM_BYTES)}"
            # Of several commands that start at the same time, one makes it.
            with contextlib.suppress(FileExistsError):
                write_atomically(path, f"{made}\n".encode(), replace=False)
            found = _read(path)
    except OSError as exc:
        raise InvalidSettings(f"cannot use {path}: {exc.strerror}; the Prefect credential belongs there") from exc
    return _checked(found or "", f"{path} holds")


def _checked(credential: str, where: str) -> str:
    user, colon, password = credential.partition(":")
    # It goes into headers, and into the environment of processes.
    if not (user and colon and password and credential.isascii() and credential.isprintable()):
        raise InvalidSettings(
            f"{where} no credential of the form USER:PASSWORD in plain ASCII; correct it, or remove it to have one made"
        )
    return credential


def _read(path: Path) -> str | None:
    """Return the content of the file, and take the rights of other accounts from it; None without a file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        if os.fstat(descriptor).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            os.fchmod(descriptor, stat.S_IRUSR | stat.S_IWUSR)
        return stream.read(_MOST_BYTES).decode(errors="replace").strip()
