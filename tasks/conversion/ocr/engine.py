"""Recognition of the lines in a picture, by rapidocr and the models in its wheel.

Owns how rapidocr is called: one thread, models from the package, and little enough memory for a worker's limit. It is
imported on first use; `installed` answers without that.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from blocks.errors import InvalidOptions
from blocks.runtime.onnx_runtime import onnx_runtime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INSTALL = "pip install waybill[ocr]"
# The longer side of a picture (pixels) as lines are read from it: A4 at 205 dpi, where 8 points are 23 pixels high.
MOST_PIXELS = 2400
# As lines are looked for in it. Twice as much takes 400 MiB more and finds the same lines.
_DETECTION_PIXELS = 960
# What a batch of lines saves in time is little; each line more is 10 MiB.
_BATCH = 1
_UPSIDE_DOWN = "180"
# A box that is as much higher than wide holds a line that runs up or down; rapidocr turns it by the same rule.
_UPRIGHT_RATIO = 1.5


@dataclass(frozen=True, slots=True)
class Line:
    """A recognised line with its box (pixels from the upper left corner of the upright page)."""

    text: str
    confidence: float
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        """How high the box is."""
        return self.bottom - self.top


@cache
def installed() -> str | None:
    """Return the name and version of the recogniser, None if the extra is not installed. Imports nothing."""
    if importlib.util.find_spec("rapidocr") is None or importlib.util.find_spec("PIL") is None:
        return None
    return f"rapidocr {importlib.metadata.version('rapidocr')}"


def recognise(picture: NDArray[np.uint8]) -> list[Line]:
    """Return the lines of *picture* (height, width, 3), of an upright page also where the picture is turned.

    Raises `InvalidOptions` without the extra, and `MemoryError`.
    """
    engine = _engine()
    try:
        # First which way up the page is, from all of its lines; a short line alone ("9") is turned wrongly.
        found = engine(picture, use_cls=True, use_rec=False)
        if found.boxes is None:
            return []
        turns = _turns(found.boxes, engine.labels)
        found = engine(_turned(picture, turns), use_cls=False, use_rec=True)
    except MemoryError:
        raise
    except Exception as exc:
        # onnxruntime and OpenCV have no type for it.
        if any(words in str(exc).lower() for words in ("alloc", "memory")):
            raise MemoryError(str(exc)[:200]) from exc
        raise
    if found.boxes is None or found.txts is None:
        return []
    lines = (_line(*line) for line in zip(found.boxes, found.txts, found.scores, strict=True))
    return [line for line in lines if line.text]


@cache
def _engine() -> Any:
    if installed() is None:
        raise InvalidOptions(f"text recognition is not installed; {INSTALL}")
    # OpenCV's own copy of OpenBLAS reserves 30 MiB a thread, and a worker's memory is limited.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    onnx_runtime()  # which rapidocr imports
    import cv2
    import rapidocr

    cv2.setNumThreads(1)
    engine: Any = rapidocr.RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.max_side_len": MOST_PIXELS,
            "Det.limit_type": "max",
            "Det.limit_side_len": _DETECTION_PIXELS,
            "Rec.rec_batch_num": _BATCH,
            "Cls.cls_batch_num": _BATCH,
            "EngineConfig.onnxruntime.intra_op_num_threads": 1,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )
    turn: Any = engine.cls_and_rotate

    def noted(lines: Any) -> Any:
        """Remember which lines were upside down: rapidocr turns them, and does not say so."""
        turned, result = turn(lines)
        engine.labels = tuple(str(label) for label, _ in result.cls_res or ())
        return turned, result

    engine.labels = ()
    engine.cls_and_rotate = noted
    return engine


def _turns(boxes: Any, labels: tuple[str, ...]) -> int:
    """Return by how many quarters, against the clock, the picture must be turned for its lines to be upright."""
    standing = sum(1 for box in boxes if _size(box)[1] >= _UPRIGHT_RATIO * _size(box)[0])
    upside_down = 2 * sum(label == _UPSIDE_DOWN for label in labels) > len(labels)
    return (1 if 2 * standing > len(boxes) else 0) + (2 if upside_down else 0)


def _size(box: Any) -> tuple[float, float]:
    (x0, y0), (x1, y1) = box.min(axis=0), box.max(axis=0)
    return float(x1 - x0), float(y1 - y0)


def _turned(picture: NDArray[np.uint8], turns: int) -> NDArray[np.uint8]:
    import numpy as np

    return np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture


def _line(box: Any, text: str, score: float) -> Line:
    (left, top), (right, bottom) = box.min(axis=0), box.max(axis=0)
    return Line(text.strip(), float(score), float(left), float(top), float(right), float(bottom))
