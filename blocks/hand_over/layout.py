"""Where the chunks of a sealed file lie, and which parts of its content they become; pure.

Downloads work on groups of chunks, which are written and recorded whole.
"""

from __future__ import annotations

from dataclasses import dataclass

from blocks.age.file_key import TAG_BYTES
from blocks.age.stream import CHUNK_BYTES, SEALED_CHUNK_BYTES
from blocks.errors import MalformedAgeFile

# 256 KiB: what a kill loses is some groups that are under way, and a hand-over between threads is still cheap.
GROUP_CHUNKS = 4


@dataclass(frozen=True)
class Layout:
    """A file of *total* bytes whose chunks begin at *start*; *sealed* is False for bytes that are taken as they are."""

    total: int
    start: int
    sealed: bool

    def __post_init__(self) -> None:
        if self.sealed and (self.total - self.start - 1) % SEALED_CHUNK_BYTES < TAG_BYTES - 1:
            raise MalformedAgeFile("not a well-formed age file: its last chunk is shorter than a tag", part="payload")

    @property
    def group_bytes(self) -> int:
        """Return how many bytes of the file a whole group has."""
        return GROUP_CHUNKS * (SEALED_CHUNK_BYTES if self.sealed else CHUNK_BYTES)

    @property
    def groups(self) -> int:
        """Return how many groups there are; one that is empty where there are no bytes."""
        return max(1, -(-(self.total - self.start) // self.group_bytes))

    @property
    def chunks(self) -> int:
        """Return how many chunks there are."""
        return max(1, -(-(self.total - self.start) // SEALED_CHUNK_BYTES))

    @property
    def content_size(self) -> int:
        """Return the bytes that are written in the end."""
        return self.total - self.start - (self.chunks * TAG_BYTES if self.sealed else 0)

    def span(self, group: int) -> tuple[int, int]:
        """Return where *group* begins in the file, and where it ends."""
        first = self.start + group * self.group_bytes
        return first, min(first + self.group_bytes, self.total)

    def place(self, group: int) -> tuple[int, int]:
        """Return where *group* begins in the content, and where it ends."""
        first = group * GROUP_CHUNKS * CHUNK_BYTES
        return first, min(first + GROUP_CHUNKS * CHUNK_BYTES, self.content_size)
