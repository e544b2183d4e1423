"""A dense page is read within the memory that a worker has by default."""

from __future__ import annotations

from pathlib import Path

from blocks.settings import Settings
from tasks.contract import SOURCE, DocumentInfo, Services
from tasks.job import Job
from tasks.pool import WorkerPool
from tests.stack_driver import PATIENCE_SECONDS

_LINE = "The keeper of lock {number} wrote {number}.5 metres into the book at 6:45 and went home."


def _page(path: Path) -> Path:
    """A4 at 200 dpi, 60 lines."""
    from PIL import Image, ImageDraw, ImageFont

    page = Image.new("L", (1654, 2339), "white")
    draw = ImageDraw.Draw(page)
    for number in range(60):
        draw.text((140, 120 + 35 * number), _LINE.format(number=number), font=ImageFont.load_default(26), fill="black")
    page.save(path)
    return path


async def test_a_dense_page_fits_the_default_limits_of_a_worker(tmp_path: Path) -> None:
    source = _page(tmp_path / "page.png")
    job = Job(
        stage_name="markdown-conversion",
        stage_key="k",
        document=DocumentInfo(
            name="page.png", sha256="0" * 64, size_bytes=1, media_type="image/png", source=str(source)
        ),
        files={SOURCE: source},
        options={},
        target=tmp_path / "page.md",
    )
    settings = Settings(home=tmp_path, workers=1, stage_timeout_seconds=PATIENCE_SECONDS)
    async with WorkerPool.open(settings, Services(home=tmp_path)) as pool:
        result = await pool.run(job)
    text = (tmp_path / "page.md").read_text()
    assert all(f"{number}.5 metres" in text for number in range(60))
    assert result.metadata["ocr_pages"] == [1]
