"""The public DB-API compliance suite (PyPI: dbapi-compliance), whole."""

from typing import Any

import dbapi20  # pyright: ignore[reportMissingTypeStubs]

import foveal


class TestCompliance(dbapi20.DatabaseAPI20Test):
    """Only the two tests that every driver has to write itself are written here."""

    driver: Any = foveal

    def test_nextset(self) -> None:
        with foveal.connect() as con:
            cur = con.execute("SELECT 1; CREATE TABLE t AS SELECT 2 AS a; SELECT a FROM t")
            assert cur.fetchone() == (1,)
            assert cur.nextset()
            assert cur.description is None
            assert cur.nextset()
            assert cur.fetchall() == [(2,)]
            assert cur.nextset() is None

    def test_setoutputsize(self) -> None:
        with foveal.connect() as con:
            cur = con.cursor()
            cur.setoutputsize(5, 0)
            cur.execute("SELECT 'longer than five'")
            assert cur.fetchone() == ("longer than five",)
