"""What a person with SQL, or another version, may have written into a row, within the constraints of its table."""

# ruff: noqa: S608 - the statements are these

from __future__ import annotations

FAR_TIMES = ("infinity", "-infinity", "0044-03-15 12:00:00+00 BC", "294276-12-31 23:59:59+00")
ODD_JSON = ("[1]", '"x"', "null", "7", '{"n": 1e400}', "[" * 1500 + "]" * 1500)


def _times(table: str, key: str, *columns: str) -> dict[str, str]:
    return {
        f"{table}.{column} {time}": f"update {table} set {column} = '{time}' where {key} = %(victim)s"
        for column in columns
        for time in FAR_TIMES
    }


def _values(table: str, key: str, column: str, *values: str) -> dict[str, str]:
    return {
        f"{table}.{column} {value[:30]}": f"update {table} set {column} = {value} where {key} = %(victim)s"
        for value in values
    }


def _json(table: str, key: str, column: str) -> dict[str, str]:
    return _values(table, key, column, *(f"'{text}'::jsonb" for text in ODD_JSON))


FILES = {
    **_times("artifacts", "file_id", "created_at", "expires_at", "verified_at", "pinned_at", "held_at"),
    **_json("artifacts", "file_id", "metadata"),
    **_json("artifacts", "file_id", "report"),
    **_values("artifacts", "file_id", "size", "9223372036854775807", "0"),
    **_values("artifacts", "file_id", "stored_size", "9223372036854775807", "0"),
    **_values("artifacts", "file_id", "location", "'../../../etc/passwd'", "'/etc/passwd'", "''", "repeat('x', 3000)"),
    **_values("artifacts", "file_id", "filename", "''", "'../x'", "repeat('x', 1000000)", "E'a\\nb\\x01'"),
    **_values("artifacts", "file_id", "media_type", "''", "E'a\\r\\nSet-Cookie: x=y'", "'ümläut'"),
    **_values("artifacts", "file_id", "sha256", "decode(repeat('00', 32), 'hex')"),
    **_values("artifacts", "file_id", "encrypted_for", "'nobody'"),
    **_values("artifacts", "file_id", "spare_location", "'../../x'"),
}

WEBHOOKS = {
    "events": {
        **_times("webhook_events", "event_id", "occurred_at", "recorded_at"),
        **_values("webhook_events", "event_id", "body", "''", "'not json'", "E'\\\\xff00'", "'[1]'", "'{\"data\": 7}'"),
        **_values("webhook_events", "event_id", "event_type", "'no_such_type'", "''", "E'a\\nb'"),
        **_values("webhook_events", "event_id", "source_file", "repeat('x', 1000000)"),
    },
    "deliveries": {
        **_times("webhook_deliveries", "delivery_id", "created_at", "due_at"),
        **_values("webhook_deliveries", "delivery_id", "attempts", "2147483647", "-2147483648"),
    },
    "endpoints": {
        **_times("webhook_endpoints", "endpoint_id", "created_at"),
        **_values("webhook_endpoints", "endpoint_id", "url", "''", "'no url'", "'http://[::1'", "repeat('x', 100000)"),
        **_values("webhook_endpoints", "endpoint_id", "event_types", "'{}'", "array[null]::text[]", "array['x', '']"),
        **_values("webhook_endpoints", "endpoint_id", "failures", "2147483647", "-5"),
    },
    "secrets": {
        **_values("webhook_secrets", "secret_id", "sealed", "''", "'garbage'"),
        **_times("webhook_secrets", "secret_id", "created_at"),
    },
}

ACCESS = {
    "keys": {
        **_times("api_keys", "key_id", "created_at", "expires_at", "last_used_at"),
        **_values("api_keys", "key_id", "name", "''", "repeat('x', 100000)"),
        **_values("api_keys", "key_id", "requests_per_minute", "2147483647"),
    },
    "audit": {
        **_times("audit_log", "entry_id", "recorded_at"),
        **_json("audit_log", "entry_id", "detail"),
        **_values("audit_log", "entry_id", "action", "'no_such_action'", "''"),
    },
}

# Of the search index; the victim is a document's id.
INDEX = {
    **_values(
        "indexed_documents",
        "document_id",
        "stemmer",
        "'klingon'",
        "''",
        "'no.such.name'",
        "'\"'",
        "'ENGLISH'",
        "'public.english'",
        "repeat('x', 2000)",
    ),
    **_values("indexed_documents", "document_id", "title", "''", "E'a\\nb\\x01'", "repeat('x', 100000)"),
    **_values("indexed_documents", "document_id", "source", "''", "'../x'", "E'\\x1b[2J'"),
    **_values("indexed_documents", "document_id", "sha256", "repeat('Z', 64)"),
    **_values("indexed_documents", "document_id", "pages", "2147483647"),
    **_values("indexed_documents", "document_id", "language", "'no language'", "''"),
    **_values("indexed_documents", "document_id", "stage_key", "''"),
    **_values("indexed_documents", "document_id", "embedding_model", "'other'", "''"),
    **_times("indexed_documents", "document_id", "ingested_at"),
    **_values("indexed_chunks", "document_id", "heading_path", "array[null, 'a']", "'{{a,b},{c,d}}'", "'{}'"),
    **_values("indexed_chunks", "document_id", "chunk_id", "''"),
    **_values("indexed_chunks", "document_id", "start_offset", "0"),
    **_values("indexed_chunks", "document_id", "tokens", "2147483647"),
    **_values("indexed_chunks", "document_id", "fingerprint", "''"),
    **_values("indexed_chunks", "document_id", "ordinal", "2147483647"),
    **_values("indexed_chunks", "document_id", "embedding", "null", "array_fill(0, array[384])::vector"),
    **_values("indexed_facts", "document_id", "score", "'NaN'", "'infinity'"),
    **_values("indexed_facts", "document_id", "ordinal", "2147483647"),
    **_values("indexed_facts", "document_id", "start_offset", "-5", "2147483647"),
    **_values("indexed_entities", "document_id", "chunk_ordinals", "array[null, -1]", "'{{1,2},{3,4}}'"),
    **_values("indexed_entities", "document_id", "ordinal", "2147483647"),
    **_values("indexed_keywords", "document_id", "score", "'NaN'", "'-infinity'"),
}
