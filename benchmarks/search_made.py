"""Vectors and texts of many passages, made from fewer real ones so that they are distributed alike.

A vector is that of a real passage, plus the differences of four pairs of its neighbours, scaled, and normalised: so it
departs from the real one in the directions in which texts differ there, and about as far. `likeness` says how well that
holds: of as many made passages as there are real ones, the similarity to the tenth nearest, and the local intrinsic
dimension (E. Levina and P. Bickel, "Maximum likelihood estimation of intrinsic dimension", NIPS 2004), are to be those
of the real ones; and over all of them, what the real ones become with more and more passages. A text is of pieces of
some sentences each, two of the same real passage and one of a neighbour, so words are as frequent as in real text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
NEIGHBOURS = 20
# Scale of the differences: with less, each real passage is the middle of a heap of made ones; with more, made ones are
# farther from each other than as many real ones would be. Fewer differences make too few directions.
DIFFERENCES, SCALE = 4, 0.3
PIECES = 3
_BLOCK = 500


@dataclass(frozen=True)
class Real:
    """The real passages: a vector and a record (title, headings, language, text) each; `near` are their neighbours."""

    vectors: Vectors
    records: list[dict[str, Any]]
    near: NDArray[np.int64]

    @staticmethod
    def of(vectors: Vectors, records: list[dict[str, Any]]) -> Real:
        return Real(vectors, records, nearest(vectors, vectors, NEIGHBOURS + 1)[0][:, 1:])

    def more(self, count: int, generator: np.random.Generator) -> tuple[Vectors, NDArray[np.int64]]:
        """Return *count* new vectors, and which real passage each is made from."""
        base = generator.integers(0, len(self.vectors), count)
        made = self.vectors[base].copy()
        for _ in range(DIFFERENCES):
            one, other = (self.near[base, generator.integers(0, NEIGHBOURS, count)] for _ in range(2))
            made += np.float32(SCALE) * (self.vectors[one] - self.vectors[other])
        return made / np.linalg.norm(made, axis=1, keepdims=True), base

    def pieces_of(
        self, base: NDArray[np.int64], counts: NDArray[np.int64], generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return for each passage made from *base* the pieces of its text, as numbers of `pieces`; *counts* of each."""
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        near = self.near[base, generator.integers(0, NEIGHBOURS, len(base))]
        start = generator.integers(0, 1 << 30, len(base))
        parts = [(base, start), (base, start + 1), (near, generator.integers(0, 1 << 30, len(base)))]
        return np.stack([first[passage] + place % counts[passage] for passage, place in parts], axis=1)


def nearest(queries: Vectors, vectors: Vectors, count: int) -> tuple[NDArray[np.int64], Vectors]:
    """Return the numbers and similarities of the *count* nearest of *vectors* to each query, best first; exactly."""
    numbers, values = np.empty((len(queries), count), np.int64), np.empty((len(queries), count), np.float32)
    for start in range(0, len(queries), _BLOCK):
        products = queries[start : start + _BLOCK] @ vectors.T
        found = np.argpartition(-products, count, axis=1)[:, :count]
        of_found = np.take_along_axis(products, found, 1)
        order = np.argsort(-of_found, axis=1, kind="stable")
        numbers[start : start + _BLOCK] = np.take_along_axis(found, order, 1)
        values[start : start + _BLOCK] = np.take_along_axis(of_found, order, 1)
    return numbers, values


def nearest_of_many(queries: Vectors, vectors: Vectors, count: int) -> tuple[NDArray[np.int64], Vectors]:
    """Do `nearest` for vectors that need not be in memory at once."""
    numbers, values = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    for start in range(0, len(vectors), 50_000):
        block = np.asarray(vectors[start : start + 50_000])
        found, similarities = nearest(queries, block, min(count, len(block) - 1))
        numbers, values = np.hstack([numbers, found + start]), np.hstack([values, similarities])
        order = np.argsort(-values, axis=1, kind="stable")[:, :count]
        numbers, values = np.take_along_axis(numbers, order, 1), np.take_along_axis(values, order, 1)
    return numbers, values


def pieces(text: str) -> list[str]:
    """Return *text* in up to `PIECES` pieces of whole sentences or lines."""
    sentences = re.split(r"(?<=[.!?:;])\s+|\n+", text)
    share = -(-len(sentences) // PIECES)
    parts = [" ".join(sentences[start : start + share]).strip() for start in range(0, len(sentences), share)]
    return [part for part in parts if part] or [text]


def shape_of(vectors: Vectors, samples: int, generator: np.random.Generator) -> str:
    """Return the similarity to the tenth nearest (quartiles) and the local intrinsic dimension, as cells of a table."""
    chosen = np.sort(generator.choice(len(vectors), min(samples, len(vectors)), replace=False))
    _, similarities = nearest_of_many(np.asarray(vectors[chosen]), vectors, 101)
    similarities = similarities[:, 1:]  # without the passage itself
    low, middle, high = np.quantile(similarities[:, 9], [0.25, 0.5, 0.75])
    distances = np.sqrt(np.maximum(2 - 2 * similarities, 1e-6))
    dimensions: list[float] = []
    for near in (10, 20, 100):
        logarithms = np.log(distances[:, near - 1 : near] / distances[:, : near - 1])
        dimensions.append(1 / float(np.mean(logarithms)))
    return f"{low:.3f} / {middle:.3f} / {high:.3f} | {' / '.join(f'{one:.1f}' for one in dimensions)}"


def likeness(real: Real, made: Vectors) -> Iterator[str]:
    """Yield a table of real passages and made ones, by how many there are."""
    generator = np.random.default_rng(11)
    yield "| passages | similarity to the tenth nearest, quartiles | dimension by 10 / 20 / 100 neighbours |"
    yield "| --- | --- | --- |"
    count = len(real.vectors)
    for number in (count // 4, count // 2, count):
        chosen = generator.choice(count, number, replace=False)
        yield f"| {number:,} real | {shape_of(real.vectors[chosen], 1000, generator)} |"
    for number in (count, 100_000, len(made)):
        if count <= number <= len(made):
            chosen = np.sort(generator.choice(len(made), number, replace=False))
            vectors = made if number == len(made) else np.asarray(made[chosen])
            yield f"| {number:,} made | {shape_of(vectors, 500, generator)} |"
