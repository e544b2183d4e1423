"""What any asynchronous Python program needs: threads, bounded concurrency, prefetching, shutdown. Knows no Waybill."""
