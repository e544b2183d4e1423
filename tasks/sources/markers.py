"""Empty objects that are no documents: they stand for folders, or say that a job is done; pure.

Consoles and Hadoop write them into stores that have no folders.
"""

from __future__ import annotations

from collections.abc import Mapping

# Of Hadoop's s3n and EMR: the folder's name and this ending. Of Hadoop and Spark: in a folder that was written whole.
_HADOOP_FOLDER, _HADOOP_SUCCESS = "_$folder$", "_SUCCESS"


def is_marker_name(name: str) -> bool:
    """Return whether an empty object of this name is a marker, whatever else there is."""
    return name.endswith(("/", _HADOOP_FOLDER)) or name.rpartition("/")[2] == _HADOOP_SUCCESS


def without_markers(sizes: Mapping[str, int | None]) -> list[str]:
    """Return the names of *sizes* (bytes; None when unknown) that are documents, in name order.

    Left out are empty objects whose names end as a marker's do, and those that have other objects below them. An empty
    object of any other name is an empty document.
    """
    folders = {name[:end] for name in sizes for end, char in enumerate(name) if char == "/"}
    return sorted(name for name, size in sizes.items() if size != 0 or not (is_marker_name(name) or name in folders))
