"""What may be asked for, and what of it is stored: never a password."""

from __future__ import annotations

from datetime import timedelta

import pytest

from blocks.errors import InvalidOptions
from blocks.exports import ExportRequest

RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"


@pytest.mark.parametrize(
    "database",
    [
        "postgresql://me:hunter2@db.example.org/sales",
        "postgresql://db.example.org/sales?user=me&password=hunter2",
        "host=db.example.org user=me password=hunter2",
        "adbc:adbc_driver_postgresql:postgresql://me:hunter2@db.example.org/sales",
        "adbc:driver:hunter2",
        "mysql+pymysql://me:hunter2@db.example.org/sales",
    ],
)
def test_a_url_is_stored_without_its_password_and_only_by_the_command_that_has_it(database: str) -> None:
    request = ExportRequest(export_type="a", format="csv", query="select 1", database=database)
    assert request.names_url
    assert "hunter2" not in str(request.stored())
    with pytest.raises(InvalidOptions) as caught:
        request.check_storable()
    assert "hunter2" not in str(caught.value)


def test_a_request_comes_back_from_its_row() -> None:
    request = ExportRequest(
        export_type="orders",
        format="csv",
        compression="gzip",
        query="select '100%' as a",
        database="sales",
        keep_for=timedelta(hours=36),
        encrypt_for=(RECIPIENT, "storage"),
        safe_formulas=True,
    )
    request.check_storable()
    row = {"export_type": "orders", "format": "csv", "compression": "gzip", "parameters": request.stored()}
    assert ExportRequest.of_row(row) == request


@pytest.mark.parametrize("name", ["", "a b", "../etc", "a/b", "1a", "a" * 65, "ä", "a\n"])
def test_a_name_that_cannot_be_a_files_is_refused(name: str) -> None:
    with pytest.raises(InvalidOptions):
        ExportRequest(export_type=name, format="csv", query="select 1")
