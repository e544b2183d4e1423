"""Custody: storage, encryption and catalogue as one operation; the only way in and out for files.

Promises row first and row last: a crash leaves a blob that a catalogue row announces, never a row without its blob and
never a readable half of a file; and that no byte is returned that has not been authenticated. Decides nothing about
what to keep or for how long.

Start reading at `custody`. Under it, `write` and `read` handle one file's bytes and `manifest` describes it in the
storage. On top of it, `upload` stores a file while it arrives, `hash_check` hashes one while it is sent, and `verify`,
`rotate` and `rebuild` work through all files; import these by name.
"""

from blocks.custody.custody import Custody, MakeAvailable
from blocks.custody.read import Content

__all__ = ["Content", "Custody", "MakeAvailable"]
