"""The order in which the boxes of a slide are read; pure.

A slide says where its boxes are and in which order they were made, and neither is the order of reading for sure. The
slide is cut along its gaps (a recursive XY cut): into rows from the top, and each row from the left. Where several rows
together have columns of two boxes or more, they may be read down or across; the order of making decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

# Boxes overlap a little at their edges, because text boxes have margins: 0.05 inch.
_OVERLAP_EMU = 45_720
# A slide with more is a drawing, whose labels have no order; the cuts take cubic time.
_MAX_BOXES = 200

_Order = list[int]


@dataclass(frozen=True, slots=True)
class Box:
    """The place of something on a slide, in EMU (914,400 to the inch)."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def bottom(self) -> int:
        return self.top + self.height


def reading_order(boxes: Sequence[Box]) -> list[int]:
    """Return the indexes of *boxes* in the order of reading; their own order is that of making."""
    indexes = list(range(len(boxes)))
    return _ordered(boxes, indexes) if len(boxes) <= _MAX_BOXES else _from_the_top(boxes, indexes)


def _ordered(boxes: Sequence[Box], indexes: _Order) -> _Order:
    rows = _rows(boxes, indexes)
    if len(rows) < 2:
        columns = _columns(boxes, indexes)
        if len(columns) < 2:  # no gap
            return _from_the_top(boxes, indexes)
        return [index for column in columns for index in _ordered(boxes, column)]
    order: _Order = []
    at = 0
    while at < len(rows):
        end = _end_of_columns(boxes, rows, at)
        block = [index for row in rows[at:end] for index in row]
        across = [index for row in rows[at:end] for index in _ordered(boxes, row)]
        down = (
            [index for column in _columns(boxes, block) for index in _ordered(boxes, column)]
            if end > at + 1
            else across
        )
        order += down if _inversions(down) < _inversions(across) else across
        at = end
    return order


def _from_the_top(boxes: Sequence[Box], indexes: _Order) -> _Order:
    return sorted(indexes, key=lambda index: (boxes[index].top, boxes[index].left))


def _end_of_columns(boxes: Sequence[Box], rows: Sequence[_Order], at: int) -> int:
    """Return the end of the longest run of rows from *at* that has columns of two boxes or more; else the next row."""
    for end in range(len(rows), at + 1, -1):
        columns = _columns(boxes, [index for row in rows[at:end] for index in row])
        if len(columns) > 1 and all(len(column) > 1 for column in columns):
            return end
    return at + 1


def _rows(boxes: Sequence[Box], indexes: _Order) -> list[_Order]:
    return _parts(indexes, lambda index: (boxes[index].top, boxes[index].bottom))


def _columns(boxes: Sequence[Box], indexes: _Order) -> list[_Order]:
    return _parts(indexes, lambda index: (boxes[index].left, boxes[index].right))


def _parts(indexes: _Order, extent: Callable[[int], tuple[int, int]]) -> list[_Order]:
    """Return *indexes* in groups that a gap separates along one direction, in its order."""
    groups: list[_Order] = []
    reached = 0
    for index in sorted(indexes, key=extent):
        start, end = extent(index)
        if groups and start < reached - _OVERLAP_EMU:
            groups[-1].append(index)
            reached = max(reached, end)
        else:
            groups.append([index])
            reached = end
    return [sorted(group) for group in groups]


def _inversions(order: _Order) -> int:
    """Return how many pairs are in another order than that of making."""
    return sum(1 for at, first in enumerate(order) for second in order[at + 1 :] if first > second)
