"""Links: URLs that give access to one file, or one webhook event, until a time.

Promises that a link opens nothing else, ends with its file at the latest, and can be revoked with its signing key.
Keys rotate without downtime. Start reading at `links`; `tokens` is the signed form (a strict JWT), `signing_keys` the
key file, `public_url` the URL that links begin with.
"""

from blocks.links.links import DOWNLOAD_PATH, EVENT_PATH, Link, Links, direct_link
from blocks.links.public_url import note_gateway, noted_gateway
from blocks.links.signing_keys import LinkKeys
from blocks.links.tokens import MAX_LIFETIME

__all__ = [
    "DOWNLOAD_PATH",
    "EVENT_PATH",
    "MAX_LIFETIME",
    "Link",
    "LinkKeys",
    "Links",
    "direct_link",
    "note_gateway",
    "noted_gateway",
]
