"""Part 3: the same files over HTTP.

The *gateway* is the HTTP server in front of custody. These tests start one on loopback and talk to it as a client does.
"""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from tests.gateway import Gateway

FILES = "/api/v1/files"


async def test_a_file_is_uploaded_and_downloaded_with_an_api_key(gateway: Gateway) -> None:
    """Upload a file and download it again, with an API key in the header `Authorization`.

    A key has scopes: *write* to upload, *read* to download. Without a key the gateway answers 401.
    """
    key = await gateway.key("read", "write")
    headers = {"Authorization": f"Bearer {key}"}
    http = gateway.client

    uploaded = await http.post(f"{FILES}/upload", files={"file": ("letter.txt", b"at six")}, headers=headers)
    file_id = uploaded.json()["file_id"]
    with_key = await http.get(f"{FILES}/download/{file_id}", headers=headers)
    without_key = await http.get(f"{FILES}/download/{file_id}")

    assert uploaded.status_code == 201
    assert (with_key.status_code, with_key.content) == (200, b"at six")
    assert without_key.status_code == 401


async def test_a_shared_link_needs_no_key(gateway: Gateway) -> None:
    """Share a file: the link downloads it, and needs no API key.

    The link holds a signed token for this one file, which expires. The gateway refuses a token that was changed.
    """
    artifact = await gateway.put(b"at six", name="letter.txt")
    headers = await gateway.headers("read", "write")

    shared = await gateway.client.post(f"{FILES}/{artifact.file_id}/share", json={"expires_in": "15m"}, headers=headers)
    link = shared.json()["url"]
    (token,) = parse_qs(urlsplit(link).query)["token"]

    assert (await gateway.client.get(link)).content == b"at six"
    assert (await gateway.client.get(link.replace(token, token[::-1]))).status_code == 403
