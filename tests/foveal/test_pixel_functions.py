"""`Connection.create_pixel_function`: its checks, and the thread it is told in."""

import pytest

import foveal


def test_a_function_is_listed_and_its_mistakes_are_told() -> None:
    with foveal.connect() as con:
        con.create_pixel_function("glow", lambda images: [1.0 for _ in images], "DOUBLE")
        con.create_pixel_function("Glow", lambda images: [1 for _ in images], "bigint", 1e-3)
        listed = con.execute(
            "SELECT name, argument, returns FROM foveal.functions WHERE name = 'glow'"
        ).fetchall()
        assert listed == [("glow", "content", "BIGINT")]
        with pytest.raises(foveal.ProgrammingError, match=r"redness\(\) of its own"):
            con.create_pixel_function("redness", list, "DOUBLE")
        with pytest.raises(foveal.DataError, match="cannot return"):
            con.create_pixel_function("x", list, "MAP")
        con.execute("BEGIN")
        with pytest.raises(foveal.ProgrammingError) as caught:
            con.create_pixel_function("x", list, "DOUBLE")
        assert caught.value.sqlstate == "25001"


def test_a_closed_connection_takes_none() -> None:
    con = foveal.connect()
    con.close()
    with pytest.raises(foveal.InterfaceError):
        con.create_pixel_function("x", list, "DOUBLE")
