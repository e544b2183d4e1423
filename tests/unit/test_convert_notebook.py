"""Stage 1 on notebooks: what is not a matter of one document's right value, which `tests/fidelity` has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from blocks.errors import NoText, UnreadableDocument
from tasks.conversion.notebook.markdown_piece import closed
from tests.unit import conversion_samples as samples


def notebook(*cells: dict[str, Any], **metadata: Any) -> str:
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def code(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "execution_count": 1, "source": source, "outputs": outputs}


def shown(**data: str) -> dict[str, Any]:
    forms = {name.replace("_", "/"): value for name, value in data.items()}
    return {"output_type": "display_data", "metadata": {}, "data": forms}


def body_of(tmp_path: Path, content: str) -> str:
    return samples.split(samples.convert(samples.write(tmp_path / "a.ipynb", content)))[1]


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        ("$\\displaystyle x^{2}$", "$$x^{2}$$"),
        ("$$\\sum_{i} x_{i}$$", "$$\\sum_{i} x_{i}$$"),
        ("\\begin{equation}x\\end{equation}", "$$\\begin{equation}x\\end{equation}$$"),
        ("the mean $\\bar{x}$ and $n$", "the mean $\\bar{x}$ and $n$"),
    ],
)
def test_a_formula_is_kept_as_one(tmp_path: Path, latex: str, expected: str) -> None:
    output = shown(text_latex=latex, text_plain="x", image_png="AA==")
    assert body_of(tmp_path, notebook(code("show", output))) == f"```\nshow\n```\n\n{expected}"


def test_long_outputs_are_cut_with_a_warning(tmp_path: Path) -> None:
    output = {"output_type": "stream", "name": "stdout", "text": "line of a loop\n" * 200_000}
    made = samples.convert(samples.write(tmp_path / "a.ipynb", notebook(code("loop()", output))))
    assert 1 << 20 <= len(made.content) < (1 << 20) + 1_000
    assert made.warnings == ("outputs longer than 1048576 characters were cut",)


def test_a_notebook_without_words_does_not_speak_of_scans(tmp_path: Path) -> None:
    with pytest.raises(NoText, match="cells are empty or have only pictures"):
        body_of(tmp_path, notebook(code("", shown(image_png="AA==")), kernelspec={"language": "python"}))


@pytest.mark.parametrize(
    "content", ['{"cells": [{"cell_type": "markdown", "nbformat": 4', '{"cell_type": "nbformat", "a":' + "[" * 200_000]
)
def test_a_damaged_notebook_is_refused(tmp_path: Path, content: str) -> None:
    path = samples.write(tmp_path / "a.ipynb", content)
    with pytest.raises(UnreadableDocument, match="not valid JSON"):
        samples.convert(path)


def test_what_is_no_cell_or_output_is_passed_over(tmp_path: Path) -> None:
    cells: list[Any] = [None, 3, {"cell_type": "markdown", "source": ["Some ", 4, "words"]}, {"cell_type": "code"}]
    content = json.dumps({"cells": cells, "metadata": [], "nbformat": "four"})
    assert body_of(tmp_path, content) == "Some words"


def test_an_open_piece_is_closed() -> None:
    assert closed("a\n```\nb") == "a\n```\nb\n```"
    assert closed("a\n~~~~\n```\nb\n~~~~") == "a\n~~~~\n```\nb\n~~~~"
    assert closed("a <!-- b") == "a <!-- b -->"
