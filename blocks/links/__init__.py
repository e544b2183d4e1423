"""Links: addresses that open one file with plain curl until a time, signed by keys that rotate without a stop."""

from blocks.links.links import DOWNLOAD_PATH, EVENT_PATH, Link, Links, direct_link

__all__ = ["DOWNLOAD_PATH", "EVENT_PATH", "Link", "Links", "direct_link"]
