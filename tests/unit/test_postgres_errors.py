"""What a failure of Postgres means is decided by its SQLSTATE alone."""

from __future__ import annotations

import pickle

import psycopg
import pytest
from psycopg import errors

from blocks.errors import CatalogFull, CatalogRefused, CatalogUnavailable, InvalidSettings, WaybillError
from blocks.postgres import postgres_errors
from blocks.postgres.connection import check_url, translated


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("08006", CatalogUnavailable),  # connection failure
        ("25006", CatalogUnavailable),  # read-only: a standby
        ("40001", CatalogUnavailable),  # serialization failure
        ("40P01", CatalogUnavailable),  # deadlock
        ("53100", CatalogFull),  # disk full
        ("53300", CatalogUnavailable),  # too many connections
        ("55P03", CatalogUnavailable),  # lock not available
        ("57P01", CatalogUnavailable),  # admin shutdown
        ("57P03", CatalogUnavailable),  # starting up
        ("28P01", InvalidSettings),  # wrong password
        ("3D000", InvalidSettings),  # no such database
        ("42501", InvalidSettings),  # missing right
        ("42P01", InvalidSettings),  # never migrated
        ("22021", CatalogRefused),  # character not in repertoire
        ("23505", CatalogRefused),  # unique violation
        ("42601", CatalogRefused),  # syntax error
        ("54000", CatalogRefused),  # program limit exceeded
    ],
)
def test_the_state_decides_the_type(state: str, expected: type[WaybillError]) -> None:
    error = translated(errors.lookup(state)("the clause is secret"), "index document abc")
    assert type(error) is expected
    assert "index document abc" in error.message
    assert error.context["sqlstate"] == state


def test_without_a_state_a_dropped_connection_is_passing() -> None:
    assert isinstance(translated(psycopg.OperationalError("server closed the connection"), "x"), CatalogUnavailable)
    assert isinstance(translated(psycopg.InterfaceError("the connection is closed"), "x"), CatalogUnavailable)


def test_what_is_refused_is_not_quoted() -> None:
    with pytest.raises(CatalogRefused) as caught, postgres_errors("index document abc"):
        raise errors.CheckViolation("Failing row contains (the clause is secret)")
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, errors.CheckViolation)


def test_the_error_survives_the_way_home_from_a_worker() -> None:
    error = translated(errors.DeadlockDetected("deadlock"), "index document abc")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    assert (type(copy), copy.message, copy.sqlstate) == (CatalogUnavailable, error.message, "40P01")


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@h:5432/d", "postgresql://postgres:@/waybill?host=/tmp/pg", "host=/tmp dbname=waybill"]
)
def test_what_libpq_reads_is_a_url(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    "url", ["sqlite:///x.db", "postgresql+asyncpg://u:hunter2@h/d", "nonsense", "postgresql://[::1"]
)
def test_what_libpq_does_not_read_is_refused_unquoted(url: str) -> None:
    with pytest.raises(InvalidSettings) as caught:
        check_url(url)
    assert url not in str(caught.value)
