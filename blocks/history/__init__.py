"""History: what has happened and is over goes after a time, from Prefect's database and from our own.

`runs` deletes old flow runs over Prefect's API: of this project's flows, of this catalogue, over, and reported. `rows`
deletes rows of our own tables that nothing needs any more; `statements` is their SQL. Nothing goes that a consumer has
still to be notified of, and no run that is not over. Everything is deleted in batches and may stop at any moment: the
next call goes on. Files in custody are none of this: `blocks.retention` decides about them.

`runs` imports Prefect: import it by name.
"""

from blocks.history.rows import Counted, Cutoffs, Deadline, database_sizes, read_cutoffs, trim_rows

__all__ = ["Counted", "Cutoffs", "Deadline", "database_sizes", "read_cutoffs", "trim_rows"]
