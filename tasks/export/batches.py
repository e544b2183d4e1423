"""Cut record batches so that few bytes are in memory at a time, whatever their source gives.

Forms that Arrow keeps small, such as a dictionary, are measured as what they become when they are decoded. Slices share
the memory of their batch; it is what writers make of them that has to stay small.
"""
# pyright: reportMissingTypeStubs=false, reportAttributeAccessIssue=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Arrow has no types for a checker.

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.export.source import BATCH_BYTES

types = pa.types


def bounded(batch: Any) -> Iterator[Any]:
    """Yield *batch* in slices that have at most `BATCH_BYTES` when they are decoded, or one row."""
    if batch.num_rows <= 1 or sum(map(decoded_bytes, batch.columns)) <= BATCH_BYTES:
        yield batch
        return
    half = batch.num_rows // 2
    yield from bounded(batch.slice(0, half))
    yield from bounded(batch.slice(half))


def decoded_bytes(array: Any) -> int:
    """Return how many bytes *array* has when it is decoded. An upper bound where counting would take long."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return decoded_bytes(array.storage)
    if types.is_dictionary(kind):
        return _of_dictionary(array)
    if types.is_run_end_encoded(kind):
        return len(array) * _widest(array.values)
    if types.is_string_view(kind) or types.is_binary_view(kind):
        whole: int = array.nbytes  # of all slices of its memory: only if that is too much, it is worth a copy
        return whole if whole <= BATCH_BYTES else array.cast(_flat(kind)).nbytes
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        return 0  # Arrow gives every slice the size of the whole, which cutting does not change
    return array.nbytes


def _of_dictionary(array: Any) -> int:
    bound = len(array) * _widest(array.dictionary)
    if bound <= BATCH_BYTES or not _is_text_or_bytes(array.dictionary.type):
        return bound
    widths = pc.binary_length(array.dictionary).take(array.indices)
    return (pc.sum(widths).as_py() or 0) + array.indices.nbytes


def _widest(values: Any) -> int:
    """Return the most bytes of one of *values*; their mean where they are neither text nor bytes."""
    if _is_text_or_bytes(values.type):
        return pc.max(pc.binary_length(values)).as_py() or 0
    return decoded_bytes(values) // max(1, len(values))


def _is_text_or_bytes(kind: Any) -> bool:
    return types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind)


def _flat(kind: Any) -> Any:
    return pa.string() if types.is_string_view(kind) else pa.binary()
