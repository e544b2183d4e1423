"""Sources: expand each SOURCE (a file, folder, glob, URL or file in custody) into single files, and read them.

Start at `sources.expand`. A source that names nothing, or is not permitted, stays in the list and fails by itself; a
folder or glob without files, and text that cannot be a source, are refused. `access` decides what a run may read;
`local_files` and `remote` list and open, the latter through `http_source`, `s3_source` or `driver_source`; `failure`
sorts what may pass from what will fail again. Names that a listing has found are plain text. Sources are shown and
stored without passwords. Refuses to know what a document is: that is `tasks.intake`.
"""

from tasks.sources.access import SourceAccess
from tasks.sources.local_files import local_path, open_file, read_file
from tasks.sources.remote import RemoteFile, SourceReader, web_path
from tasks.sources.source import Source
from tasks.sources.source_list import SourceList
from tasks.sources.sources import absolute_source, check_sources, check_text, display_name, expand, names_nothing

__all__ = [
    "RemoteFile",
    "Source",
    "SourceAccess",
    "SourceList",
    "SourceReader",
    "absolute_source",
    "check_sources",
    "check_text",
    "display_name",
    "expand",
    "local_path",
    "names_nothing",
    "open_file",
    "read_file",
    "web_path",
]
