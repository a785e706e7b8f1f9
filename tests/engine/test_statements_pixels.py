"""Functions over pictures: real pixels, once per object that needs them, cheap tests first."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from foveal.engine.session import Session
from foveal.errors import FovealError

ARRIVED = "SELECT count(*) FROM street"


Image = npt.NDArray[np.uint8]


def mean(image: Image) -> float:
    return float(image.mean())


class Seen:
    """A function over pictures that counts them."""

    def __init__(
        self, session: Session, name: str, value: Callable[[Image], Any] = mean, *,
        returns: str = "DOUBLE", cost: float | None = None, version: str | None = None,
    ) -> None:  # fmt: skip
        self.images: list[Image] = []
        self._value = value
        session.create_pixel_function(name, self, returns, cost, version)

    def __call__(self, images: list[Image]) -> list[Any]:
        for image in images:
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.size
        self.images += images
        return [self._value(image) for image in images]

    def taken(self) -> int:
        """Return how many pictures came since the last look."""
        count = len(self.images)
        self.images.clear()
        return count


def one(session: Session, sql: str) -> Any:
    ((value,),) = session.execute(sql).fetchall()
    return value


def test_only_objects_that_pass_the_cheap_tests_are_looked_at(open_toy: Any) -> None:
    session = open_toy()
    seen = Seen(session, "glow")
    cars = one(session, f"{ARRIVED} WHERE class = 'car' AND xmin < 40")
    assert 0 < cars < one(session, ARRIVED)
    for where in (
        "glow(content) >= 0 AND class = 'car' AND xmin < 40",
        "class = 'car' AND (glow(content) >= 0) AND xmin < 40",
    ):
        Seen(session, "glow")
        seen = Seen(session, "glow")
        assert one(session, f"{ARRIVED} WHERE {where}") == cars
        assert seen.taken() == cars
        assert session.report.pixel_calls == {"glow": cars}


def test_a_picture_is_shown_once(open_toy: Any) -> None:
    session = open_toy()
    seen = Seen(session, "glow")
    sql = (
        "SELECT frame, glow(content), glow(content) * 2 FROM street WHERE class = 'car' AND "
        "glow(content) > 1 AND glow(content) < 250 ORDER BY glow(content), frame, 3"
    )
    shown = session.execute(sql).fetchall()
    cars = one(session, f"{ARRIVED} WHERE class = 'car'")
    assert seen.taken() == cars
    assert session.execute(sql).fetchall() == shown
    assert one(session, "SELECT avg(glow(content)) FROM street WHERE class = 'car'") > 0
    assert one(session, "SELECT count(*) FROM street a JOIN street b USING (video, frame) WHERE "
                        "a.class = 'car' AND b.class = 'car' AND glow(a.content) > glow(b.content)"
               ) > 0  # fmt: skip
    assert seen.taken() == 0
    assert session.report.pixel_calls == {}
    every = one(session, ARRIVED)
    assert one(session, f"{ARRIVED} WHERE glow(content) >= 0") == every
    assert seen.taken() == every - cars


def test_answers_outlive_the_session(open_toy: Any, tmp_path: Path) -> None:
    base = tmp_path / "kept.db"
    sql = (
        "SELECT frame, redness(content), kept(content), fleeting(content) FROM street "
        "WHERE redness(content) > 20 ORDER BY ALL"
    )

    def functions(session: Session, version: str) -> tuple[Seen, Seen]:
        return Seen(session, "kept", version=version), Seen(session, "fleeting")

    session = open_toy(base)
    kept, fleeting = functions(session, "1")
    first = session.execute(sql).fetchall()
    assert kept.taken() == fleeting.taken() == len(first) > 0
    assert session.report.pixel_calls["redness"] == one(session, ARRIVED)
    session.close()
    session = open_toy(base, create=False)
    kept, fleeting = functions(session, "1")
    assert session.execute(sql).fetchall() == first
    assert (kept.taken(), fleeting.taken()) == (0, len(first))
    assert session.report.pixel_calls == {"fleeting": len(first)}
    kept, fleeting = functions(session, "2")
    assert session.execute(sql).fetchall() == first
    assert kept.taken() == len(first)


def test_a_pilot_finds_the_order(open_toy: Any) -> None:
    session = open_toy()
    every = one(session, ARRIVED)
    loose = Seen(session, "loose", lambda _: 1.0, cost=1e-6)
    tight = Seen(session, "tight", lambda image: float(image[..., 0].mean() > 1e9), cost=1e-3)
    where = "loose(content) = 1 AND tight(content) = 1"
    assert one(session, f"{ARRIVED} WHERE {where}") == 0
    assert loose.taken() == 32  # the pilot alone: nothing passes `tight`
    assert tight.taken() == every
    assert session.report.pixel_steps["tight(content) = 1"] == (every, 0)
    plan = "\n".join(r[0] for r in session.execute(f"EXPLAIN {ARRIVED} WHERE {where}").fetchall())
    assert plan.index("pixels 1  tight(content) = 1") < plan.index("pixels 2  loose(content) = 1")
    assert plan.count("(measured)") == 2
    assert "__foveal" not in plan.split("PixelFilter")[1]


def test_explain_counts(open_toy: Any) -> None:
    session = open_toy()
    sql = f"{ARRIVED} WHERE redness(content) >= 17.5 AND class = 'car'"
    plan = "\n".join(r[0] for r in session.execute(f"EXPLAIN {sql}").fetchall())
    assert "PixelFilter street" in plan
    assert "first  class = 'car'" in plan
    assert "pixels 1  redness(content) >= 17.5" in plan
    assert "(not measured yet)" in plan
    assert session.report.pixel_calls == {}
    cars = one(session, f"{ARRIVED} WHERE class = 'car'")
    lines = [r[0] for r in session.execute(f"EXPLAIN ANALYZE {sql}").fetchall()]
    (calls,) = [line for line in lines if line.startswith("redness()")]
    assert calls.split() == ["redness()", str(cars)]
    assert any(f"of {cars}" in line and "passed by" in line for line in lines)
    assert '"pixels"' in one(session, f"EXPLAIN (FORMAT JSON) {sql}")


QUERIES = (
    "SELECT video, frame, class FROM street WHERE {p} AND class <> 'bus'",
    "SELECT s.video, s.frame FROM street s WHERE s.confidence > 0.6 AND {s}",
    "SELECT * EXCLUDE (content, mask) FROM (SELECT * FROM street WHERE {p}) WHERE frame > 9",
    "WITH c AS (SELECT * FROM street WHERE class = 'car') SELECT frame FROM c AS street WHERE {p}",
    "SELECT class, count(*) FROM street WHERE {p} GROUP BY class",
    "SELECT video, FCOUNT(*) FROM street WHERE {p} AND frame < 50 GROUP BY video",
    "SELECT s.frame, t.n FROM (VALUES (33)) t(n) LEFT JOIN street s ON s.frame = t.n AND {s}",
    "SELECT s.frame, t.n FROM (VALUES (33)) t(n) LEFT JOIN street s ON s.frame = t.n WHERE {s}",
    "SELECT frame FROM street WHERE {p} OR class = 'bus'",
    "SELECT frame FROM street WHERE NOT ({p})",
    "SELECT trackid, count(*) FROM street WHERE {p} GROUP BY trackid",
    "SELECT frame FROM street WHERE {p} AND frame IN (SELECT frame FROM street.frames)",
    "SELECT frame FROM street WHERE {p} LIMIT 4 GAP 5",
    "SELECT frame FROM street WHERE {p} AND frame < $1",
    "SELECT (SELECT count(*) FROM street WHERE {p})",
    "SELECT video, frame FROM street WHERE {p} AND frame::VARCHAR::INT >= 0",
)


@pytest.mark.parametrize("sql", QUERIES)
def test_answers_are_those_of_stored_values(open_toy: Any, sql: str) -> None:
    """The same query over a column that holds every object's value gives the same rows."""
    session = open_toy()
    session.execute("CREATE TABLE red AS SELECT video, frame, xmin, ymin, class AS of, "
                    "redness(content) AS r, brightness(content) AS b FROM street")  # fmt: skip
    joined = (
        "EXISTS (FROM red WHERE red.video = street.video AND red.frame = street.frame AND "
        "red.xmin = street.xmin AND red.ymin = street.ymin AND red.of = street.class AND "
        "red.r > 50 AND red.b < 120)"
    )
    plain = "redness(content) > 50 AND brightness(content) < 120"
    if " OR " in sql or "NOT (" in sql:
        plain = f"({plain})"
    qualified = plain.replace("content", "s.content")
    given = [40] if "$1" in sql else None
    fast = session.execute(sql.format(p=plain, s=qualified), given).fetchall()
    slow = session.execute(
        sql.format(p=joined, s=joined.replace("street.", "s.")), given
    ).fetchall()
    assert sorted(map(repr, fast)) == sorted(map(repr, slow))
    assert fast


def test_what_has_no_picture_has_no_value(open_toy: Any) -> None:
    session = open_toy()
    seen = Seen(session, "glow")
    assert session.execute(
        "SELECT n, glow(s.content) FROM range(2) t(n) LEFT JOIN street s ON false ORDER BY n"
    ).fetchall() == [(0, None), (1, None)]
    place = (
        "SELECT glow(struct_pack(source := content.source, frame := content.frame, "
        "xmin := {}::FLOAT, ymin := {}::FLOAT, xmax := {}::FLOAT, ymax := {}::FLOAT)) "
        "FROM street LIMIT 1"
    )
    for box in ((500, 10, 520, 30), (-30, 0, -5, 20), (10, 10, 10, 40), ("'nan'", 0, 9, 9)):
        assert one(session, place.format(*box)) is None
    assert seen.taken() == 0
    assert one(session, place.format(-5, -5, 8.5, 3.2)) is not None
    assert [image.shape for image in seen.images] == [(4, 9, 3)]
    assert one(session, f"{ARRIVED} WHERE glow(NULL) > 0") == 0


def test_whole_frames(open_toy: Any) -> None:
    session = open_toy()
    seen = Seen(session, "glow")
    sql = "SELECT count(*) FROM street.frames WHERE glow(image) >= 0 AND frame < 7 AND is_key"
    keys = one(session, "SELECT count(*) FROM street.frames WHERE frame < 7 AND is_key")
    assert one(session, sql) == keys
    assert {image.shape for image in seen.images} == {(64, 96, 3)}
    assert seen.taken() == keys
    assert session.report.detector_calls == 0


def raises(images: list[Image]) -> list[float]:
    return [1 / 0 for _ in images]


def one_for_all(images: list[Image]) -> list[float]:
    return [float(len(images))]


def words(images: list[Image]) -> list[str]:
    return ["x" for _ in images]


def nothing(images: list[Image]) -> None:
    del images


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (raises, "glow() failed"),
        (one_for_all, "returned 1 value(s) for"),
        (words, "glow() failed"),
        (nothing, "glow() failed"),
    ],
)
@pytest.mark.parametrize(
    "sql", ["SELECT max(glow(content)) FROM street", f"{ARRIVED} WHERE glow(content) > 1"]
)
def test_a_function_that_fails(open_toy: Any, value: Any, said: str, sql: str) -> None:
    session = open_toy()
    session.create_pixel_function("glow", value, "DOUBLE", None, None)
    with pytest.raises(FovealError) as caught:
        session.execute(sql).fetchall()
    assert caught.value.sqlstate == "38000"
    assert said in caught.value.message
    assert one(session, "SELECT 1") == 1
    Seen(session, "glow")
    assert session.execute(sql).fetchall()


@pytest.mark.parametrize(
    ("arguments", "state"),
    [
        (("redness", "DOUBLE", None), "42723"),
        (("a b", "DOUBLE", None), "42602"),
        (("__x", "DOUBLE", None), "42602"),
        (("x", "STRUCT(a INT)", None), "22023"),
        (("x", "DOUBLE", -1.0), "22023"),
    ],
)
def test_functions_that_cannot_be(open_toy: Any, arguments: Any, state: str) -> None:
    name, returns, cost = arguments
    with pytest.raises(FovealError) as caught:
        open_toy(create=False).create_pixel_function(name, list, returns, cost, None)
    assert caught.value.sqlstate == state


@pytest.mark.parametrize(
    ("returns", "value"),
    [("BIGINT", 7), ("BOOLEAN", True), ("VARCHAR", "x"), ("BLOB", b"\x00y"), ("double", 0.5)],
)
def test_types(open_toy: Any, returns: str, value: Any) -> None:
    session = open_toy()
    Seen(session, "it", lambda image: value, returns=returns)
    assert one(session, "SELECT any_value(it(content)) FROM street") == value
    assert ("it", returns.upper()) in session.execute(
        "SELECT name, returns FROM foveal.functions"
    ).fetchall()


def test_arrays_and_nulls_come_back(open_toy: Any) -> None:
    session: Session = open_toy()
    session.create_pixel_function("a", lambda ims: np.arange(len(ims)) * 1.0, "DOUBLE", None, None)
    session.create_pixel_function("b", lambda ims: [None] * len(ims), "DOUBLE", None, None)
    assert one(session, "SELECT count(a(content)) - count(*) FROM street") == 0
    assert one(session, "SELECT count(b(content)) FROM street") == 0


def test_a_users_macro_wins(open_toy: Any) -> None:
    session = open_toy()
    session.execute("CREATE MACRO iou(a, b) AS 42")
    assert one(session, "SELECT max(iou(mask, mask)) FROM street") == 42


def test_a_rollback_takes_no_function_away(open_toy: Any) -> None:
    session = open_toy()
    for _ in range(2):
        session.begin()
        assert one(session, "SELECT max(redness(content)) FROM street") > 0
        with pytest.raises(FovealError) as caught:
            Seen(session, "late")
        assert caught.value.sqlstate == "25001"
        session.rollback()
    Seen(session, "late")
    assert one(session, "SELECT max(late(content)) FROM street") > 0
    assert one(session, "SELECT max(redness(content)) FROM street") > 0


def test_pictures_from_a_child_process(open_toy: Any) -> None:
    session = open_toy(isolate_decode=True)
    where = "redness(content) > 50 AND brightness(content) < 120 AND class = 'car'"
    found = one(session, f"{ARRIVED} WHERE {where}")
    assert found == one(open_toy(), f"{ARRIVED} WHERE {where}") > 0


def test_masks_in_sql(open_toy: Any) -> None:
    session = open_toy()
    differs = (
        "abs(width(mask) - (xmax - xmin)) + abs(height(mask) - (ymax - ymin)) + "
        "abs(iou(mask, box(xmin, ymin, xmax, ymax)) - 1) > 1e-4"
    )
    assert one(session, f"{ARRIVED} WHERE {differs}") == 0
    by_hand = one(
        session, f"{ARRIVED} WHERE (xmin + xmax) / 2 < 30.7 AND ymax BETWEEN 7.7 AND 50.7"
    )
    for polygon in ("[[-9, 7.7], [30.7, 7.7], [30.7, 50.7], [-9, 50.7]]",
                    "'POLYGON((-9 7.7, 30.7 7.7, 30.7 50.7, -9 50.7))'"):  # fmt: skip
        assert one(session, f"{ARRIVED} WHERE inside(mask, {polygon})") == by_hand > 0
    assert session.report.pixel_calls == {}
    with pytest.raises(FovealError) as caught:
        session.execute(f"{ARRIVED} WHERE inside(mask, [[1, 2]])").fetchall()
    assert (caught.value.sqlstate, caught.value.message[:18]) == ("22023", "this is no polygon")
    with pytest.raises(FovealError) as caught:
        session.execute("SELECT iou(mask) FROM street").fetchall()
    assert caught.value.sqlstate == "42883"


def test_classify(open_toy: Any, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["m"]),
         helper.make_node("Flatten", ["m"], ["scores"])],
        "g", [helper.make_tensor_value_info("x", kind, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info("scores", kind, ["n", 3])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "colours.onnx"
    path.write_bytes(model.SerializeToString())
    path.with_suffix(".names").write_text("red\ngreen\nblue\n")
    session = open_toy()
    sql = f"SELECT class, classify(content, '{path}') AS c, count(*) FROM street GROUP BY ALL"
    found = {(kind, colour): n for kind, colour, n in session.execute(sql).fetchall()}
    every = one(session, ARRIVED)
    assert session.execute(sql).fetchall()
    assert session.report.pixel_calls == {}
    assert sum(found.values()) == every
    agree = sum(
        found.get(pair, 0) for pair in (("car", "red"), ("person", "green"), ("bus", "blue"))
    )
    assert agree > 0.9 * every
    reds = one(session, f"{ARRIVED} WHERE class = 'car' AND classify(content, '{path}') = 'red'")
    assert reds == found["car", "red"]
    counted = f"SELECT FCOUNT(*) FROM street WHERE classify(content, '{path}') = 'rouge'"
    assert one(session, f"{counted} ERROR WITHIN 0.5") == 0
    path.with_suffix(".names").write_text("rouge\nvert\nbleu\n")
    assert one(session, f"{counted} ERROR WITHIN 0.5") > 0
    assert one(session, f"{ARRIVED} WHERE classify(content, '{path}') = 'rouge'") == sum(
        n for (_, colour), n in found.items() if colour == "red"
    )
    with pytest.raises(FovealError) as caught:
        session.execute("SELECT classify(content, 'nowhere.onnx') FROM street").fetchall()
    assert caught.value.sqlstate == "58P01"


def test_estimates_over_pixels(open_toy: Any) -> None:
    session = open_toy()
    seen = Seen(session, "glow", lambda image: float(image[..., 0].mean()))
    sql = "SELECT FCOUNT(*) FROM street WHERE class = 'car' AND glow(content) > 90"
    truth = one(session, sql)
    cars = one(session, f"{ARRIVED} WHERE class = 'car'")
    assert seen.taken() == cars
    one(session, f"{sql} ERROR WITHIN 0.2")
    assert session.report.low - 1e-9 <= truth <= session.report.high + 1e-9
    assert seen.taken() == 0
    # Another function of the name is another question: no answer is recalled.
    Seen(session, "glow", lambda image: 0.0)
    assert one(session, f"{sql} ERROR WITHIN 0.2") == 0
