"""What a client has already, by its entity tag; pure.

Owns the tag of a file's content and the comparisons of `If-Match`, `If-None-Match` and `If-Range` (RFC 9110 sections
8.8.3 and 13.1). The tag is strong: it is the sha256 of the content, so equal tags are equal bytes. Files have no
`Last-Modified`, because their content never changes; conditions by date are not met or ignored, as the RFC says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_TAG = re.compile(r'\s*(W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*')


def entity_tag(sha256: str) -> str:
    """The strong tag of the content with this hash."""
    return f'"{sha256}"'


def matches_any(headers: Sequence[str], tag: str, *, weak: bool) -> bool:
    """Whether the lists in *headers* name *tag*, or are ``*``; *weak* also takes ``W/`` in front of a tag.

    A member that is no tag matches nothing.
    """
    for header in headers:
        if header.strip() == "*":
            return True
        for member in header.split(","):
            found = _TAG.fullmatch(member)
            if found is not None and found[2] == tag and (weak or not found[1]):
                return True
    return False


def continues(if_range: Sequence[str], tag: str) -> bool:
    """Whether a range may be answered with a part: the client's earlier part is of this very content.

    Without `If-Range` it says so itself. A weak tag or a date proves nothing about bytes, and several are malformed.
    """
    return not if_range or [value.strip() for value in if_range] == [tag]
