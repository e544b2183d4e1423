"""Custody: storage, encryption and catalogue as one operation; the only way in and out for files.

A crash leaves a blob that a catalogue row announces, never a row without its blob and never a readable half of a file;
no byte is returned that has not been authenticated. Start reading at `custody`, then `write`, `read` and `manifest`
(one file). Import by name what works on top of it: `upload` stores a file while it arrives, `hash_check` hashes one
while it is sent, and `verify`, `rotate` and `rebuild` work through all files.
"""

from blocks.custody.custody import Custody, MakeAvailable
from blocks.custody.read import Content

__all__ = ["Content", "Custody", "MakeAvailable"]
