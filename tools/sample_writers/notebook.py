"""IPYNB samples (nbformat 4.5): text cells as they stand, code cells with the output that they really give."""

from __future__ import annotations

import contextlib
import io
import json
import re
from typing import Any

_FENCE = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def write_notebook(source: str, *, language: str) -> bytes:
    """The notebook of a Markdown text: each Python fence becomes a code cell and is run, in order, in one namespace."""
    cells: list[dict[str, Any]] = []
    namespace: dict[str, Any] = {}
    # An odd number of pieces: text, code, text, ... , text.
    for position, piece in enumerate(_FENCE.split(source)):
        if not piece.strip():
            continue
        identifier = f"cell-{len(cells) + 1:02}"
        if position % 2:
            count = sum(cell["cell_type"] == "code" for cell in cells) + 1
            cells.append(_code_cell(piece.strip(), identifier, count, namespace))
        else:
            cells.append({"cell_type": "markdown", "id": identifier, "metadata": {}, "source": _lines(piece.strip())})
    notebook = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "language": language,
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return (json.dumps(notebook, ensure_ascii=False, indent=1) + "\n").encode()


def _code_cell(code: str, identifier: str, count: int, namespace: dict[str, Any]) -> dict[str, Any]:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, identifier, "exec"), namespace)  # noqa: S102 - this project's own text
    output = {"output_type": "stream", "name": "stdout", "text": _lines(printed.getvalue())}
    return {
        "cell_type": "code",
        "id": identifier,
        "metadata": {},
        "execution_count": count,
        "source": _lines(code),
        "outputs": [output] if printed.getvalue() else [],
    }


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)
