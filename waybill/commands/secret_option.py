"""The option ``--secret -``: a webhook's secret from standard input, where no other user of the machine can read it."""

from __future__ import annotations

import typer

from blocks.errors import InvalidOptions


def secret_from_stdin(option: str | None) -> str | None:
    """What stands in the first line of standard input; None without the option.

    Raises `InvalidOptions` for a secret on the command line, and `InvalidKey` for one that is malformed.
    """
    if option is None:
        return None
    if option != "-":
        raise InvalidOptions("a secret on the command line can be read by others; give '-' and write it to stdin")
    from blocks.webhooks.secrets import secret_bytes

    found = typer.get_text_stream("stdin").readline().strip()
    secret_bytes(found)
    return found
