"""The storages that every test of the contract runs against."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from blocks.storage import Backend, open_backend
from tests.s3 import S3Server


def refuse_link(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


@pytest.fixture(params=["local", "local-without-links", "memory", "s3"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        yield open_backend(f"s3://{server.new_bucket()}/store", server.options)
        return
    if request.param == "memory":
        root = f"/{uuid4().hex}"
        yield open_backend(f"memory:/{root}")
        filesystem = fsspec.filesystem("memory")
        if filesystem.exists(root):
            filesystem.rm(root, recursive=True)
        return
    if request.param == "local-without-links":
        monkeypatch.setattr(os, "link", refuse_link)
    yield open_backend(str(tmp_path / "store"))
