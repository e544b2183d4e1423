"""Sources: expand a SOURCE (a file, folder, glob, fsspec URL or file in custody) into a flat list of files."""

from tasks.sources.sources import Source, expand, local_path, names_nothing

__all__ = ["Source", "expand", "local_path", "names_nothing"]
