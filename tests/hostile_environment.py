"""An environment with everything in it that has led other programs astray, and a working directory of the same kind.

Nothing of it may change what the stack's own servers and connections do.
"""

from __future__ import annotations

from pathlib import Path

# A port at which nothing answers, and a path at which nothing is and, also for root, nothing can be.
_NO_PROXY_HERE = "http://127.0.0.1:9"
_NOWHERE = "/dev/null/nowhere"

HOSTILE_ENVIRONMENT = {
    # libpq and Postgres
    **dict.fromkeys(("PGDATA", "PGHOST", "PGSERVICEFILE", "PGPASSFILE", "PGSYSCONFDIR", "PGSSLROOTCERT"), _NOWHERE),
    "PGPORT": "1", "PGUSER": "other", "PGPASSWORD": "x", "PGDATABASE": "other", "PGSERVICE": "unknown",
    "PGOPTIONS": "-c statement_timeout=1", "PGSSLMODE": "verify-full", "PGTZ": "Asia/Kathmandu",
    "PGDATESTYLE": "German", "PGCLIENTENCODING": "LATIN1",
    "PGTARGETSESSIONATTRS": "standby", "PGAPPNAME": "other", "PGCONNECT_TIMEOUT": "x",
    # Proxies: no answer, a kind that has no client here, and no URL at all
    "HTTP_PROXY": _NO_PROXY_HERE, "HTTPS_PROXY": _NO_PROXY_HERE, "ALL_PROXY": "socks5://127.0.0.1:9",
    "http_proxy": _NO_PROXY_HERE, "https_proxy": _NO_PROXY_HERE, "all_proxy": "nonsense://x:y",
    "NO_PROXY": "example.com,[::1]",
    # Prefect's settings for another server, and ones that change how flows and servers work
    "PREFECT_API_KEY": "of-another-server", "PREFECT_PROFILE": "unknown", "PREFECT_HOME": _NOWHERE,
    "PREFECT_PROFILES_PATH": _NOWHERE, "PREFECT_LOGGING_SETTINGS_PATH": _NOWHERE, "prefect_home": _NOWHERE,
    "PREFECT_API_SSL_CERT_FILE": _NOWHERE, "PREFECT_CLIENT_CUSTOM_HEADERS": '{"x": "y"}',
    "PREFECT_SERVER_API_BASE_PATH": "/x", "PREFECT_SERVER_API_PORT": "1", "PREFECT_SERVER_UI_SERVE_BASE": "/ui",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true", "PREFECT_TEST_MODE": "1", "PREFECT_TASKS_DEFAULT_RETRIES": "3",
    "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": "s3/unknown", "PREFECT_RESULTS_DEFAULT_SERIALIZER": "unknown",
    "PREFECT__FLOW_RUN_ID": "11111111-1111-1111-1111-111111111111",
    # Object storage, where none is used
    "AWS_PROFILE": "unknown", "AWS_ENDPOINT_URL": _NO_PROXY_HERE, "AWS_CA_BUNDLE": _NOWHERE,
    "AWS_CONFIG_FILE": _NOWHERE, "AWS_DEFAULT_REGION": "nowhere",
    # TLS
    "SSL_CERT_FILE": _NOWHERE, "SSL_CERT_DIR": _NOWHERE, "REQUESTS_CA_BUNDLE": _NOWHERE, "CURL_CA_BUNDLE": _NOWHERE,
    "SSLKEYLOGFILE": _NOWHERE,
    # Python and its servers
    "PYTHONWARNINGS": "error", "PYTHONSTARTUP": _NOWHERE, "PYTHONOPTIMIZE": "1", "PYTHONHASHSEED": "1",
    "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:backslashreplace", "UVICORN_PORT": "1", "UVICORN_WORKERS": "9",
    "WEB_CONCURRENCY": "x", "FORWARDED_ALLOW_IPS": "*",
    # Libraries of numbers, languages, places
    "OMP_NUM_THREADS": "x", "OPENBLAS_NUM_THREADS": "0", "LC_ALL": "tr_TR.UTF-8", "LC_MESSAGES": "de_DE.UTF-8",
    "LANG": "de_DE", "TZ": "Asia/Kathmandu", "TMPDIR": _NOWHERE, "HOME": _NOWHERE,
}  # fmt: skip

_FILES = {
    ".env": "PREFECT_API_KEY=of-another-server\nPREFECT_TASKS_DEFAULT_RETRIES=9\n",
    "prefect.toml": "this is not TOML [",
    "pyproject.toml": '[tool.prefect]\napi.key = "of-another-server"\n[tool.prefect.tasks]\ndefault_retries = 9\n',
}


def fill_hostile_directory(folder: Path) -> None:
    """Put settings files of Prefect there that are for another server, or broken."""
    for name, content in _FILES.items():
        (folder / name).write_text(content)
