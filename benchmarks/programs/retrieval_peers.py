"""Passages as plain pipelines of LlamaIndex and Haystack find them; run by `benchmarks.retrieval` with the Python of
the peers' environment: retrieval_peers.py PEER INPUT.json OUTPUT.json.

INPUT names documents, questions, and the folder and file of the embedding model, the one that Waybill uses. OUTPUT has
for each question the passages found, best first, each with its document, text and score. Each library is used as its
documentation shows, with passages of the mean length that INPUT gives in words. Imports nothing of this project.
"""

# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedBaseClass=false
from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

# The model was trained on 256 tokens, two of them its own.
MODEL_TOKENS = 256
# In these five languages; LlamaIndex counts tokens, Haystack words.
TOKENS_PER_WORD = 1.7
# LlamaIndex counts and embeds the name of the file with each passage.
NAME_TOKENS = 20
# Repeated of the passage before, as both libraries do unless they are set otherwise.
OVERLAP_SHARE = 0.08
FOUND = 10
Found = list[tuple[str, str, float]]


class Model:
    """all-MiniLM-L6-v2: the built graph, which returns the mean of the tokens' vectors."""

    def __init__(self, graph: str, tokenizer: str) -> None:
        self.tokenizer = Tokenizer.from_file(tokenizer)
        self.tokenizer.enable_truncation(MODEL_TOKENS)
        self.tokenizer.no_padding()
        self._session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def __call__(self, text: str) -> list[float]:
        ids = np.array([self.tokenizer.encode(text).ids], np.int64)
        made: Any = self._session.run(["embedding"], {"input_ids": ids})
        vector = made[0][0]
        return (vector / np.linalg.norm(vector)).tolist()


def llama_index(documents: list[dict[str, str]], model: Model, words: int) -> Callable[[str], Found]:
    """Return a search by LlamaIndex: sentences into passages, an index of vectors, a retriever."""
    from llama_index.core import Document, VectorStoreIndex
    from llama_index.core.embeddings import BaseEmbedding
    from llama_index.core.node_parser import SentenceSplitter

    class Embedding(BaseEmbedding):
        def _get_query_embedding(self, query: str) -> list[float]:
            return model(query)

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return model(query)

        def _get_text_embedding(self, text: str) -> list[float]:
            return model(text)

    counting = Tokenizer.from_str(model.tokenizer.to_str())
    counting.no_truncation()
    splitter = SentenceSplitter(
        chunk_size=NAME_TOKENS + round(TOKENS_PER_WORD * words),
        chunk_overlap=round(OVERLAP_SHARE * TOKENS_PER_WORD * words),
        tokenizer=lambda text: counting.encode(text, add_special_tokens=False).tokens,
    )
    loaded = [Document(text=one["text"], metadata={"file_name": one["name"]}) for one in documents]
    index = VectorStoreIndex.from_documents(loaded, transformations=[splitter], embed_model=Embedding())
    retriever = index.as_retriever(similarity_top_k=FOUND)
    return lambda question: [
        (found.node.metadata["file_name"], found.node.get_content(), float(found.score or 0))
        for found in retriever.retrieve(question)
    ]


def haystack(documents: list[dict[str, str]], model: Model, words: int) -> Callable[[str], Found]:
    """Return a search by Haystack: its pipeline for hybrid retrieval, BM25 and vectors joined by reciprocal ranks."""
    from haystack import Document, Pipeline, component
    from haystack.components.joiners import DocumentJoiner
    from haystack.components.preprocessors import DocumentSplitter
    from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore

    @component
    class TextEmbedder:
        @component.output_types(embedding=list[float])
        def run(self, text: str) -> dict[str, Any]:
            return {"embedding": model(text)}

    splitter = DocumentSplitter(split_by="word", split_length=words, split_overlap=round(OVERLAP_SHARE * words))
    loaded = [Document(content=one["text"], meta={"name": one["name"]}) for one in documents]
    passages = splitter.run(documents=loaded)["documents"]
    for passage in passages:
        passage.embedding = model(passage.content)
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    store.write_documents(passages)
    pipeline = Pipeline()
    pipeline.add_component("text_embedder", TextEmbedder())
    pipeline.add_component("vectors", InMemoryEmbeddingRetriever(store, top_k=FOUND))
    pipeline.add_component("bm25", InMemoryBM25Retriever(store, top_k=FOUND))
    pipeline.add_component("joiner", DocumentJoiner(join_mode="reciprocal_rank_fusion", top_k=FOUND))
    pipeline.connect("text_embedder", "vectors")
    pipeline.connect("bm25", "joiner")
    pipeline.connect("vectors", "joiner")

    def search(question: str) -> Found:
        done = pipeline.run({"text_embedder": {"text": question}, "bm25": {"query": question}})
        found = done["joiner"]["documents"]
        return [(one.meta["name"], one.content, float(one.score or 0)) for one in found]

    return search


def bm25(passages: list[dict[str, str]], _model: Model, _words: int) -> Callable[[str], Found]:
    """Return a search by BM25 alone (the library bm25s): words in lower case, stemmed in the passage's language."""
    import bm25s
    import Stemmer

    names = {"en": "english", "de": "german", "fr": "french", "es": "spanish", "it": "italian"}
    stemmers = {language: Stemmer.Stemmer(name) for language, name in names.items()}

    def tokens(text: str, language: str) -> list[str]:
        stemmer = stemmers[language]
        return bm25s.tokenize(text, stopwords=None, stemmer=stemmer, show_progress=False, return_ids=False)[0]

    index = bm25s.BM25()
    index.index([tokens(one["text"], one["language"]) for one in passages], show_progress=False)

    def search(question: str) -> Found:
        # The language of a question is not known: its words are looked for in each of them.
        asked = list(dict.fromkeys(word for language in names for word in tokens(question, language)))
        numbers, scores = index.retrieve([asked], k=FOUND, show_progress=False)
        found = zip(numbers[0].tolist(), scores[0].tolist(), strict=True)
        return [(passages[number]["name"], passages[number]["text"], score) for number, score in found if score > 0]

    return search


PEERS = {"bm25": bm25, "llama-index": llama_index, "haystack": haystack}


def main(peer: str, given: Path, made: Path) -> None:
    """Index the documents, and write what each question finds."""
    content = json.loads(given.read_text())
    model = Model(content["graph"], content["tokenizer"])
    search = PEERS[peer](content["passages" if peer == "bm25" else "documents"], model, content["words"])
    made.write_text(json.dumps([search(question) for question in content["questions"]]))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
