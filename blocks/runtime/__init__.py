"""Parts of a long-running asynchronous program that know nothing of Waybill.

- `threads`, `prefetch`, `concurrency`, `background_tasks`: work outside the event loop, ahead of its reader, bounded,
  or in the background; each ends with its caller.
- `atomic_file`, `file_lock`: local files that appear whole or not at all, and locks that the kernel releases.
- `freshness`, `outage_log`, `shutdown`, `clock`: share one recent answer, log a problem once, bound the end of a
  process, read the time.

Nothing here imports the rest of the project. Import the module you need by name.
"""
