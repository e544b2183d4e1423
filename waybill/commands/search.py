"""``waybill search``: ask everything that was ingested."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from waybill.commands.arguments import AsJson, check_ids
from waybill.commands.output import print_json, print_line, print_marked, print_notice
from waybill.commands.session import stack_session

if TYPE_CHECKING:
    from blocks.search_index import SearchAnswer, SearchFilters, SearchHit
    from blocks.settings import Settings

# Some lines of a terminal; what is longer is a row of a table or a line of code rather than a sentence.
_SHOWN_CHARACTERS = 400
# What is shown before the first word of the question in a longer one.
_BEFORE_MARK_CHARACTERS = 80

_NOTHING_CLOSE = "nothing close to this question is indexed"


def search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A question or some words, in any language.")],
    limit: Annotated[int, typer.Option("-k", "--limit", min=1, max=100, help="How many passages to show.")] = 5,
    source: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Only this source: its path or URL, or the last part.")
    ] = None,
    media_type: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Only this type: pdf, or a media type.")
    ] = None,
    language: Annotated[str | None, typer.Option(metavar="TAG", help="Only this language: de, en-GB.")] = None,
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Only what this run processed.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only ingested since: 7d, a day, or 2027-01-31T08:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only ingested until then.")] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Show the nearest passages even if none is close.")] = False,
    as_json: AsJson = False,
) -> int:
    """Find the passages that answer a question.

    Each is shown with the sentence that answers best and its similarity to the question, from 0 to 1.

    Example: waybill search 'when was the lamp replaced' -k 3
    """
    from blocks.search_index import check_query, read_filters

    check_query(text, limit)
    filters = read_filters(source=source, media_type=media_type, language=language, since=since, until=until)
    if run is not None:
        check_ids([run])
    with stack_session(prefect=False) as (settings, _):
        answer = asyncio.run(_answer(settings, text, limit, filters, run, show_all))
    if as_json:
        print_json({"query": text, **answer.as_dict()})
        return 0
    if not answer.hits:
        print_notice(_nothing(filters=[source, media_type, language, run, since, until], show_all=show_all))
    elif answer.nothing_close:
        print_notice(f"{_NOTHING_CLOSE}; these are the nearest passages")
    for rank, hit in enumerate(answer.hits, start=1):
        _print_hit(rank, hit)
    return 0


def _nothing(*, filters: list[str | None], show_all: bool) -> str:
    """Return what to say of an answer without a passage."""
    if any(given is not None for given in filters):
        place = "in the documents that --source, --type, --language, --run, --since and --until leave"
        if show_all:
            return f"there is no passage {place}; search without them"
        return f"nothing close to this question is {place}; search without them, or with --all for what is nearest"
    if show_all:
        return "nothing is indexed; 'waybill process FILE' does that"
    return f"{_NOTHING_CLOSE}; --all shows what is nearest, 'waybill stats' what is ingested"


async def _answer(
    settings: Settings, text: str, limit: int, filters: SearchFilters, run: str | None, show_all: bool
) -> SearchAnswer:
    from blocks.postgres import single_connection
    from waybill.services.search import search_documents
    from waybill.services.short_ids import find_run_with_files

    async with single_connection(settings.required_database_url) as connection:
        if run is not None:
            filters = replace(filters, run_id=await find_run_with_files(connection, run))
        return await search_documents(
            lambda: nullcontext(connection), text, limit, models=settings.models, filters=filters, show_all=show_all
        )


def _print_hit(rank: int, hit: SearchHit) -> None:
    from tasks.text.readable import readable

    similarity = "" if hit.similarity is None else f"  {hit.similarity:.2f}"
    print_line(f"{rank}. {hit.title}  ({hit.source}){similarity}")
    # The title of a document is often its first heading.
    place = " > ".join(part for part in hit.heading_path if part != hit.title)
    if place:
        print_line(f"   {place}")
    shown = readable(hit.text)
    start, end = sentence = shown.span(*hit.sentence)
    marks = [shown.span(*mark) for mark in hit.marks]
    if end - start > _SHOWN_CHARACTERS:
        first = next((mark[0] for mark in marks if start <= mark[0] < end), start)
        start = max(start, min(first - _BEFORE_MARK_CHARACTERS, end - _SHOWN_CHARACTERS))
    stop = min(end, start + _SHOWN_CHARACTERS)
    within = [(max(a, start), min(b, stop)) for a, b in marks if a < stop and b > start]
    before, after = "…" * (start > sentence[0]), "…" * (stop < end)
    print_marked(shown.text, (start, stop), within, before=f"   {before}", after=after)
    print_line("")
