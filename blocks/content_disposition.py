"""The header `Content-Disposition` (RFC 6266): the name under which a browser or curl saves a file; pure.

Always an attachment: an uploaded file is never rendered as a page of this host. Cleans the name again, so that the
header is well formed whatever the catalogue holds.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

from blocks.naming import clean_display_name

# attr-char of RFC 8187 section 3.2.1, without letters and digits, which `quote` never touches.
_PLAIN = "!#$&+-.^_`|~"
# Without the percent sign, which some clients decode in the plain form (RFC 6266 appendix D), and without characters
# that clients which do not parse quotes take for the next parameter.
_NOT_PLAIN_NAME = re.compile(r"[^A-Za-z0-9 !#$&'()+,\-.@\[\]^_`{}~]")


def content_disposition(filename: str) -> str:
    """Return ``attachment`` with the name twice: in ASCII for old clients, and unchanged (RFC 8187) for all others."""
    name = clean_display_name(filename)
    decomposed = unicodedata.normalize("NFKD", name)
    letters = "".join(char for char in decomposed if not unicodedata.combining(char))
    ascii_name = _NOT_PLAIN_NAME.sub("_", letters)
    return f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe=_PLAIN)}"
