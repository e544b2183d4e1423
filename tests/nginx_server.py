"""nginx that serves a folder on the loopback interface, with the settings that make it fast."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stack_driver import PATIENCE_SECONDS, unused_port

CONFIGURATION = """
daemon off;
{user}
worker_processes auto;
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {folder};
        client_max_body_size 0;
        {puts}
    }}
}}
"""
PUTS = "location /target/ { dav_methods PUT; client_body_temp_path %s/target; }"


@contextmanager
def running_nginx(folder: Path, *, puts: bool = False) -> Iterator[str]:
    """Serve *folder* at the URL that is returned; *puts* also takes files with PUT."""
    port = unused_port()
    with tempfile.TemporaryDirectory(prefix="waybill-nginx-") as name:
        configuration = Path(name) / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        configuration.write_text(
            CONFIGURATION.format(user=user, home=name, port=port, folder=folder, puts=PUTS % folder if puts else "")
        )
        process = subprocess.Popen(["nginx", "-c", str(configuration), "-e", f"{name}/error.log"])
        try:
            wait_until_it_answers(process, port, Path(name) / "error.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


def wait_until_it_answers(process: subprocess.Popen[bytes], port: int, errors: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError(errors.read_text() if errors.exists() else "nginx did not start")
