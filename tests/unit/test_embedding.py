"""The embedding: same text, same vector; built once, whole, and again when damaged."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from blocks.embedding import BUILD_VERSION, BUILT_NAME, DIMENSIONS, EMBEDDING_MODEL
from blocks.embedding import model as embedding_model
from blocks.embedding.model import ensure_model
from blocks.embedding.tokenizer import MAX_TOKENS, count_tokens, model_input, token_offsets
from blocks.embedding.vectors import embed
from blocks.errors import EmbeddingModelUnavailable

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    ensure_model(folder)
    return folder


def test_vectors_have_unit_length_and_the_order_of_their_texts(models: Path) -> None:
    vectors = embed(["a red apple", "a green apple", "the stock exchange fell"], models=models)
    assert vectors.shape == (3, DIMENSIONS) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3


def test_meaning_decides_and_not_shared_words(models: Path) -> None:
    texts = [
        "How do I get my money back?",
        "Refunds are paid within fourteen days.",
        "The back of the house needs money.",
    ]
    question, refund, house = embed(texts, models=models)
    assert question @ refund > question @ house


def test_a_text_has_the_same_vector_alone_and_in_any_company(models: Path) -> None:
    texts = ["short", "a somewhat longer sentence about storage and custody", "long " * 400, "", "ünïcödé 中文"]
    together = embed(texts, models=models)
    reversed_order = embed(texts[::-1], models=models)[::-1]
    alone = np.concatenate([embed([text], models=models) for text in texts])
    assert np.array_equal(together, reversed_order) and np.array_equal(together, alone)


@pytest.mark.parametrize("program", ["vectors", "text recognition"])
def test_the_runtime_of_the_models_sends_no_telemetry(models: Path, tmp_path: Path, program: str) -> None:
    # Where it is on, there is the folder .cache/Microsoft in HOME, with an identifier of the device and a database.
    script = {
        "vectors": "from blocks.embedding.vectors import embed; embed(['a'], models=Path(sys.argv[1]))",
        "text recognition": "import numpy; from tasks.conversion.ocr.engine import recognise; "
        "recognise(numpy.full((200, 400, 3), 255, numpy.uint8))",
    }[program]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; from pathlib import Path; {script}", str(models)],
        env={name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"} | {"HOME": str(tmp_path)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert list(tmp_path.rglob("*")) == []
    assert (done.stdout, done.stderr) == ("", "")


def test_a_process_of_its_own_computes_the_same_bits(models: Path) -> None:
    text = "The same text in another process."
    script = (
        "import sys; from pathlib import Path; from blocks.embedding.vectors import embed;"
        "sys.stdout.buffer.write(embed([sys.argv[1]], models=Path(sys.argv[2])).tobytes())"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, text, models], cwd=REPOSITORY, capture_output=True, check=True
    )
    assert found.stdout == embed([text], models=models).tobytes()


def test_the_vectors_are_those_of_the_published_model(models: Path) -> None:
    """Similarities as the fp32 model gives them; int8 was within 0.05 on 50 texts of all lengths (rms 0.015)."""
    pairs = [
        ("That is a happy person", "That is a happy dog", 0.695),
        ("That is a happy person", "That is a very happy person", 0.943),
        ("That is a happy person", "Today is a sunny day", 0.257),
    ]
    for first, second, expected in pairs:
        a, b = embed([first, second], models=models)
        assert float(a @ b) == pytest.approx(expected, abs=0.05)


def test_no_texts_give_no_vectors(models: Path) -> None:
    assert embed([], models=models).shape == (0, DIMENSIONS)


def test_any_text_has_a_finite_vector(models: Path) -> None:
    texts = ["", " \n", "\x00", "a\ud800b", "[SEP] [MASK]", "x" * 100_000, "\u0301" * 500, "👩‍👩‍👧" * 300]
    assert np.isfinite(embed(texts, models=models)).all()


def test_special_tokens_in_a_text_are_words() -> None:
    cls, *between, sep = model_input("a [SEP] [CLS] b")
    assert cls not in between and sep not in between


def test_the_model_reads_no_more_than_its_positions() -> None:
    ids = model_input("word " * 1000)
    assert len(ids) == MAX_TOKENS + 2 and (ids[0], ids[-1]) == (101, 102)  # [CLS], [SEP] in vocab.txt


def test_tokens_are_counted_without_the_special_ones_and_without_a_cut() -> None:
    assert count_tokens(["", "one", "one two", "word " * 1000]) == [0, 1, 2, 1000]
    assert token_offsets("on e\u0301") == [(0, 2), (3, 4)]


def test_a_damaged_model_is_built_again(tmp_path: Path) -> None:
    built = ensure_model(tmp_path)
    whole = built.read_bytes()
    for damaged in (whole[:-1], whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:], b""):
        built.write_bytes(damaged)
        assert ensure_model(tmp_path).read_bytes() == whole
    built.unlink()
    assert ensure_model(tmp_path).read_bytes() == whole


def test_what_a_killed_builder_left_is_removed_and_replaced(tmp_path: Path) -> None:
    (tmp_path / f".{BUILT_NAME}.partial").write_bytes(b"half")
    (tmp_path / BUILT_NAME).write_bytes(b"a model whose checksum was never written")
    ensure_model(tmp_path)
    assert not list(tmp_path.glob("*.partial")) and not list(tmp_path.glob(".*.partial"))
    assert (tmp_path / BUILT_NAME).stat().st_size > 20_000_000


def test_a_complete_model_is_used_from_a_folder_that_nobody_may_write(models: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in models.iterdir()}
    assert ensure_model(models) == models / BUILT_NAME
    assert {path: path.stat().st_mtime_ns for path in models.iterdir()} == before


def _build(folder: str) -> int:
    return ensure_model(Path(folder)).stat().st_ino


def test_processes_that_ask_at_the_same_time_share_one_build(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        inodes = pool.map(_build, [str(tmp_path)] * 3, chunksize=1)
    assert len(set(inodes)) == 1
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted([BUILT_NAME, f"{BUILT_NAME}.sha256", f".{BUILT_NAME}.lock"])


def test_weights_that_are_not_the_published_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "package"
    fake.mkdir()
    (fake / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.setattr(embedding_model, "package_folder", lambda: fake)
    with pytest.raises(EmbeddingModelUnavailable, match="not the published model"):
        ensure_model(tmp_path / "models")
    assert not list((tmp_path / "models").glob("*.onnx"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EmbeddingModelUnavailable, match="must be writable"):
        ensure_model(tmp_path / "file" / "models")


@pytest.fixture
def unreadable_model(models: Path, tmp_path: Path) -> Iterator[Path]:
    """A file with the right checksum beside it that ONNX Runtime cannot read: built by a version it does not know."""
    import hashlib

    (tmp_path / BUILT_NAME).write_bytes(b"\x08\x7f not a model")
    (tmp_path / f"{BUILT_NAME}.sha256").write_text(hashlib.sha256(b"\x08\x7f not a model").hexdigest())
    yield tmp_path
    embed(["back to the good session"], models=models)


def test_a_model_that_the_runtime_does_not_read_is_our_error(unreadable_model: Path) -> None:
    with pytest.raises(EmbeddingModelUnavailable, match="does not read"):
        embed(["text"], models=unreadable_model)


def test_a_worker_that_embeds_stays_small(models: Path) -> None:
    """250 MiB is the budget of a worker that embeds; measured 110."""
    script = (
        "import sys; from pathlib import Path; from blocks.embedding.vectors import embed;"
        "embed(['word ' * n for n in range(1, 300, 12)], models=Path(sys.argv[1]));"
        "print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')))"
    )
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2"}
    command = [sys.executable, "-c", script, models]
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True, env=environment)
    assert int(found.stdout) < 250 * 1024


def test_the_id_of_the_model_and_its_file_name_the_build() -> None:
    assert f"int8.{BUILD_VERSION}" in EMBEDDING_MODEL
    assert f"int8.{BUILD_VERSION}" in BUILT_NAME
