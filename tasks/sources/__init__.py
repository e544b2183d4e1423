"""Sources: expand each SOURCE (a file, folder, glob, fsspec URL or file in custody) into a flat list of single files.

Start at `expand`. It lists folders and opens no file: whether a file can be read, and what it is, `tasks.intake` finds
out. A source that names nothing stays in the list and fails by itself; a folder or glob without files, and text that
cannot be a source, are refused. Sources are shown and stored without passwords.
"""

from tasks.sources.sources import Source, expand, local_path, names_nothing

__all__ = ["Source", "expand", "local_path", "names_nothing"]
