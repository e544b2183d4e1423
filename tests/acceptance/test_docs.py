"""The documentation as its readers use it: links lead somewhere, commands work, examples are what is printed.

The pages are run in a folder like the project's root: `make run` has been there and `waybill up` is running. One shell
per page, its blocks in order. Only ports 4200, 8000, 8001 and 8002 and folders under ``/srv`` are exchanged.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from tests import stored
from tests.forked_commands import write_program
from tests.stack_driver import plain_environment, unused_port
from waybill.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
# The longest first.
RUN = (
    "quickstart.md", "command-line.md", "encryption.md", "webhooks.md", "storage.md", "stages.md", "links.md",
    "transfers.md", "watching.md", "configuration.md", "http.md", "exports.md", "retention.md", "monitoring.md",
    "security.md", "README.md", "search.md",
)  # fmt: skip
# All of them, also those that another page has made and not used yet.
REVOKES_LINKS = "links.md"
# Starting the servers and processing the samples, on a machine that does other things too.
PATIENCE_SECONDS = 300
# The commands of one block of a page there.
_BLOCK_SECONDS = 60
pytestmark = pytest.mark.timeout(1500)

_BLOCK = re.compile(r"^```([\w-]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_CURL = """#!{python}
# Stands in for curl where there is none: -s, -f, -X, -H, -d, -K with a user, and a URL.
import base64, getopt, sys, urllib.request
given, (url,) = getopt.gnu_getopt(sys.argv[1:], "sfX:H:d:K:")
options = dict(given)
headers = dict(value.split(": ", 1) for name, value in given if name == "-H")
if "-K" in options:
    user = open(options["-K"]).read().split('"')[1]
    headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()
data = options["-d"].encode() if "-d" in options else None
request = urllib.request.Request(url, data, headers, method=options.get("-X"))
sys.stdout.buffer.write(urllib.request.urlopen(request).read())
"""


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, *kinds: str) -> list[tuple[int, str, str]]:
    """Line, kind and text of the page's fenced blocks of these kinds."""
    text = path.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, found.start()) + 2, found[1], found[2])
        for found in _BLOCK.finditer(text)
        if found[1] in kinds
    ]


# Links ----------------------------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    text = _BLOCK.sub("", path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(text)}


def test_relative_links_lead_somewhere(subtests: pytest.Subtests) -> None:
    for page in PAGES:
        with subtests.test(named(page)):
            for target, anchor in _LINK.findall(_BLOCK.sub("", page.read_text(encoding="utf-8"))):
                path = (page.parent / target).resolve() if target else page
                assert path.exists(), f"{named(page)} links to {target}"
                if anchor:
                    assert anchor in anchors(path), f"{named(page)} links to {target}#{anchor}"


def test_every_page_is_in_the_index_of_its_folder(subtests: pytest.Subtests) -> None:
    for page in [page for page in PAGES if page.name != "README.md"]:
        with subtests.test(named(page)):
            assert f"]({page.name})" in (page.parent / "README.md").read_text(encoding="utf-8")


# Commands that are shown ----------------------------------------------------------------------------------------------


def shown_commands() -> list[tuple[str, list[str]]]:
    """Where it stands, and the words, of each simple command behind a ``$``."""
    found: list[tuple[str, list[str]]] = []
    for page in PAGES:
        for line, _, text in blocks(page, "console"):
            for offset, shown in enumerate(text.splitlines()):
                assert shown.startswith("$ "), f"{named(page)}:{line + offset} shows no command"
                found += [(f"{named(page)}:{line + offset}", words) for words in simple_commands(shown[2:])]
    return found


def simple_commands(line: str) -> Iterator[list[str]]:
    """The commands of a shell line without its assignments and redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for token in [*lexer, ";"]:
        if set(token) <= set(";|&"):
            while words and (words[0] == "export" or re.match(r"[A-Z_]+=", words[0])):
                words.pop(0)
            if words:
                yield words
            words = []
        elif token != ">" and not (words and words[-1] == ">"):
            words.append(token)


def test_shown_commands_exist(subtests: pytest.Subtests) -> None:
    for where, words in shown_commands():
        with subtests.test(where):
            program, *arguments = words
            if program == "waybill":
                parse(arguments)
            elif program == "make":
                targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
                assert set(arguments) <= set(targets), where
            elif program in {"cp", "docker", "kubectl", ".venv/bin/python"}:
                # Not run here, but what they read of this project is there. The first writes the settings.
                read = [word for word in arguments if word.startswith("deploy/") and word != "deploy/.env"]
                assert all((ROOT / word).exists() for word in read), where
            else:
                assert program in {"git", "cd", "echo", "prefect", "age"}, (
                    f"{where} shows {program}, which nobody checks"
                )


def parse(arguments: list[str]) -> None:
    """Let the command line read *arguments* without doing anything; raises what it would tell a person."""
    command: Any = typer.main.get_command(app)
    name = "waybill"
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        command = command.commands[name]
    command.make_context(name, arguments, resilient_parsing=False)


# Commands that are run ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reader:
    """A person in the project's root, with everything running."""

    root: Path
    # What is written on the pages, and what it is here.
    ports: dict[int, int]
    environment: dict[str, str]
    # What each page prints, or why it failed. Two pages at a time: most of it is one process starting after another.
    reading: dict[str, Future[str]] = field(default_factory=dict[str, "Future[str]"])

    def printed(self, name: str) -> str:
        """What the blocks of a page print."""
        return self.reading[name].result()

    def follow_after(self, page: Path, others: Iterable[Future[str]]) -> str:
        """The same as `follow`, when the *others* have ended."""
        wait(others)
        return self.follow(page)

    def follow(self, page: Path) -> str:
        """Run the page's blocks; what they print."""
        runnable = blocks(page, "bash", "python")
        assert runnable, f"{named(page)} has nothing to run"
        script = "\n".join(self._step(page, *block) for block in runnable)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.root, env=self.environment, capture_output=True, text=True,
            timeout=max(PATIENCE_SECONDS, _BLOCK_SECONDS * len(runnable)),
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def outputs(self) -> list[bytes]:
        """The content of every stage output that the pages' commands have made."""
        home = self.root / ".waybill"
        # A rotation moves them all, and some pages show how files are removed.
        wait(self.reading.values())
        self.printed("encryption.md")
        return [stored.content(home, blob) for blob in stored.blobs(home)]

    def _step(self, page: Path, line: int, kind: str, text: str) -> str:
        text = text.replace('"/srv/', f'"{self.root}/srv/')
        for written, real in self.ports.items():
            text = re.sub(rf"\b{written}\b", str(real), text)
        if kind == "python":
            api = f"PREFECT_API_URL=http://127.0.0.1:{self.ports[4200]}/api"
            login = 'PREFECT_API_AUTH_STRING="$(cat .waybill/prefect-api-auth)"'
            text = f"{api} {login} python - <<'END-OF-PYTHON'\n{text}END-OF-PYTHON\n"
        return f"echo '== {named(page)}:{line}' >&2\n{text}"


@pytest.fixture(scope="module")
def reader(run_folder: Path) -> Iterator[Reader]:
    # Not pytest's tmp_path: its names are longer than the path of a socket may be.
    root = Path(tempfile.mkdtemp(prefix="waybill-docs-"))
    for name in ("samples", "docs"):
        (root / name).symlink_to(ROOT / name)
    (root / ".venv").symlink_to(sys.prefix)
    programs, user = root / "bin", root / "user"
    for folder in (programs, user):
        folder.mkdir()
    if shutil.which("curl") is None:
        (programs / "curl").write_text(_CURL.format(python=sys.executable))
        (programs / "curl").chmod(0o755)
    inherited = plain_environment()
    path = f"{root}/.venv/bin:{inherited['PATH']}:{programs}"
    environment = {
        **inherited, "PATH": path, "HOME": str(user), "COLUMNS": "200",
        # What http.md asks for.
        "WAYBILL_ALLOW_PRIVATE_WEBHOOKS": "loopback",
    }  # fmt: skip
    ports = unused_ports(4200, 8001, 8002)
    log = root / "up.log"
    with log.open("wb") as written:
        up = subprocess.Popen(
            ["waybill", "up", "--port", "0", "--ui-port", str(ports[4200])],
            cwd=root, env=environment, stdin=subprocess.DEVNULL, stdout=written, stderr=written,
        )  # fmt: skip
    try:
        wait_until_told(up, log, "serving the flows")
        # What `make run` does once everything is installed.
        assert "\t$(BIN)/waybill process samples/\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
        subprocess.run(
            ["waybill", "process", "samples/"],
            cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        wait_until_told(up, log, "Ctrl-C")
        ports[8000] = int((root / ".waybill" / "gateway-url").read_text().strip().rpartition(":")[2])
        pages_programs = root / "forked"
        pages_programs.mkdir()
        write_program(pages_programs / "waybill", run_folder)
        found = Reader(root, ports, {**environment, "PATH": f"{pages_programs}:{path}"})
        with ThreadPoolExecutor(max_workers=2) as pages:
            others = {name: pages.submit(found.follow, page(name)) for name in RUN if name != REVOKES_LINKS}
            found.reading.update(others)
            found.reading[REVOKES_LINKS] = pages.submit(found.follow_after, page(REVOKES_LINKS), others.values())
            yield found
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(timeout=PATIENCE_SECONDS)
    assert up.returncode == 0
    shutil.rmtree(root)


def unused_ports(*written: int) -> dict[int, int]:
    """Another port for each of these."""
    found: dict[int, int] = {}
    while len(found) < len(written):
        if (port := unused_port()) not in found.values():
            found[written[len(found)]] = port
    return found


def wait_until_told(up: subprocess.Popen[bytes], log: Path, words: str) -> None:
    """Wait until *up* has written *words* to its *log*."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while words not in log.read_text():
        assert up.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def page(name: str) -> Path:
    return ROOT / "docs" / name


def test_the_quickstart_works_as_printed(reader: Reader) -> None:
    printed = reader.printed("quickstart.md")
    assert "14 of 14 documents completed" in printed
    assert "; 0 files made, 84 reused." in printed


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "stages.md",
        "storage.md",
        "configuration.md",
        "links.md",
        "webhooks.md",
        "http.md",
        "search.md",
        "exports.md",
        "monitoring.md",
        "watching.md",
    ],
)
def test_the_commands_of_a_page_work_as_printed(reader: Reader, name: str) -> None:
    reader.printed(name)


def test_the_json_on_the_command_line_page_is_what_its_commands_print(reader: Reader) -> None:
    printed = [*json_objects(reader.printed("command-line.md"))]
    for line, _, text in blocks(page("command-line.md"), "json"):
        example = json.loads(text)
        assert any(has_form(real, example) for real in printed), f"no command prints what line {line} shows"


def json_objects(text: str) -> Iterator[dict[str, Any]]:
    decoder, start = json.JSONDecoder(), 0
    while (found := re.compile(r"^\{", re.MULTILINE).search(text, start)) is not None:
        value, start = decoder.raw_decode(text, found.start())
        yield value


def has_form(real: Any, example: Any) -> bool:
    """Whether *real* has exactly the example's keys, all the way down; a key ``...`` stands for further ones."""
    if isinstance(example, dict):
        if not isinstance(real, dict):
            return False
        keys = example.keys() - {"..."}
        exact = keys == real.keys() or ("..." in example and keys <= real.keys())
        return exact and all(has_form(real[key], example[key]) for key in keys)
    if isinstance(example, list):
        return isinstance(real, list) and all(any(has_form(one, part) for one in real) for part in example)
    return real is None or example is None or isinstance(real, type(example)) or isinstance(example, type(real))


# The form of the outputs ----------------------------------------------------------------------------------------------


def described_fields(section: str) -> set[str]:
    """The fields that the first table of a section of the page on stages names, without options."""
    text = page("stages.md").read_text(encoding="utf-8").split(f"\n## {section}\n", 1)[1].split("<!-- options", 1)[0]
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {field for row in rows for field in re.findall(r"`([^`]+)`", row)}


def fields(value: Any, inside: str = "") -> set[str]:
    """Paths such as ``chunks[].id``. What lies in `document` and `options` is described in words."""
    if isinstance(value, dict) and inside not in {"document.", "options."}:
        return {path for key, item in value.items() for path in fields(item, f"{inside}{key}.")}
    if value == []:
        return set()  # whatever it would hold
    if isinstance(value, list) and isinstance(value[0], dict):
        return {path for item in value for path in fields(item, f"{inside.removesuffix('.')}[].")}
    return {inside.removesuffix(".")}


@pytest.mark.parametrize(
    ("section", "schema"),
    [("3 chunker", "chunks/1"), ("4 fact-generator", "facts/1"), ("5 ingestor", "ingestion/1")],
)
def test_the_fields_of_an_output_are_those_on_the_page(reader: Reader, section: str, schema: str) -> None:
    real: set[str] = set()
    for content in reader.outputs():
        if content.startswith(b"{"):
            output = json.loads(content)
            real |= fields(output) if output["schema"] == f"waybill.{schema}" else set()
    assert real == described_fields(section)


def test_the_yaml_header_is_as_described(reader: Reader) -> None:
    example = yaml.safe_load(blocks(page("stages.md"), "yaml")[0][2].strip().strip("-"))
    headers = [
        yaml.safe_load(content.decode().split("---\n", 2)[1])
        for content in reader.outputs()
        if content.startswith(b"---\n")
    ]
    assert list(example) in [list(header) for header in headers]
    assert set(example) == described_fields("1 markdown-conversion") - {"original_NAME"}
