"""Each input of the fidelity cases, damaged in a few places: it is read, or an error of ours says why not.

The damage is random with a fixed seed. In packages (zip) and markup it is in one part's XML: an element or an attribute
is dropped, doubled or given an impossible value; elsewhere in the bytes.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from blocks.errors import WaybillError
from tests.fidelity.case import INPUTS
from tests.unit import conversion_samples as samples

PACKAGES = {".docx", ".pptx", ".xlsx", ".odt", ".ods", ".epub"}
MARKUP = {".dbk", ".jats", ".fb2", ".html"}
BYTES = {".tex", ".adoc", ".org", ".rst", ".rtf", ".eml", ".ipynb", ".csv", ".md", ".txt"}
MUTANTS = 12
MAX_MESSAGE_CHARACTERS = 400  # the types that are supported take 330

_IMPOSSIBLE = [
    value.encode() for value in ("", "-1", "0", "99999999999", "NaN", "1e999", "²", "①", "9" * 5_000, "../x", " ")
]
_SIGNS = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"<",
    b">",
    b'"',
    b"\\",
    b"$",
    b"\n\n",
    b"|",
    b"---\n",
    b"```\n",
    b"\0",
    b"\xff",
    b"+\n",
]
_ELEMENT = re.compile(rb"<([\w:]+)(?:\s[^<>]*)?>")
_ATTRIBUTE = re.compile(rb'\s[\w:-]+="([^"<>]*)"')


def _damaged_markup(data: bytes, random: Random) -> bytes:
    found = list((_ELEMENT if random.random() < 0.5 else _ATTRIBUTE).finditer(data))
    if not found:
        return data
    chosen = random.choice(found)
    start, end = chosen.span()
    if chosen.re is _ATTRIBUTE:
        value = random.choice([*_IMPOSSIBLE, None])
        return data[:start] + data[end:] if value is None else data[: chosen.start(1)] + value + data[chosen.end(1) :]
    close = b"</" + chosen[1] + b">"
    if not chosen[0].endswith(b"/>"):
        end = data.find(close, end) + len(close)
    element = data[start:end] if end > start else b""
    return data[:start] + element * random.choice([0, 2, 5]) + data[max(start, end) :]


def _damaged_bytes(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data))
    end = at + random.choice([1, 8, 40])
    kind = random.randrange(4)
    if kind == 0:
        return data[:at] + data[end:]
    if kind == 1:
        return data[:at] + data[at:end] * 3 + data[end:]
    numbers = list(re.finditer(rb"\d+", data))
    if kind == 2 and numbers:
        chosen = random.choice(numbers)
        return data[: chosen.start()] + random.choice(_IMPOSSIBLE) + data[chosen.end() :]
    return data[:at] + random.choice(_SIGNS) + data[at:]


def _damaged(path: Path, random: Random) -> bytes:
    data = path.read_bytes()
    if path.suffix not in PACKAGES:
        return (_damaged_markup if path.suffix in MARKUP else _damaged_bytes)(data, random)
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as package, zipfile.ZipFile(written, "w") as damaged:
        members = [name for name in package.namelist() if not name.endswith("/")]
        chosen = random.choice([name for name in members if re.search(r"\.(?:xml|xhtml|rels|opf)$", name)])
        for name in members:
            content = package.read(name)
            damaged.writestr(name, _damaged_markup(content, random) if name == chosen else content)
    return written.getvalue()


def _mutants(suffix: str) -> Iterator[tuple[str, bytes]]:
    random = Random(suffix)
    paths = sorted(path for path in INPUTS.iterdir() if path.suffix == suffix)
    for number in range(MUTANTS):
        path = random.choice(paths)
        yield f"{number} of {path.name}", _damaged(path, random)


@pytest.mark.parametrize("suffix", sorted(PACKAGES | MARKUP | BYTES))
def test_a_damaged_document_is_read_or_refused(tmp_path: Path, suffix: str) -> None:
    read = 0
    for mutant, data in _mutants(suffix):
        path = samples.write(tmp_path / f"a{suffix}", data)
        try:
            made = samples.convert(path)
        except WaybillError as error:
            assert len(error.message) < MAX_MESSAGE_CHARACTERS, mutant
            continue
        optimised = samples.optimize(tmp_path / "a.md", made.content.decode())
        again = samples.optimize(tmp_path / "a.md", optimised.content.decode())
        assert again.content == optimised.content, mutant
        assert all(len(warning) < MAX_MESSAGE_CHARACTERS for warning in made.warnings), mutant
        read += 1
    assert read > MUTANTS // 3  # damage in one place leaves most of a document
