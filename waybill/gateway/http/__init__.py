"""Parts of HTTP that routes use: ranges, forms, bounded bodies, idempotency, rate limits."""
