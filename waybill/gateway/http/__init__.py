"""Parts of HTTP that several routes use.

Request bodies (`bounded_json`, `multipart`, `form_parsing`), retries (`idempotency`), parameters (`params`), content
(`conditional_requests`, `content_response`), and `rate_limit`. Every body is bounded in size, and file content passes
through in constant memory. Knows no route. Import the modules by name.
"""
