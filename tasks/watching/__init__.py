"""One look at a watched place: list it, start runs for what is new or changed, and record how earlier runs ended.

Start with `look`. `listing` finds files and their versions. What was seen, and which run has taken it, is in
`blocks.watching`.
"""

from tasks.watching.look import LookReport, Watch, check_watch, look

__all__ = ["LookReport", "Watch", "check_watch", "look"]
