"""What the catalogue knows of a document that is to be forgotten, and whether it may be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from blocks.catalog import Connection
from blocks.custody import Custody
from blocks.errors import AmbiguousId, ArtifactHeld, ArtifactPinned, DocumentInUse, DocumentNotFound, WaybillError
from blocks.forgetting import statements
from blocks.forgetting.names import Names, placeholder
from blocks.forgetting.traces import Traces
from blocks.naming import clean_display_name
from blocks.postgres import Row, fetch_all, fetch_optional, fetch_row
from blocks.redaction import redacted_source, without_password, without_query, without_signature

_HASH = re.compile(r"[0-9a-f]{8,64}")
# Markdown of a thousand pages. Of a longer output the passages of the index are taken alone.
_READ_BYTES = 8 * 1024 * 1024
_TEXT_STAGES = frozenset({1, 2})
# What the search index has of a document, by kind.
INDEXED = ("passages", "vectors", "facts", "entities", "keywords")
# Chains of documents that were made of one another's outputs end before this.
_MOST_GENERATIONS = 20
# Names of other documents with a name of the document in them, which are left whole.
_MOST_LONGER_NAMES = 500


@dataclass(frozen=True, kw_only=True)
class KnownDocument:
    """A document, found by its content: *contents* are its hash, and those of documents made from its outputs."""

    sha256: str
    contents: list[str]
    files: list[Row]
    indexed: list[Row]
    sources: list[str]
    run_ids: list[UUID]

    @property
    def file_ids(self) -> list[UUID]:
        return [row["file_id"] for row in self.files]

    @property
    def stored(self) -> list[Row]:
        """The files that are still there."""
        return [row for row in self.files if row["state"] == "available"]

    @property
    def pinned(self) -> list[Row]:
        return [row for row in self.stored if row["pinned_at"] is not None]

    def name_candidates(self) -> tuple[set[str], set[str]]:
        """Return the document's file names and sources, and its titles."""
        indexed = [str(row["source"]) for row in self.indexed]
        sources = {*self.sources, *indexed, *(str(row["filename"]) for row in self.files)}
        sources -= {placeholder(self.sha256)}
        names = {form for source in sources for form in _forms(source)}
        titles = {str(row["title"]) for row in self.indexed}
        metadata = [cast("dict[str, Any]", row["metadata"] or {}) for row in self.files]
        titles |= {str(one["title"]) for one in metadata if one.get("title")}
        return names, titles - names

    def as_json(self) -> dict[str, Any]:
        """Return what would go, by kind, for a dry run: with names, since nothing of it is kept."""
        return {
            "sha256": self.sha256,
            "sources": self.sources,
            "made_from_it": [one for one in self.contents if one != self.sha256],
            "files": [
                {
                    "file_id": str(row["file_id"]),
                    "filename": row["filename"],
                    "kind": row["kind"],
                    "stage": row["stage"],
                    "size": row["size"],
                    "source_file": row["source_file"],
                    "pinned": row["pinned_at"] is not None,
                    "held": row["held_at"] is not None,
                }
                for row in self.stored
            ],
            "index": {name: sum(int(row[name]) for row in self.indexed) for name in INDEXED},
            "runs": [str(one) for one in self.run_ids],
        }


async def find_documents(connection: Connection, text: str) -> list[str]:
    """Return the hashes of the documents that *text* names: a path, URL or name, a sha256 or its first eight digits.

    Raises `DocumentNotFound`, and `AmbiguousId` for a beginning that several documents have.
    """
    found = await fetch_all(connection, statements.FIND_BY_NAME, {"name": text})
    if not found:
        found = await fetch_all(connection, statements.BY_NAME, {"name": text})
    if not found and _HASH.fullmatch(text.lower()):
        beginning = f"{text.lower()}%"
        found = await fetch_all(connection, statements.FIND_BY_HASH, {"beginning": beginning})
        if len(found) > 1:
            named = ", ".join(str(row["sha256"]) for row in found)
            raise AmbiguousId(f"several documents begin with {text}: {named}; give more digits")
        if not found:
            last = await fetch_optional(connection, statements.LAST, {"beginning": beginning})
            when = f"; it was forgotten on {last['ended_at']:%Y-%m-%d %H:%M} UTC" if last else ""
            raise DocumentNotFound(f"there is no document with the sha256 {text}{when}")
    if not found:
        raise DocumentNotFound(
            "no document has this source or name; give its path, URL or name as it was processed, or its sha256"
        )
    return [str(row["sha256"]) for row in found]


async def look_up(connection: Connection, sha256: str) -> KnownDocument:
    """Return what the catalogue knows of the document with the content *sha256*."""
    contents = [sha256]
    for _ in range(_MOST_GENERATIONS):
        made = await fetch_all(connection, statements.MADE_FROM, {"contents": contents})
        if not made:
            break
        contents += [str(row["sha256"]) for row in made]
    files = await fetch_all(connection, statements.FILES, {"contents": contents})
    values = {
        "contents": contents,
        "file_ids": [row["file_id"] for row in files],
        "patterns": [f"%{one}%" for one in contents],
    }
    # A file that is being stored has no source yet.
    sources = {str(row["source_file"]) for row in files if row["source_file"] is not None}
    sources |= {str(row["source"]) for row in await fetch_all(connection, statements.SOURCES_OF_FILES, values)}
    runs = {row["run_id"] for row in await fetch_all(connection, statements.RUNS, values)}
    runs |= {row["run_id"] for row in await fetch_all(connection, statements.RUNS_OF_EVENTS, values)}
    return KnownDocument(
        sha256=sha256,
        contents=contents,
        files=files,
        indexed=await fetch_all(connection, statements.INDEXED, values),
        sources=sorted(sources - {placeholder(sha256)}),
        run_ids=sorted(runs),
    )


async def refuse(connection: Connection, known: KnownDocument, *, force: bool) -> None:
    """Raise what keeps the document from being forgotten.

    `ArtifactHeld` for a legal hold; `ArtifactPinned` for a pin, unless *force*; `DocumentInUse` while it is stored or
    worked on.
    """
    held = [row for row in known.files if row["held_at"] is not None]
    if held:
        named = ", ".join(str(row["file_id"]) for row in held[:5])
        raise ArtifactHeld(
            f"a legal hold keeps {len(held)} of the document's files ({named}); an administrator lifts it with "
            "'waybill files release'",
            file_id=held[0]["file_id"],
        )
    if known.pinned and not force:
        named = ", ".join(str(row["file_id"]) for row in known.pinned[:5])
        raise ArtifactPinned(
            f"{len(known.pinned)} of the document's files are pinned ({named}); --yes, or force=true, forgets them too",
            file_id=known.pinned[0]["file_id"],
        )
    if any(row["state"] == "pending" for row in known.files):
        raise DocumentInUse("the document is being stored by another process; try again when that is done")
    if (await fetch_row(connection, statements.BEING_MADE_FROM, {"contents": known.contents}))["files"]:
        raise DocumentInUse("a document that is made from it is being stored; try again when that is done")
    waiting = {"patterns": [f"%{one}%" for one in known.contents]}
    if (await fetch_row(connection, statements.OPEN_ASSIGNMENTS, waiting))["jobs"]:
        raise DocumentInUse("a remote worker has a job of the document; try again when its run is over, or cancel it")


async def names_of(connection: Connection, known: KnownDocument) -> Names:
    """Return the names of the document, by whether another document has them too."""
    names, titles = known.name_candidates()
    values = {"names": sorted(names), "contents": known.contents}
    shared = {str(row["name"]) for row in await fetch_all(connection, statements.SHARED, values)}
    instead = placeholder(known.sha256)
    own = Names.of(names - shared, shared | titles, instead=instead)
    longer = await _longer_names(connection, known, own.patterns(about=True))
    if len(longer) > _MOST_LONGER_NAMES:
        # Of shared names and everyday words: these stay in what is not about the document anyway.
        longer = await _longer_names(connection, known, own.patterns(about=False))
    if len(longer) > _MOST_LONGER_NAMES:
        shared |= {name for name in own.alone if any(name.casefold() in one.casefold() for one in longer)}
        longer = set[str]()
    return Names.of(names - shared, shared | titles, instead=instead, others=longer)


async def _longer_names(connection: Connection, known: KnownDocument, patterns: Sequence[str]) -> set[str]:
    """Return names of other documents with one of *patterns* in them, and one more than are looked for."""
    values = {"contents": known.contents, "patterns": patterns, "limit": _MOST_LONGER_NAMES + 1}
    return {str(row["name"]) for row in await fetch_all(connection, statements.LONGER_NAMES, values)}


async def traces_of(custody: Custody, known: KnownDocument) -> Traces:
    """Return what the text of the document is recognised by: of the index, and of stored outputs that can be read."""
    async with custody.catalog.connection() as connection:
        rows = await fetch_all(connection, statements.INDEXED_TEXTS, {"contents": known.contents})
    texts = [str(row["text"]) for row in rows]
    for row in known.stored:
        if row["stage"] in _TEXT_STAGES and (row["size"] or 0) <= _READ_BYTES:
            try:
                artifact = await custody.get(row["file_id"], even_expired=True)
                texts.append((await custody.read(artifact)).decode("utf-8", "replace"))
            except WaybillError:
                continue  # without its key, or damaged: it goes all the same
    return Traces.of(texts)


def _forms(source: str) -> Sequence[str]:
    """Return the ways in which a source is shown: whole, without what is secret in it, and its name alone."""
    name = clean_display_name(without_query(source) if "://" in source else source)
    shown = (source, without_password(source), without_signature(source), redacted_source(source))
    return [*shown, without_query(source), name] if "://" in source else [*shown, source.rsplit("/", 1)[-1], name]
