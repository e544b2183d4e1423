"""Stage 3 as the runner calls it: its output, its options, and what it refuses."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from blocks.embedding import EMBEDDING_MODEL
from blocks.embedding.model import ensure_model
from blocks.embedding.vectors import embed
from blocks.errors import EmptyDocument, UnreadableDocument
from tasks.chunk import CHUNK, ChunkOptions, run
from tasks.contract import DocumentInfo, Services, StageInput

WORDS = "custody artifact ledger release carrier manifest courier depot parcel receipt".split()  # noqa: SIM905


def prose(words: int, seed: int = 0) -> str:
    chosen = random.Random(seed).choices(WORDS, k=words)
    sentences = [" ".join(chosen[start : start + 9]).capitalize() + "." for start in range(0, words, 9)]
    return " ".join(sentences)


MARKDOWN = (
    f"---\ntitle: Ledger\nsource: ledger.docx\nsha256: {'b' * 64}\ntype: application/x\npages: 3\nlanguage: en\n---\n"
    + (f"# Parcels\n\nThe depot keeps every parcel in custody until it goes. {prose(300)}\n")
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    ensure_model(folder / "models")
    return folder


def stage_input(home: Path, tmp_path: Path, content: bytes, name: str = "markdown-conversion") -> StageInput:
    path = tmp_path / "input.md"
    path.write_bytes(content)
    document = DocumentInfo(
        name="ledger.docx", sha256="a" * 64, size_bytes=1, media_type="application/msword", source="/tmp/ledger.docx"
    )
    return StageInput(document=document, files={name: path}, services=Services(home=home))


def output(home: Path, tmp_path: Path, markdown: str, **options: Any) -> dict[str, Any]:
    made = run(stage_input(home, tmp_path, markdown.encode()), ChunkOptions(**options))
    return json.loads(made.content)


def test_the_output_has_the_documented_form(home: Path, tmp_path: Path) -> None:
    found = output(home, tmp_path, MARKDOWN)
    assert found["schema"] == "waybill.chunks/1"
    assert found["document"] == {
        "title": "Ledger",
        "source": "ledger.docx",
        "sha256": "a" * 64,
        "type": "application/x",
        "pages": 3,
        "language": "en",
        "created": None,
    }
    assert found["summary"].split(". ")[0] in MARKDOWN
    assert (found["embedding_model"], found["dimensions"]) == (EMBEDDING_MODEL, 384)
    assert found["tokens"] == sum(chunk["tokens"] for chunk in found["chunks"])
    assert found["options"]["max_tokens"] == 250
    for ordinal, chunk in enumerate(found["chunks"]):
        assert chunk["ordinal"] == ordinal and chunk["heading_path"] == ["Parcels"]
        assert chunk["context"] == ("Ledger > Parcels" if ordinal else "Ledger")
        assert MARKDOWN[chunk["start"] : chunk["end"]] == chunk["text"]
        assert sum(value**2 for value in chunk["embedding"]) == pytest.approx(1, abs=1e-3)
    assert len({chunk["id"] for chunk in found["chunks"]}) == len(found["chunks"])


def test_a_chunk_is_found_again_by_its_vector(home: Path, tmp_path: Path) -> None:
    text = f"{MARKDOWN}\n## Opening hours\n\nWe open at nine in the morning and close at noon on Saturdays.\n"
    found = output(home, tmp_path, text)["chunks"]
    (question,) = embed(["When can I come on the weekend?"], models=home / "models")
    best = max(found, key=lambda chunk: sum(a * b for a, b in zip(question.tolist(), chunk["embedding"], strict=True)))
    assert "Saturdays" in best["text"]


def test_the_same_input_gives_the_same_bytes(home: Path, tmp_path: Path) -> None:
    given_input = stage_input(home, tmp_path, MARKDOWN.encode())
    assert run(given_input, ChunkOptions()).content == run(given_input, ChunkOptions()).content


def test_ids_stay_while_text_and_place_stay(home: Path, tmp_path: Path) -> None:
    before = output(home, tmp_path, MARKDOWN, embeddings=False)["chunks"]
    after = output(home, tmp_path, MARKDOWN + "\n# More\n\nOne more section.\n", embeddings=False)["chunks"]
    assert [chunk["id"] for chunk in after[: len(before)]] == [chunk["id"] for chunk in before]


def test_the_optimised_markdown_is_preferred(home: Path, tmp_path: Path) -> None:
    both = stage_input(home, tmp_path, b"# Optimised", "markdown-optimizer")
    plain = tmp_path / "plain.md"
    plain.write_text("# Converted")
    files = {"markdown-conversion": plain, **both.files}
    made = run(StageInput(document=both.document, files=files, services=both.services), ChunkOptions(embeddings=False))
    assert json.loads(made.content)["chunks"][0]["text"] == "# Optimised"


def test_without_embeddings_no_model_is_built(tmp_path: Path) -> None:
    found = output(tmp_path / "no-home", tmp_path, "Text.", embeddings=False)
    assert found["embedding_model"] is None and found["dimensions"] is None
    assert "embedding" not in found["chunks"][0]
    assert not (tmp_path / "no-home").exists()


def test_what_the_document_does_not_say_is_null_and_a_heading_is_a_title(home: Path, tmp_path: Path) -> None:
    document = output(home, tmp_path, "## First\n\nText.", embeddings=False)["document"]
    assert document["title"] == "First" and document["source"] == "ledger.docx"
    assert document["language"] is document["pages"] is document["created"] is None


@pytest.mark.parametrize("content", [b"", b" \n\t\n", b"---\ntitle: Only a header\n---\n \n"])
def test_a_document_without_text_is_refused(home: Path, tmp_path: Path, content: bytes) -> None:
    with pytest.raises(EmptyDocument):
        run(stage_input(home, tmp_path, content), ChunkOptions())


def test_bytes_that_are_not_utf8_are_refused_without_quoting_them(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UnreadableDocument, match="byte 2") as caught:
        run(stage_input(home, tmp_path, b"ab\xff\xfesecret"), ChunkOptions())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("language", ["de", "fr-CH", "zh", "ja", "ar", "xx", "eng", "", "\x00"])
def test_a_summary_is_made_in_any_language(home: Path, tmp_path: Path, language: str) -> None:
    body = "Die Bundesregierung hat am Montag ein Gesetz beschlossen. 机器学习是人工智能的一个子集。\n"
    found = output(home, tmp_path, f"---\nlanguage: '{language}'\n---\n{body}", embeddings=False)
    assert found["summary"] and len(found["summary"]) <= 600


def test_a_summary_is_the_documents_own_sentences_in_order(home: Path, tmp_path: Path) -> None:
    text = "\n\n".join(prose(60, seed) for seed in range(8))
    summary = output(home, tmp_path, text, embeddings=False)["summary"]
    places = [text.index(sentence + ".") for sentence in summary.rstrip(".").split(". ")]
    assert 1 <= len(places) <= 3 and places == sorted(places)


def test_a_table_alone_is_summed_up_by_its_columns(home: Path, tmp_path: Path) -> None:
    table = "| Year | Passengers |\n|---|---|\n| 2024 | 468500 |\n"
    assert output(home, tmp_path, table, embeddings=False)["summary"] == "Year, Passengers"


@pytest.mark.parametrize(
    "options",
    [
        {"max_tokens": 255},
        {"max_tokens": 31},
        {"max_tokens": 100, "min_tokens": 51},
        {"overlap_tokens": 126},
        {"min_tokens": -1},
        {"unknown": 1},
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ChunkOptions(**options)


def test_larger_chunks_are_possible_without_embeddings(home: Path, tmp_path: Path) -> None:
    assert len(output(home, tmp_path, prose(900), embeddings=False, max_tokens=4000)["chunks"]) == 1


def test_the_embedding_model_is_part_of_the_stages_identity(home: Path) -> None:
    assert CHUNK.identity is not None
    services = Services(home=home)
    assert CHUNK.identity(ChunkOptions(), services) == {"embedding_model": EMBEDDING_MODEL}
    assert CHUNK.identity(ChunkOptions(embeddings=False), services) == {}


def test_a_script_that_the_model_does_not_know_is_a_warning_and_has_chunks_of_the_usual_size(
    home: Path, tmp_path: Path
) -> None:
    thai = "รถไฟสายใหม่เปิดให้บริการเมื่อวันที่สิบสองมีนาคมและผู้โดยสารมากกว่าปีก่อน " * 200
    made = run(stage_input(home, tmp_path, f"---\ntitle: รถไฟ\n---\n\n{thai}\n".encode()), ChunkOptions())
    found = json.loads(made.content)
    assert "does not know the script" in made.warnings[0]
    assert max(len(chunk["text"]) for chunk in found["chunks"]) <= 4 * 250
    english = run(stage_input(home, tmp_path, MARKDOWN.encode()), ChunkOptions())
    assert english.warnings == ()


@pytest.mark.parametrize(("fence", "sign"), [("```text", "```"), ("````python", "````"), ("~~~text", "~~~")])
def test_a_chunk_that_begins_inside_a_code_block_says_so(home: Path, tmp_path: Path, fence: str, sign: str) -> None:
    rows = "\n".join(f"{number}    {number * 7} kg   braked" for number in range(200))
    markdown = f"---\ntitle: T\n---\n\nBefore it.\n\n{fence}\n{rows}\n{sign}\n\nAfter it. {prose(100)}\n"
    found = output(home, tmp_path, markdown, embeddings=False)["chunks"]
    assert len(found) > 3
    for chunk in found:
        assert markdown[chunk["start"] : chunk["end"]] == chunk["text"]
        begins_inside = chunk["text"].lstrip()[0].isdigit()
        assert chunk.get("inside") == (fence if begins_inside else None)
