"""Stage 3, the chunker: Markdown is divided into passages, each with its exact place and its vector.

Owns the stage's options and the form of its output, `NAME.chunks.json`, which docs/stages.md describes field by field.
Places count characters (Unicode code points, not bytes) of the Markdown as stored, header included, so that
``markdown[start:end] == text``. The embedding reads a chunk's `context`, a line end, and its text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from pydantic import Field, model_validator

from blocks.embedding import DIMENSIONS, EMBEDDING_MODEL
from blocks.embedding.scripts import is_unspaced
from blocks.errors import EmptyDocument, UnreadableDocument
from tasks.chunking.chunks import Chunk, Tokenizer, chunks, contexts
from tasks.chunking.front_matter import FrontMatter, read_front_matter
from tasks.chunking.packing import Limits
from tasks.chunking.summary import READ_CHARACTERS, summarise
from tasks.contract import DocumentInfo, Read, Services, Stage, StageInput, StageOptions, StageOutput

SCHEMA = "waybill.chunks/1"

# The embedding model reads 254 tokens of text (`blocks.embedding.tokenizer.MAX_TOKENS`); four are left for separators.
DEFAULT_MAX_TOKENS = 250
EMBEDDED_MAX_TOKENS = 254
# 128 bits: two passages of a catalogue will not share an id.
ID_HEX_DIGITS = 32
# The int8 model's own error is a hundred times larger than the rounding, and the file is a third smaller.
EMBEDDING_DECIMALS = 6

_UNKNOWN_SCRIPT = "the embedding model does not know the script of this document, so search by meaning will not find it"


class ChunkOptions(StageOptions):
    """Options of the chunker. Sizes are in tokens of the embedding model."""

    max_tokens: int = Field(
        default=DEFAULT_MAX_TOKENS,
        ge=32,
        le=8192,
        description="Maximum tokens of a chunk, its context (title, headings) included. With embeddings at most 254.",
    )
    min_tokens: int = Field(
        default=40, ge=0, le=4096, description="Minimum tokens of a chunk, where the document's sections allow it."
    )
    overlap_tokens: int = Field(
        default=0, ge=0, le=4096, description="Tokens of the previous chunk that a chunk repeats within a section."
    )
    merge_small_sections: bool = Field(
        default=False, description="Put a section smaller than min_tokens into one chunk with the next section."
    )
    embeddings: bool = Field(default=True, description="Compute a vector for each chunk; search by meaning needs it.")

    @model_validator(mode="after")
    def _sizes_fit(self) -> ChunkOptions:
        if self.embeddings and self.max_tokens > EMBEDDED_MAX_TOKENS:
            raise ValueError(f"with embeddings, max_tokens is at most {EMBEDDED_MAX_TOKENS}: the model reads no more")
        if 2 * max(self.min_tokens, self.overlap_tokens) > self.max_tokens:
            raise ValueError("min_tokens and overlap_tokens are at most half of max_tokens")
        return self


def run(given: StageInput, options: ChunkOptions) -> StageOutput:
    """Chunk the Markdown. Raises `UnreadableDocument`, `EmptyDocument` or `EmbeddingModelUnavailable`."""
    # Here, so that the flow's process, which only reads the declaration below, loads no tokenizer.
    from blocks.embedding.tokenizer import count_tokens, token_offsets

    path = given.first("markdown-optimizer", "markdown-conversion")
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as exc:
        raise UnreadableDocument(f"the Markdown of {given.document.name} is not UTF-8 at byte {exc.start}") from None
    header = read_front_matter(text)
    title = header.fields.get("title", "")
    limits = Limits(
        most=options.max_tokens,
        least=options.min_tokens,
        overlap=options.overlap_tokens,
        title=sum(count_tokens([title])),
        merge_small_sections=options.merge_small_sections,
    )
    made = list(chunks(text, header.body_start, limits, Tokenizer(count_tokens, token_offsets)))
    if not made:
        raise EmptyDocument(f"the Markdown of {given.document.name} has no text below its header to chunk")
    room = EMBEDDED_MAX_TOKENS if options.embeddings else max(options.max_tokens, EMBEDDED_MAX_TOKENS)
    above = contexts(made, title, count_tokens, room)
    vectors = _embed(made, above, given.services) if options.embeddings else None
    summary = summarise(text, header.body_start, header.fields.get("language"))
    tokens = sum(chunk.tokens for chunk in made)
    content = {
        "schema": SCHEMA,
        "document": _document(given.document, header, made),
        "summary": summary,
        "tokens": tokens,
        "options": options.model_dump(),
        "embedding_model": EMBEDDING_MODEL if options.embeddings else None,
        "dimensions": DIMENSIONS if options.embeddings else None,
        "chunks": _records(made, above, given.document.sha256, vectors),
    }
    metadata = {"chunks": len(made), "tokens": tokens, "embedding_model": content["embedding_model"]}
    unknown = options.embeddings and is_unspaced(text[header.body_start :][:READ_CHARACTERS])
    return StageOutput(
        content=orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY),
        metadata=metadata,
        warnings=(_UNKNOWN_SCRIPT,) if unknown else (),
    )


def _embed(made: Sequence[Chunk], above: Sequence[str], services: Services) -> Any:
    from blocks.embedding.vectors import embed

    inputs = [f"{line}\n{chunk.text}" if line else chunk.text for chunk, line in zip(made, above, strict=True)]
    return embed(inputs, models=services.home / "models").round(EMBEDDING_DECIMALS)


def _document(document: DocumentInfo, header: FrontMatter, made: Sequence[Chunk]) -> dict[str, Any]:
    """Return what is known of the document, from the header first: it is part of the input, and so of the stage key."""
    fields = header.fields
    first_heading = next((chunk.heading_path[0] for chunk in made if chunk.heading_path), None)
    return {
        "title": fields.get("title", first_heading),
        "source": fields.get("source", document.name),
        "sha256": document.sha256,
        "type": fields.get("type", document.media_type),
        "pages": header.pages,
        "language": fields.get("language"),
        "created": fields.get("created"),
    }


def _records(made: Sequence[Chunk], above: Sequence[str], document_sha256: str, vectors: Any) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for ordinal, chunk in enumerate(made):
        record = {
            "id": _chunk_id(document_sha256, chunk),
            "ordinal": ordinal,
            "start": chunk.start,
            "end": chunk.end,
            "text": chunk.text,
            "tokens": chunk.tokens,
            "heading_path": chunk.heading_path,
            "context": above[ordinal],
        }
        if chunk.inside:
            record["inside"] = chunk.inside
        records.append(record if vectors is None else {**record, "embedding": vectors[ordinal]})
    return records


def _chunk_id(document_sha256: str, chunk: Chunk) -> str:
    identity = f"{document_sha256}\n{chunk.start}\n{chunk.end}\n{chunk.text}"
    return hashlib.sha256(identity.encode()).hexdigest()[:ID_HEX_DIGITS]


def _identity(options: ChunkOptions, _services: Services) -> Mapping[str, str]:
    return {"embedding_model": EMBEDDING_MODEL} if options.embeddings else {}


CHUNK: Stage[ChunkOptions] = Stage(
    number=3,
    name="chunker",
    version="2",
    suffix=".chunks.json",
    media_type="application/json",
    reads=(Read(any_of=("markdown-optimizer", "markdown-conversion")),),
    options=ChunkOptions,
    run=run,
    identity=_identity,
    # The embedding needs 36 s for a MiB of Markdown on one core of 2020; the limit is 120 s by default.
    limit_per_mib=1.0,
)
