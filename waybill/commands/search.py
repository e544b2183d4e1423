"""``waybill search``: search all ingested documents."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from waybill.commands.arguments import AsJson
from waybill.commands.output import print_json, print_line, print_notice
from waybill.commands.session import stack_session


def search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="A question or some words, in any language.")],
    limit: Annotated[int, typer.Option("-k", "--limit", min=1, max=100, help="How many passages to show.")] = 5,
    as_json: AsJson = False,
) -> int:
    """Find passages by words and by meaning.

    Full-text and vector search, combined by rank.

    Example: waybill search 'when was the lamp replaced' -k 3
    """
    with stack_session(prefect=False) as (settings, _):
        from waybill.services.search import search_database

        answer = asyncio.run(search_database(settings.required_database_url, text, limit, models=settings.models))
    if as_json:
        print_json({"query": text, **answer.as_dict()})
        return 0
    if not answer.hits:
        print_notice("nothing found; 'waybill stats' shows what is ingested")
    for rank, hit in enumerate(answer.hits, start=1):
        where = " > ".join(hit.heading_path)
        print_line(f"{rank}. {hit.title}  ({hit.source})  score {hit.score:.4f}")
        if where:
            print_line(f"   {where}")
        print_line(f"   {' '.join(hit.text.split())[:300]}")
        print_line("")
    return 0
