"""Image files as pictures to be read: bounded in pixels, upright by their own mark, on white.

Owns the calls to Pillow. A picture is made smaller while it is read, so that a large one costs little more than its
bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocks.errors import TooLarge, UnreadableDocument
from tasks.conversion.ocr.engine import MOST_PIXELS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A3 at 600 dpi in shades of grey is 70 million; in colour 210 million would not fit a worker's memory.
_MOST_BYTES = 128 * 1024 * 1024
# Formats whose frames are pages; those of a GIF are a film.
_PAGED = frozenset({"TIFF"})


def page_count(path: Path, shown: str) -> int:
    """Return how many pages an image file has. Raises `TooLarge` and `UnreadableDocument`."""
    with _opened(path, shown) as file:
        return _frames(file)


def pictures(path: Path, shown: str) -> Iterator[NDArray[np.uint8]]:
    """Yield each page of an image file (height, width, 3). Raises `TooLarge` and `UnreadableDocument`."""
    with _opened(path, shown) as file:
        for number in range(_frames(file)):
            file.seek(number)
            yield _picture(file, shown)


@contextmanager
def _opened(path: Path, shown: str) -> Generator[Any]:
    from PIL import Image, UnidentifiedImageError

    with warnings.catch_warnings():
        # Pillow warns about many pixels and about odd metadata; the limit is below.
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as file:
                yield file
        except Image.DecompressionBombError as exc:
            raise TooLarge(f"{shown!r} has too many pixels; make it smaller and send it again") from exc
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as exc:
            raise UnreadableDocument(f"{shown!r} could not be read as an image; check that it opens") from exc


def _frames(file: Any) -> int:
    return int(getattr(file, "n_frames", 1)) if file.format in _PAGED else 1


def _picture(file: Any, shown: str) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import Image, ImageOps

    width, height = file.size
    if file.format == "JPEG":
        file.draft(None, (MOST_PIXELS, MOST_PIXELS))
    size = file.size[0] * file.size[1] * (3 if file.mode == "P" else len(file.getbands()))
    if size > _MOST_BYTES:
        raise TooLarge(f"{shown!r} has {width} x {height} pixels; make it smaller and send it again")
    scale = MOST_PIXELS / max(file.size)
    # Neither can be made smaller well: both have values that are no shades.
    image: Any = file.convert(
        {"1": "L", "P": "RGBA" if "transparency" in file.info else "RGB"}.get(file.mode, file.mode)
    )
    if scale < 1:
        image = image.resize(
            (max(1, int(image.width * scale)), max(1, int(image.height * scale))),
            Image.Resampling.BILINEAR if image.mode in {"L", "RGB", "RGBA"} else Image.Resampling.NEAREST,
        )
    image = ImageOps.exif_transpose(image)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image)
        image = white
    return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
