"""Files over HTTP: lists, what is known of one, links, pins, deletion, and what the audit log has of it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import pytest

from blocks.catalog import Artifact, StageMark
from blocks.postgres.page_cursor import write_cursor
from blocks.settings.retention import retention
from tests.gateway import Gateway, error_of, running_gateway
from tests.stack_driver import PATIENCE_SECONDS
from waybill.gateway.http.bounded_json import MAX_JSON_BYTES
from waybill.gateway.routes.files import FileDetails, FileList, FileRemoved, SharedLink, StageReport

FILES = "/api/v1/files"
DAY = timedelta(days=1)


@pytest.fixture
async def gateway(database_url: str, tmp_path: Path) -> AsyncGenerator[Gateway]:
    async with running_gateway(database_url, tmp_path / "home") as running:
        yield running


@pytest.fixture
async def http(gateway: Gateway) -> AsyncGenerator[httpx.AsyncClient]:
    """A client whose key may read and write."""
    headers = await gateway.headers("read", "write")
    async with httpx.AsyncClient(base_url=gateway.url + FILES, headers=headers, timeout=PATIENCE_SECONDS) as client:
        yield client


async def output(gateway: Gateway, name: str, stage: int, **given: Any) -> Artifact:
    mark = StageMark(number=stage, name=f"stage-{stage}", key=uuid4().hex * 2)
    return await gateway.put(name.encode(), name=name, kind="stage_output", stage=mark, **given)


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, error_of(answer)


async def state_of(gateway: Gateway, file_id: UUID) -> str:
    async with gateway.custody.catalog.connection() as connection:
        cursor = await connection.execute("select state from artifacts where file_id = %s", [file_id])
        row = await cursor.fetchone()
        assert row is not None
        return str(row["state"])


# What there is --------------------------------------------------------------------------------------------------------


async def test_what_is_known_of_a_file_is_what_the_command_shows_but_for_where_it_lies(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    artifact = await output(gateway, "report.chunks.json", 3, metadata={"chunks": 8}, report={"seconds": 0.1})
    known = (await http.get(f"/metadata/{artifact.file_id}")).json()
    assert known == artifact.metadata_view()
    assert "location" not in known and artifact.location not in json.dumps(known)
    FileDetails.model_validate(known)
    report = (await http.get(f"/metadata/{artifact.file_id}", params={"view": "report"})).json()
    assert report == artifact.report_view()
    StageReport.model_validate(report)


async def test_a_file_says_when_it_goes_and_by_which_rule(database_url: str, tmp_path: Path) -> None:
    rules = retention({"keep_newest": 1})
    async with running_gateway(database_url, tmp_path / "home", retention=rules) as gateway:
        old, new = await gateway.put(b"x"), await gateway.put(b"y")
        headers = await gateway.headers("read", "write")

        async def known(artifact: Artifact) -> list[str | None]:
            answer = await gateway.client.get(f"{FILES}/metadata/{artifact.file_id}", headers=headers)
            FileDetails.model_validate(answer.json())
            return [answer.json()[name] for name in ("goes_at", "goes_because", "kept_because", "because")]

        assert await known(old) == [old.expires_at.isoformat(), "expired", "not_due", "its time is over then"]
        assert (await known(new))[:3] == [None, None, "newest"]
        pinned = await gateway.client.post(f"{FILES}/{old.file_id}/pin", headers=headers)
        assert [pinned.json()[name] for name in ("goes_at", "kept_because")] == [None, "pinned"]


async def test_only_stage_outputs_have_a_report(gateway: Gateway, http: httpx.AsyncClient) -> None:
    upload = await gateway.put(b"x")
    for view, code in (("report", "InvalidOptions"), ("location", "InvalidRequest")):
        assert code_of(await http.get(f"/metadata/{upload.file_id}", params={"view": view})) == (422, code)


async def test_what_is_damaged_is_told_without_the_place_of_the_damage(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    artifact = await gateway.put(b"x")
    gateway.stored(artifact).unlink()
    assert (await http.get(f"/download/{artifact.file_id}")).status_code == 500
    assert artifact.location in ((await gateway.custody.get(artifact.file_id)).damage or "")
    for answer in (await http.get(f"/metadata/{artifact.file_id}"), await http.get("/list")):
        assert "damaged, " not in answer.text and artifact.location not in answer.text
        assert "the stored content of this file is damaged" in answer.text


async def test_lists_are_filtered_and_paged_newest_first(gateway: Gateway, http: httpx.AsyncClient) -> None:
    run = uuid4()
    made = [
        await output(gateway, f"{source}.{stage}", stage, source_file=f"/in/{source}", document_sha256=source * 64)
        for source in ("a", "b")
        for stage in (1, 2, 3)
    ]
    upload = await gateway.put(b"x", name="a", source_file="/in/a", document_sha256="a" * 64, run_id=run)
    newest_first = [str(artifact.file_id) for artifact in [*made, upload]][::-1]

    async def ids(path: str, **params: Any) -> list[str]:
        answer = await http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        FileList.model_validate(answer.json())
        return [entry["file_id"] for entry in answer.json()["files"]]

    assert await ids("/list") == newest_first
    of_a = [str(artifact.file_id) for artifact in [*made[:3], upload]][::-1]
    for source in ("/in/a", "a"):
        assert await ids("/list/by-source", source_file=source) == of_a
        assert await ids("/list", source_file=source, kind="stage_output") == of_a[1:]
    of_2 = [str(made[4].file_id), str(made[1].file_id)]
    assert await ids("/list/by-stage", stage=2) == of_2
    assert await ids("/list", run_id=run) == [str(upload.file_id)]
    for path, params, whole in (
        ("/list", {}, newest_first),
        ("/list/by-source", {"source_file": "a"}, of_a),
        ("/list/by-stage", {"stage": "2"}, of_2),
    ):
        found: list[str] = []
        after: dict[str, str] = {}
        while True:
            page = (await http.get(path, params={**params, **after, "limit": 1})).json()
            found += [entry["file_id"] for entry in page["files"]]
            if page["next"] is None:
                break
            after = {"after": page["next"]}
        assert found == whole
    assert (await http.get("/list/by-source", params={"source_file": "c"})).json() == {"files": [], "next": None}
    (entry,) = (await http.get("/list", params={"run_id": str(run)})).json()["files"]
    assert entry == upload.listing()


async def test_lists_refuse_what_cannot_be_meant(http: httpx.AsyncClient) -> None:
    odd_times = (
        datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=datetime.strptime("+2359", "%z").tzinfo),
        datetime.fromisoformat("2026-01-01T00:00:00+00:00:00.000001"),
        datetime.max.replace(tzinfo=datetime.strptime("-1200", "%z").tzinfo),
    )
    wrong: list[tuple[str, dict[str, str]]] = [
        ("/list/by-source", {}),
        ("/list/by-source", {"source_file": ""}),
        ("/list/by-source", {"source_file": "a\0b"}),
        ("/list/by-source", {"source_file": "a" * 8193}),
        ("/list/by-stage", {}),
        ("/list/by-stage", {"stage": "0"}),
        ("/list/by-stage", {"stage": "40000"}),
        ("/list/by-stage", {"stage": "one"}),
        ("/list", {"kind": "letters"}),
        ("/list", {"run_id": "7"}),
        ("/list", {"limit": "0"}),
        ("/list", {"limit": "1001"}),
        ("/list", {"after": "nonsense"}),
        ("/list", {"after": "\udcff".encode("utf-8", "surrogatepass").decode("latin-1")}),
        ("/list", {"after": "x" * 201}),
    ]
    for path, params in wrong:
        answer = await http.get(path, params=params)
        assert (path, params, answer.status_code) == (path, params, 422)
        error_of(answer)
    for moment in odd_times:
        answer = await http.get("/list", params={"after": write_cursor(moment, uuid4())})
        assert (str(moment), answer.status_code in {200, 422}) == (str(moment), True)
    assert (await http.get("/list/by-source?source_file=%ff%ed%a0%80")).json()["files"] == []


# Deleting -------------------------------------------------------------------------------------------------------------


async def test_a_deleted_file_is_gone_and_the_log_says_who_did_it(gateway: Gateway, http: httpx.AsyncClient) -> None:
    artifact = await gateway.put(b"x", name="report.pdf")
    answer = await http.delete(f"/{artifact.file_id}")
    assert (answer.status_code, answer.json()) == (200, {**artifact.listing(), "state": "removed"})
    FileRemoved.model_validate(answer.json())
    assert not gateway.stored(artifact).exists()
    for method, path in (
        ("DELETE", ""), ("POST", "/share"), ("POST", "/pin"), ("POST", "/unpin"), ("GET", ""),
    ):  # fmt: skip
        url = f"/metadata/{artifact.file_id}" if method == "GET" else f"/{artifact.file_id}{path}"
        assert (method, path, *code_of(await http.request(method, url))) == (method, path, 410, "ArtifactGone")
    (row,) = await gateway.audited("delete")
    assert (row["file_id"], row["detail"], row["client"]) == (
        artifact.file_id, {"filename": "report.pdf"}, "127.0.0.1",
    )  # fmt: skip
    assert row["actor"].startswith("key:")
    assert row["request_id"] == answer.headers["x-request-id"]
    assert [await gateway.audited(action) for action in ("share", "pin", "unpin")] == [[], [], []]


async def test_an_expired_file_can_still_be_deleted(gateway: Gateway, http: httpx.AsyncClient) -> None:
    artifact = await gateway.put(b"x", keep_for=timedelta(milliseconds=1))
    assert (await http.delete(f"/{artifact.file_id}")).status_code == 200
    assert not gateway.stored(artifact).exists()


async def test_of_several_who_delete_at_once_the_log_has_one(gateway: Gateway, http: httpx.AsyncClient) -> None:
    artifact = await gateway.put()
    answers = await asyncio.gather(*(http.delete(f"/{artifact.file_id}") for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200, *[410] * 7]
    assert len(await gateway.audited("delete")) == 1
    assert await state_of(gateway, artifact.file_id) == "deleted"


async def test_what_an_interrupted_deletion_has_left_is_cleared_up(gateway: Gateway, http: httpx.AsyncClient) -> None:
    artifact = await gateway.put()
    async with gateway.custody.catalog.connection() as connection:
        await gateway.custody.catalog.begin_deletion(connection, artifact.file_id)
    assert gateway.stored(artifact).exists()
    assert code_of(await http.delete(f"/{artifact.file_id}")) == (410, "ArtifactGone")
    assert not gateway.stored(artifact).exists()
    assert await state_of(gateway, artifact.file_id) == "deleted"


# Pins -----------------------------------------------------------------------------------------------------------------


async def test_a_pinned_file_stays_whatever_its_time_until_it_is_unpinned(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    artifact, loose = await gateway.put(b"x"), await gateway.put(b"y")
    pinned = await http.post(f"/{artifact.file_id}/pin", json={"note": "until the audit is over"})
    assert pinned.status_code == 200, pinned.text
    FileDetails.model_validate(pinned.json())
    assert (pinned.json()["pinned"], pinned.json()["pin_note"]) == (True, "until the audit is over")
    async with gateway.custody.catalog.connection() as connection:
        await connection.execute("update artifacts set expires_at = clock_timestamp()")
    assert (await http.get(f"/metadata/{loose.file_id}")).status_code == 410
    assert code_of(await http.delete(f"/{artifact.file_id}")) == (409, "ArtifactPinned")
    there = (await http.get(f"/metadata/{artifact.file_id}")).json()
    assert there.pop("expires_at") < pinned.json()["expires_at"]
    assert there == {name: value for name, value in pinned.json().items() if name != "expires_at"}
    again = (await http.post(f"/{artifact.file_id}/pin")).json()
    assert (again["pinned_at"], again["pin_note"]) == (pinned.json()["pinned_at"], None)
    unpinned = (await http.post(f"/{artifact.file_id}/unpin")).json()
    assert (unpinned["pinned"], unpinned["pinned_at"]) == (False, None)
    assert datetime.fromisoformat(unpinned["expires_at"]) > datetime.now(UTC) + DAY - timedelta(minutes=5)
    assert (await http.delete(f"/{artifact.file_id}")).status_code == 200
    assert [len(await gateway.audited(action)) for action in ("pin", "unpin", "delete")] == [2, 1, 1]


async def test_a_held_file_stays_until_an_administrator_releases_it(gateway: Gateway, http: httpx.AsyncClient) -> None:
    artifact, admin = await gateway.put(b"x"), await gateway.headers("admin")
    for action in ("hold", "release"):
        assert code_of(await http.post(f"/{artifact.file_id}/{action}")) == (403, "ScopeMissing")
    held = await http.post(f"/{artifact.file_id}/hold", json={"note": "case 2026/114"}, headers=admin)
    assert held.status_code == 200, held.text
    FileDetails.model_validate(held.json())
    assert (held.json()["held"], held.json()["pinned"], held.json()["hold_note"]) == (True, False, "case 2026/114")
    async with gateway.custody.catalog.connection() as connection:
        await connection.execute("update artifacts set expires_at = clock_timestamp()")
    assert (await http.get(f"/download/{artifact.file_id}")).content == b"x"
    assert (await http.get("/list")).json()["files"][0]["held"] is True
    assert code_of(await http.delete(f"/{artifact.file_id}")) == (409, "ArtifactHeld")
    assert (await http.post(f"/{artifact.file_id}/pin")).json()["held"] is True
    assert (await http.post(f"/{artifact.file_id}/unpin")).json()["held"] is True, "a pin is a matter of its own"
    assert code_of(await http.delete(f"/{artifact.file_id}", headers=admin)) == (409, "ArtifactHeld")
    released = (await http.post(f"/{artifact.file_id}/release", headers=admin)).json()
    assert (released["held"], released["held_at"], released["hold_note"]) == (False, None, None)
    assert datetime.fromisoformat(released["expires_at"]) > datetime.now(UTC) + DAY - timedelta(minutes=5)
    assert (await http.post(f"/{artifact.file_id}/release", headers=admin)).json() == released
    assert (await http.delete(f"/{artifact.file_id}")).status_code == 200
    assert code_of(await http.post(f"/{artifact.file_id}/hold", headers=admin)) == (410, "ArtifactGone")
    (entry,) = await gateway.audited("hold")
    assert entry["detail"] == {"note": "case 2026/114"}
    assert len(await gateway.audited("release")) == 2


async def test_a_file_is_extended_and_an_expired_one_by_an_administrator_alone(
    gateway: Gateway, http: httpx.AsyncClient
) -> None:
    artifact, admin = await gateway.put(b"x"), await gateway.headers("admin")
    url = f"/{artifact.file_id}/extend"
    found = await http.post(url, json={"for": "90d"})
    assert found.status_code == 200, found.text
    FileDetails.model_validate(found.json())
    assert datetime.fromisoformat(found.json()["expires_at"]) > datetime.now(UTC) + 90 * DAY - timedelta(hours=1)
    assert (await http.post(url, json={"for": "1d"})).json() == found.json(), "it stays for longer already"
    assert (await http.post(url, json={"until": "2999-01-31"})).json()["expires_at"] == "2999-01-31T00:00:00+00:00"
    assert (await http.post(url, json={"for": "1d", "shorten": True})).json()["expires_at"] < found.json()["expires_at"]
    for wrong in [
        {}, {"for": "1d", "until": "2999-01-31"}, {"for": "soon"}, {"for": 90}, {"for": "9999999d"}, {"keep_for": "1d"},
        {"until": "2001-01-31"}, {"until": "9999-12-31"}, {"until": "2999-01-31T08:00"},
    ]:  # fmt: skip
        assert (wrong, (await http.post(url, json=wrong)).status_code) == (wrong, 422)
    async with gateway.custody.catalog.connection() as connection:
        await connection.execute("update artifacts set expires_at = clock_timestamp()")
    assert code_of(await http.post(url, json={"for": "90d"})) == (410, "ArtifactGone")
    assert (await http.post(url, json={"for": "90d"}, headers=admin)).status_code == 200
    assert (await http.get(f"/download/{artifact.file_id}")).content == b"x"
    assert len(await gateway.audited("extend")) == 4


async def test_an_upload_stays_for_as_long_as_its_form_says(gateway: Gateway, http: httpx.AsyncClient) -> None:
    for fields, days in (({}, 30), ({"keep_for": ""}, 30), ({"keep_for": "90d"}, 90), ({"keep_for": " 36h "}, 1.5)):
        answer = await http.post("/upload", files={"file": ("a.md", b"x")}, data=fields)
        entry = answer.json()
        stays = datetime.fromisoformat(entry["expires_at"]) - datetime.fromisoformat(entry["created_at"])
        assert (fields, stays) == (fields, days * DAY)
    # A field may follow the file.
    parts = [("file", ("a.md", b"x")), ("keep_for", (None, "2d"))]
    entry = (await http.post("/upload", files=parts)).json()
    assert datetime.fromisoformat(entry["expires_at"]) - datetime.fromisoformat(entry["created_at"]) == 2 * DAY
    for wrong in ("soon", "0d", "-1d", "90", "9999999d"):
        refused = await http.post("/upload", files={"file": ("a.md", b"x")}, data={"keep_for": wrong})
        assert (wrong, *code_of(refused)) == (wrong, 422, "InvalidOptions")


async def test_a_refused_deletion_leaves_no_line_in_the_log(gateway: Gateway, http: httpx.AsyncClient) -> None:
    artifact = await gateway.put(b"x")
    await http.post(f"/{artifact.file_id}/pin")
    await http.delete(f"/{artifact.file_id}")
    assert await gateway.audited("delete") == []
    assert (await http.get(f"/download/{artifact.file_id}")).content == b"x"


# Links ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "lasts"),
    [(None, 3600), ({}, 3600), ({"expires_in": "15m"}, 900), ({"expires_in": 90}, 90), ({"expires_in": "30d"}, 86400)],
)
async def test_a_shared_link_works_without_a_key_until_it_ends(
    gateway: Gateway, http: httpx.AsyncClient, body: dict[str, Any] | None, lasts: int
) -> None:
    artifact = await gateway.put(b"snow", keep_for=DAY)
    before = datetime.now(UTC)
    answer = await http.post(f"/{artifact.file_id}/share", json=body)
    shared = answer.json()
    SharedLink.model_validate(shared)
    assert shared.keys() == {"file_id", "url", "expires_at", "direct", "capped"}
    assert (shared["file_id"], shared["direct"], shared["capped"]) == (str(artifact.file_id), False, lasts == 86400)
    assert abs((datetime.fromisoformat(shared["expires_at"]) - before).total_seconds() - lasts) < 30
    assert (await gateway.get(shared["url"])).content == b"snow"
    (row,) = await gateway.audited("share")
    assert row["detail"] == {"expires_at": shared["expires_at"], "direct": False}
    assert "eyJ" not in json.dumps(row, default=str)


async def test_a_link_that_cannot_be_is_refused(
    gateway: Gateway, http: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for lifetime in ["0s", "31d", "1.5h", "soon", "", 0, -1, 2592001, 1.5, True, None, ["1h"], "1h\0", "9999999d"]:
        with subtests.test(lifetime=lifetime):
            artifact = await gateway.put(b"x")
            answer = await http.post(f"/{artifact.file_id}/share", json={"expires_in": lifetime})
            assert (answer.status_code, error_of(answer) in {"InvalidRequest", "InvalidOptions"}) == (422, True)
            assert await gateway.audited("share") == []


# Whoever may not, and what cannot be read -----------------------------------------------------------------------------


async def test_each_path_asks_for_its_scope(gateway: Gateway) -> None:
    artifact = await gateway.put(b"x")
    by_scope = {scope: await gateway.headers(scope) for scope in ("read", "write", "admin")}
    by_scope["read and write"] = await gateway.headers("read", "write")
    paths = {
        ("GET", f"/metadata/{artifact.file_id}"): "read",
        ("GET", "/list"): "read",
        ("GET", "/list/by-source?source_file=a"): "read",
        ("GET", "/list/by-stage?stage=1"): "read",
        ("POST", f"/{artifact.file_id}/share"): "read and write",
        ("POST", f"/{artifact.file_id}/pin"): "write",
        ("POST", f"/{artifact.file_id}/unpin"): "write",
        ("POST", f"/{artifact.file_id}/hold"): "admin",
        ("POST", f"/{artifact.file_id}/release"): "admin",
        ("DELETE", f"/{artifact.file_id}"): "write",
    }
    for (method, path), needed in paths.items():
        url = gateway.url + FILES + path
        nobody = await gateway.client.request(method, url)
        assert (path, *code_of(nobody)) == (path, 401, "NotAuthenticated")
        for scope in {"read", "write"} - {needed}:
            refused = await gateway.client.request(method, url, headers=by_scope[scope])
            assert (path, *code_of(refused)) == (path, 403, "ScopeMissing")
        link = f"{url}{'&' if '?' in url else '?'}token={gateway.link(artifact).split('token=')[1]}"
        assert (await gateway.client.request(method, link)).status_code == 401
    for (method, path), needed in paths.items():
        url = gateway.url + FILES + path
        scope = "admin" if method == "DELETE" else needed
        assert (await gateway.client.request(method, url, headers=by_scope[scope])).status_code == 200


async def test_what_is_no_file_is_told_as_such(http: httpx.AsyncClient) -> None:
    for method, path in (("GET", "/metadata/{}"), ("DELETE", "/{}"), ("POST", "/{}/share"), ("POST", "/{}/pin")):
        assert code_of(await http.request(method, path.format(uuid4()))) == (404, "ArtifactNotFound")
        # Directly below /files only an id is a path of files; other words there may come to mean something else.
        no_id = (422, "InvalidRequest") if path.endswith("metadata/{}") else (404, "NotFound")
        assert (path, code_of(await http.request(method, path.format("7")))) == (path, no_id)
        assert code_of(await http.request(method, path.format("..%2f..%2fetc%2fpasswd"))) == (404, "NotFound")
    assert code_of(await http.put(f"/{uuid4()}/share")) == (405, "MethodNotAllowed")


async def test_a_body_that_cannot_be_read_is_refused(
    gateway: Gateway, http: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for body, expected in [
        (b"{", (422, "InvalidRequest")),
        (b"[]", (422, "InvalidRequest")),
        (b'"1h"', (422, "InvalidRequest")),
        (b'{"note": "a\\u0000b"}', (422, "InvalidRequest")),
        (b'{"note": "\\ud800"}', (422, "InvalidRequest")),
        (b'{"\\ud800": 1}', (422, "InvalidRequest")),
        (b'{"note": NaN}', (422, "InvalidRequest")),
        (b'{"notes": "x"}', (422, "InvalidRequest")),
        (b'{"note": "' + b"x" * 501 + b'"}', (422, "InvalidRequest")),
        (b'{"note": "\xff"}', (400, "BadRequest")),
        (b"[" * 60_000, (400, "BadRequest")),
        (b" " * (MAX_JSON_BYTES + 1), (413, "TooLarge")),
    ]:
        with subtests.test(body=body, expected=expected):
            artifact = await gateway.put(b"x")
            url = f"/{artifact.file_id}/pin"
            headers = {"Content-Type": "application/json"}
            assert code_of(await http.post(url, content=body, headers=headers)) == expected

            async def in_pieces(body: bytes = body) -> AsyncGenerator[bytes]:
                for start in range(0, len(body), 20_000):
                    yield body[start : start + 20_000]

            assert code_of(await http.post(url, content=in_pieces(), headers=headers)) == expected
            assert (await gateway.custody.get(artifact.file_id)).pinned_at is None


async def test_a_body_that_does_not_say_that_it_is_json_is_told_so(
    gateway: Gateway, http: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    for kind in ["application/x-www-form-urlencoded", "text/plain", "application/jsonp", ""]:
        with subtests.test(kind=kind):
            url = f"/{(await gateway.put(b'x')).file_id}/share"
            answer = await http.post(url, content=b'{"expires_in": "15m"}', headers={"Content-Type": kind})
            assert code_of(answer) == (415, "UnsupportedMediaType")
            assert "Content-Type: application/json" in answer.text
            # Without a body, as "curl -X POST -d ''" sends it, there is nothing to be told about.
            assert (await http.post(url, content=b"", headers={"Content-Type": kind})).status_code == 200
            for right in ("application/json; charset=utf-8", "Application/Json", "application/problem+json"):
                assert (await http.post(url, content=b"{}", headers={"Content-Type": right})).status_code == 200


async def test_an_endless_body_ends_at_the_bound_also_without_a_key(gateway: Gateway) -> None:
    host, _, port = urlsplit(gateway.url).netloc.partition(":")

    def answer() -> bytes:
        with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as connection:
            head = f"POST {FILES}/{uuid4()}/pin HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: 5000000000\r\n\r\n".encode() + b" " * MAX_JSON_BYTES)
            with suppress(ConnectionError):  # it is answered, and not read for long
                connection.sendall(b" " * (2 * MAX_JSON_BYTES))
            return connection.recv(1000)

    assert b" 413 " in (await asyncio.to_thread(answer)).split(b"\r\n")[0]
