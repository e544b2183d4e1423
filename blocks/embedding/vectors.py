"""Vectors of texts, and the ONNX Runtime session of the process that computes them.

Texts run one at a time and in one thread, so a vector depends on its text alone. Beyond 254 tokens nothing is read.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from blocks.embedding import DIMENSIONS
from blocks.embedding.model import ensure_model
from blocks.embedding.tokenizer import model_input
from blocks.errors import EmbeddingModelUnavailable
from blocks.runtime.onnx_runtime import onnx_runtime

# ONNX Runtime's levels: 3 is errors only. Its warnings are about devices that a CPU session does not use.
LOG_ERRORS_ONLY = 3

# With `lru_cache` alone, two threads that miss at the same time would both load; a second session wastes 50 MB.
_loading = threading.Lock()


class _Session(Protocol):
    """The part of ONNX Runtime's session that is used here."""

    def run(self, names: Sequence[str], feed: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[np.float32]]: ...


def embed(texts: Sequence[str], *, models: Path) -> NDArray[np.float32]:
    """Return one L2-normalised vector per text, in the order given: shape ``(len(texts), 384)``.

    Builds the model under *models* if it is missing. Thread-safe. Raises `EmbeddingModelUnavailable`.
    """
    vectors = np.empty((len(texts), DIMENSIONS), np.float32)
    if not texts:
        return vectors
    with _loading:
        session = _session(models.absolute())
    for row, text in enumerate(texts):
        ids = np.array([model_input(text)], np.int64)
        vectors[row] = session.run(["embedding"], {"input_ids": ids})[0][0]
    return vectors


@lru_cache(maxsize=1)
def _session(models: Path) -> _Session:
    runtime = onnx_runtime()
    failures: Any = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    options = runtime.SessionOptions()
    # There are as many worker processes as cores; more threads in each would only compete.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = LOG_ERRORS_ONLY
    built = ensure_model(models)
    try:
        return runtime.InferenceSession(str(built), options, providers=["CPUExecutionProvider"])
    except (failures.Fail, failures.InvalidGraph, failures.InvalidProtobuf, failures.NotImplemented) as exc:
        raise EmbeddingModelUnavailable(
            f"ONNX Runtime {runtime.__version__} does not read {built}: {type(exc).__name__}; "
            "delete the file to have it built again, and install what requirements.lock names",
            path=str(built),
        ) from exc
