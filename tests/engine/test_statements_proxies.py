"""CREATE PROXY labels, trains and tells; foveal.proxies shows; DROP PROXY takes it away."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foveal.engine.session import Session
from foveal.errors import FovealError

OpenToy = Callable[..., Session]
RIDGE = "CREATE PROXY busy ON street FOR COUNT(*) WITH (labels = 95, family = ridge, seed = 3)"


def notices(session: Session) -> list[str]:
    return [notice.message for notice in session.report.notices]


def rows(session: Session, sql: str) -> list[tuple[Any, ...]]:
    return session.execute(sql).fetchall()


def test_a_proxy_is_made_shown_and_dropped(open_toy: OpenToy) -> None:
    session = open_toy()
    assert session.execute(RIDGE).tag == "CREATE PROXY"
    assert session.report.detector_calls == 95
    assert session.report.seconds["train"] > 0
    (notice,) = notices(session)
    assert notice.startswith('proxy "busy": COUNT(*) from 95 frames')
    ((name, table, quantity, family, labels, r2, seed),) = rows(
        session, "SELECT name, table_name, quantity, family, labels, r2, seed FROM foveal.proxies"
    )
    assert (name, table, quantity, family, labels, seed) == (
        "busy", "street", "COUNT(*)", "ridge", 95, 3,
    )  # fmt: skip
    assert 0.2 < float(str(r2)) < 1
    shown = rows(session, "SHOW PROXIES")
    assert shown[0][:4] == ("busy", "street", "COUNT(*)", "ridge")
    assert session.execute('DROP PROXY "BUSY"').tag == "DROP PROXY"
    assert rows(session, "SHOW PROXIES") == []
    assert rows(session, "SELECT * FROM foveal.proxies") == []


def test_stored_frames_are_preferred_and_nothing_is_detected_twice(open_toy: OpenToy) -> None:
    session = open_toy()
    session.execute("SELECT count(*) FROM street WHERE frame % 2 = 1").fetchall()
    session.execute(RIDGE)
    assert session.report.detector_calls == 0
    session.execute(RIDGE.replace("CREATE", "CREATE OR REPLACE"))
    assert session.report.frames_decoded == 0


def test_without_labels_all_that_is_stored_is_learnt_from(open_toy: OpenToy) -> None:
    session = open_toy()
    session.execute("CREATE PROXY cars ON street FOR COUNT(class = 'car')")
    ((labels, useful),) = rows(session, "SELECT labels, useful FROM foveal.proxies")
    assert labels == 190  # the table has no more frames
    told = notices(session)
    session.execute("CREATE OR REPLACE PROXY cars ON street FOR COUNT('car' = class)")
    assert ("of no use" in notices(session)[0]) is not useful
    assert told == []


def test_names_are_unique_across_tables(open_toy: OpenToy, toy: Any) -> None:
    session = open_toy()
    session.execute(toy.create("other", "a.mp4"))
    session.execute(RIDGE)
    with pytest.raises(FovealError) as caught:
        session.execute(RIDGE.replace("street", "other").replace("busy", "BUSY"))
    assert caught.value.sqlstate == "42710"
    session.execute(RIDGE.replace("PROXY", "PROXY IF NOT EXISTS"))
    assert notices(session) == ['proxy "busy" already exists, skipped']
    session.execute(RIDGE.replace("CREATE", "CREATE OR REPLACE").replace("street", "other"))
    assert rows(session, "SELECT table_name FROM foveal.proxies") == [("other",)]
    session.execute("DROP PROXY IF EXISTS nothing")
    assert notices(session) == ['proxy "nothing" does not exist, skipped']


def test_a_useless_proxy_says_so(open_toy: OpenToy) -> None:
    session = open_toy()
    session.execute("CREATE PROXY few ON street FOR COUNT(*) WITH (labels = 20)")
    assert notices(session) == [
        'proxy "few": COUNT(*) from 20 frames is of no use, and no query will use it: '
        "20 labels are too few: 50 are needed"
    ]
    assert rows(session, "SELECT useful, why, family FROM foveal.proxies") == [
        (False, "20 labels are too few: 50 are needed", "mean")
    ]


def test_no_proxy_inside_a_transaction(open_toy: OpenToy) -> None:
    session = open_toy()
    session.execute(RIDGE)
    session.begin()
    for sql in (RIDGE.replace("busy", "other"), "DROP PROXY busy"):
        with pytest.raises(FovealError) as caught:
            session.execute(sql)
        assert caught.value.sqlstate == "25001"
    session.rollback()
    assert len(rows(session, "SHOW PROXIES")) == 1


def test_a_users_table_called_proxies_is_his(open_toy: OpenToy) -> None:
    session = open_toy()
    session.execute("CREATE TABLE proxies (url VARCHAR)")
    assert rows(session, "SHOW proxies")[0][:2] == ("url", "VARCHAR")


def test_a_users_macro_is_not_learnt(open_toy: OpenToy) -> None:
    session = open_toy()
    session.execute("CREATE MACRO lower(x) AS 'car'")
    with pytest.raises(FovealError, match="no proxy can learn this"):
        session.execute("CREATE PROXY low ON street FOR COUNT(lower(class) = 'car')")


def test_it_survives_the_session(open_toy: OpenToy, tmp_path: Path) -> None:
    first = open_toy(tmp_path / "p.db")
    first.execute(RIDGE)
    before = rows(first, "SELECT * FROM foveal.proxies")
    first.close()
    again = open_toy(tmp_path / "p.db", create=False)
    assert rows(again, "SELECT * FROM foveal.proxies") == before
    assert rows(again, "SHOW PROXIES")[0][0] == "busy"
