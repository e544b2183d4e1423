"""The page's templates and files are in the wheel, and all that its templates name is there."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from waybill.gateway.pages.static_files import HTMX, static_files, static_url

PAGES = Path("waybill/gateway/pages")
# As npm has it: htmx.org 2.0.11, dist/htmx.min.js.
HTMX_SHA256 = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"


def test_a_wheel_has_every_template_and_file_of_the_page(tmp_path: Path) -> None:
    command = [
        sys.executable, "-c",
        "from setuptools import build_meta; import sys; print(build_meta.build_wheel(sys.argv[1]))", str(tmp_path),
    ]  # fmt: skip
    copy = tmp_path / "checkout"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "waybill", "pyproject.toml", "README.md", "LICENSE"], capture_output=True, check=True
    )
    for name in tracked.stdout.decode().split("\0")[:-1]:
        if Path(name).exists():  # not one that was removed and is not committed yet
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(Path(name).read_bytes())
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        inside = set(packed.namelist())
    wanted = {str(path) for folder in ("templates", "static") for path in (PAGES / folder).iterdir()}
    assert len(wanted) > 20 and wanted <= inside, wanted - inside


def test_what_templates_name_is_there() -> None:
    for template in (PAGES / "templates").glob("*.html"):
        text = template.read_text(encoding="utf-8")
        for name in re.findall(r"static_url\('([^']+)'\)", text):
            assert static_url(name).startswith(f"/static/{name}?v=")
        for name in re.findall(r'{% (?:include|extends) "([^"]+)"', text):
            assert (PAGES / "templates" / name).exists(), (template, name)
        # The policy of the page would keep them from working.
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script>|\|\s*safe", text), template


def test_htmx_is_as_its_authors_released_it_and_its_licence_is_with_it() -> None:
    assert hashlib.sha256(static_files()[HTMX].content).hexdigest() == HTMX_SHA256
    assert b"Zero-Clause BSD" in static_files()["htmx-LICENSE.txt"].content
