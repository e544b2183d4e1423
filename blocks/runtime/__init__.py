"""Parts of a long-running asynchronous program that know nothing of Waybill. Import the module you need by name.

Work outside the event loop, ahead of its reader, bounded, or in the background: `threads`, `prefetch`, `concurrency`,
`background_tasks`. Local files that appear whole or not at all, and locks that the kernel releases: `atomic_file`,
`file_lock`. One recent answer for many, outages logged once, a bounded shutdown, the time, quicker starts:
`freshness`, `outage_log`, `shutdown`, `clock`, `quick_imports`.
"""
