"""The SQL that counts files; pure."""

from __future__ import annotations

from blocks.catalog.queries import KEPT

STATISTICS = """
    select kind, stage, count(*) as count, least(sum(size), 9223372036854775807)::bigint as bytes,
           min(created_at) as oldest, max(created_at) as newest
      from artifacts
     where state = 'available'
     group by kind, stage
     order by kind, stage
"""

STATES = "select state, count(*) as count from artifacts group by state order by state"

BY_KIND = f"""
    select kind, count(*) as files, least(sum(stored_size), 9223372036854775807)::bigint as stored_bytes,
           count(*) filter (where pinned_at is not null) as pinned,
           count(*) filter (where held_at is not null) as held,
           count(*) filter (where damaged_at is not null) as damaged,
           count(*) filter (where not {KEPT} and expires_at > now()
                              and expires_at <= now() + interval '1 day') as expiring,
           count(*) filter (where not {KEPT} and expires_at <= now()) as expired
      from artifacts
     where state = 'available'
     group by kind
     order by kind
"""

# Answered by the index over unfinished rows.
UNFINISHED = "select state, count(*) as files from artifacts where state in ('pending', 'deleting') group by state"

# The same document under two names counts as two: its sender provided two.
RUN_COUNTS = """
    select count(distinct o.source_file) as documents,
           count(*) filter (where kind = 'stage_output') as files,
           count(*) filter (where kind = 'stage_output' and reused) as reused
      from run_outputs o join artifacts using (file_id)
     where o.run_id = %(run_id)s
"""
