"""The sources that ``waybill process`` is given: typed, or one on each line of a file or of standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from blocks.errors import InvalidOptions
from blocks.redaction import CUSTODY_SCHEME, LIST_SCHEME, list_source
from waybill.commands.arguments import typed_path

STANDARD_INPUT = "-"


@dataclass(frozen=True, kw_only=True)
class Given:
    """Whole paths and URLs. *typed* become parameters of the run, *listed* a list in custody, which is shown as *name*.

    Lists at a URL or in custody are *typed*: the run reads them.
    """

    typed: list[str]
    listed: list[str]
    name: str = "sources"


def read_given(sources: Sequence[str], lists: Sequence[str]) -> Given:
    """Return what the sources and lists of a command mean. Raises `InvalidOptions`, `SourceNotFound` for a list."""
    from tasks.sources import absolute_source, display_name
    from tasks.sources.source_lists import needs_list

    if "" in lists or LIST_SCHEME in sources:
        raise InvalidOptions("a list is named by a file, a URL, waybill:FILE_ID, or - for standard input")
    named = [*lists, *(one.removeprefix(LIST_SCHEME) for one in sources if one.startswith(LIST_SCHEME))]
    typed = [absolute_source(source) for source in sources if not source.startswith(LIST_SCHEME)]
    typed += [list_source(one) for one in named if _is_elsewhere(one)]
    here = [one for one in named if not _is_elsewhere(one)]
    listed = [absolute_source(source) for one in here for source in _lines(one)]
    if not typed and not listed:
        raise InvalidOptions(f"there is nothing to process: no line of {' or '.join(map(_shown, here))} names a source")
    if needs_list(typed):
        own = [source for source in typed if not source.startswith(LIST_SCHEME)]
        typed, listed = [source for source in typed if source.startswith(LIST_SCHEME)], [*own, *listed]
    name = display_name(here[0]) if here and here[0] != STANDARD_INPUT else "sources"
    return Given(typed=typed, listed=listed, name=name)


def _shown(named: str) -> str:
    return "standard input" if named == STANDARD_INPUT else named


def _is_elsewhere(named: str) -> bool:
    return "://" in named or named.startswith(CUSTODY_SCHEME)


def _lines(named: str) -> Iterable[str]:
    from tasks.sources import open_file, read_file
    from tasks.sources.source_lists import read_list

    if named == STANDARD_INPUT:
        yield from read_list(_standard_input(), "standard input")
        return
    stream, opened = open_file(typed_path(named), named)
    with stream:
        yield from read_list(read_file(stream, opened, named), named)


def _standard_input() -> Iterable[bytes]:
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] (where it was closed at the start)
        raise InvalidOptions("standard input is closed; give the list in a file, or through a pipe")
    try:
        yield from sys.stdin.buffer
    except OSError as exc:
        raise InvalidOptions(f"standard input cannot be read: {exc.strerror}") from exc
