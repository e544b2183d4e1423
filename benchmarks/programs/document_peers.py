"""Documents as other converters make Markdown of them; run by `benchmarks.fidelity` with the Python of a peer's
environment: document_peers.py PEER FOLDER SECONDS FILE...

Writes FOLDER/NAME.md for each file, or FOLDER/NAME.error with the reason. Each file has a process of its own, which is
ended after SECONDS; what a peer loads at first is loaded once. Each library is used as its documentation shows. Imports
nothing of this project.
"""

# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

_READ_BY_PANDOC = {
    *(".docx", ".xlsx", ".pptx", ".odt", ".rtf", ".epub", ".fb2", ".html", ".htm", ".xhtml", ".ipynb", ".md", ".txt"),
    *(".csv", ".tsv", ".tex", ".latex", ".rst", ".org", ".adoc", ".asciidoc", ".typ", ".dj", ".dbk", ".opml", ".bib"),
}
Convert = Callable[[Path], str]


def markitdown() -> Convert:
    from markitdown import MarkItDown

    converter = MarkItDown(enable_plugins=False)
    return lambda path: converter.convert(path).text_content


def docling() -> Convert:
    from docling.pipeline.simple_pipeline import SimplePipeline

    # Its converter imports the pipelines of sound and film, and these torch (5.9 GB). No case is a sound or a film.
    for kind in ("Asr", "Video"):
        module: Any = types.ModuleType(f"docling.pipeline.{kind.lower()}_pipeline")
        setattr(module, f"{kind}Pipeline", SimplePipeline)
        sys.modules[module.__name__] = module
    from docling.document_converter import DocumentConverter

    converter = DocumentConverter()
    return lambda path: converter.convert(path).document.export_to_markdown()


def pandoc() -> Convert:
    import pypandoc

    program = str(pypandoc.get_pandoc_path())

    def convert(path: Path) -> str:
        # It knows the format by the extension. Any other file it reads as Markdown, for a photo in minutes.
        if path.suffix.lower() not in _READ_BY_PANDOC:
            raise RuntimeError("not a format of pandoc")
        done = subprocess.run([program, path, "--to=gfm", "--wrap=none"], check=False, capture_output=True)
        if done.returncode:
            raise RuntimeError(done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}")
        return done.stdout.decode()

    return convert


def unstructured() -> Convert:
    import spacy
    from spacy.language import Language
    from unstructured.nlp import tokenize
    from unstructured.partition.auto import partition
    from unstructured.staging.base import elements_to_md

    @Language.component("each-word-a-verb")
    def each_word_a_verb(text: Any) -> Any:
        for token in text:
            if token.text.isalpha():
                token.tag_ = "VB"
        return text

    def model() -> Any:
        language = spacy.blank("en")
        language.add_pipe("sentencizer")
        language.add_pipe("each-word-a-verb")
        return language

    # It downloads a language model from GitHub, to find out whether a paragraph has a verb or is a heading. Offline, a
    # model stands in that finds one in each: no paragraph becomes a heading for the lack of a model.
    tokenize._load_spacy_model = model
    return lambda path: elements_to_md(partition(filename=str(path), strategy="fast"))


PEERS: dict[str, Callable[[], Convert]] = {peer.__name__: peer for peer in (markitdown, docling, pandoc, unstructured)}


def main(peer: str, folder: Path, seconds: float, paths: list[Path]) -> None:
    """Convert each of *paths* in a process of its own."""
    convert = PEERS[peer]()
    for path in paths:
        target = folder / f"{path.name}.md"
        child = os.fork()
        if child == 0:
            _convert(convert, path, target)
        if not _ends_within(child, seconds):
            target.with_suffix(".error").write_text(f"not done after {seconds:.0f} s")


def _convert(convert: Convert, path: Path, target: Path) -> None:
    os.setpgid(0, 0)
    try:
        text = convert(path)
        target.write_text(text, encoding="utf-8", errors="replace")
    except BaseException as error:  # noqa: BLE001 - whatever it is, the file is not read
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), "")
        target.with_suffix(".error").write_text(f"{type(error).__name__}: {reason.strip()[:300]}", encoding="utf-8")
    os._exit(0)


def _ends_within(child: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return True
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), [Path(path) for path in sys.argv[4:]])
