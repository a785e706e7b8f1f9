"""Generated queries over video tables answer as plain DuckDB does over copies of their rows.

The reference holds the relations as ordinary tables under the same names (`street`, and the schema
`street` with `frames` and `tracks`), so that both systems read the same text. Each template below
is filled at random, from a seed, with predicates, columns and names.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import duckdb
import pyarrow as pa
import pytest

from foveal.engine import planning
from foveal.engine.session import Session
from foveal.planner.logical import FRAME_COLUMNS, OBJECT_COLUMNS, TRACK_COLUMNS

pytestmark = pytest.mark.filterwarnings("ignore:Arrow output on a DB-API result")

PER_TEMPLATE = 12

ORDINARY = """
CREATE TABLE cams (video VARCHAR, place VARCHAR, zone INTEGER);
INSERT INTO cams VALUES ('a.mp4', 'bridge', 1), ('b.mp4', 'school', 2), ('x.mp4', 'depot', 2);
CREATE TABLE events (video VARCHAR, moment DOUBLE, kind VARCHAR, severity INTEGER);
INSERT INTO events VALUES ('a.mp4', 0.55, 'horn', 1), ('a.mp4', 3.0, 'brake', 3),
    ('b.mp4', 1.0, 'horn', 2), ('b.mp4', 4.25, 'rain', NULL), ('v.mkv', 2.0, 'horn', 5);
CREATE TABLE ticks AS SELECT range AS frame FROM range(0, 100, 7);
CREATE TABLE kinds (class VARCHAR, wheels INTEGER);
INSERT INTO kinds VALUES ('car', 4), ('bus', 6), ('bike', 2);
CREATE VIEW far AS SELECT * FROM cams WHERE zone = 2;
CREATE MACRO twice(x) AS x * 2;
CREATE MACRO near_frames(n) AS TABLE SELECT frame FROM ticks WHERE frame < n;
"""

OVER_VIDEO = """
CREATE VIEW cars AS SELECT * FROM street WHERE class = 'car';
CREATE VIEW named(v, f, c) AS SELECT video, frame, class FROM street WHERE frame % 2 = 0;
CREATE VIEW per_frame AS SELECT video, frame, count(*) AS n FROM street GROUP BY video, frame;
CREATE VIEW busy AS SELECT * FROM per_frame WHERE n >= 3;
CREATE MACRO seen(kind, least) AS TABLE
    SELECT video, frame, confidence FROM street WHERE class = kind AND confidence > least;
CREATE MACRO sightings(kind) AS (SELECT count(*) FROM street WHERE class = kind);
"""


@dataclass(frozen=True)
class Answer:
    """Names and types of the columns, and the rows; `error` the message instead."""

    columns: tuple[tuple[str, str], ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Systems:
    """foveal, and DuckDB over copies: with the track ids, and with NULLs in their place."""

    foveal: Session
    tracked: duckdb.DuckDBPyConnection
    plain: duckdb.DuckDBPyConnection

    def ours(self, sql: str, parameters: Any = None) -> Answer:
        result = self.foveal.execute(sql, parameters)
        return Answer(tuple((c.name, c.type) for c in result.columns), tuple(result.fetchall()))

    def theirs(self, sql: str, parameters: Any = None) -> Answer:
        connection = self.reference(sql)
        connection.execute(sql, parameters)
        described = connection.description or []
        columns = tuple((str(d[0]), str(d[1])) for d in described)
        return Answer(columns, tuple(connection.fetchall()))

    def reference(self, sql: str) -> duckdb.DuckDBPyConnection:
        """Return the copy with track ids where the text names them: a star does not."""
        return self.tracked if "trackid" in sql else self.plain


def copy_relations(session: Session) -> Mapping[str, pa.Table]:
    """Return every column of the three relations."""
    listed = {"street": OBJECT_COLUMNS, "street.frames": FRAME_COLUMNS,
              "street.tracks": TRACK_COLUMNS}  # fmt: skip
    return {
        name: session.execute(f"SELECT {', '.join(columns)} FROM {name}").arrow_table()
        for name, columns in listed.items()
    }


def reference(relations: Mapping[str, pa.Table], *, tracked: bool) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("CREATE SCHEMA street")
    for name, table in relations.items():
        connection.register("held", table)
        star = "*" if tracked or name != "street" else "* REPLACE (NULL::BIGINT AS trackid)"
        connection.execute(f"CREATE TABLE {name} AS SELECT {star} FROM held")
        connection.unregister("held")
    for statement in (ORDINARY + OVER_VIDEO).split(";\n"):
        connection.execute(statement)
    return connection


@pytest.fixture(scope="module")
def systems(toy: Any) -> Iterator[Systems]:
    session = Session(settings={"isolate_decode": False, "verify_plans": True, "threads": 1})
    session.execute(toy.create())
    for statement in (ORDINARY + OVER_VIDEO).split(";\n"):
        if statement.strip():
            session.execute(statement)
    relations = copy_relations(session)
    tracked, plain = (reference(relations, tracked=t) for t in (True, False))
    yield Systems(session, tracked, plain)
    session.close()
    tracked.close()
    plain.close()


def close(a: object, b: object) -> bool:
    """Compare two values; floating-point sums may be added up in another order."""
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        mine, yours = list(cast("list[object]", a)), list(cast("list[object]", b))
        return len(mine) == len(yours) and all(map(close, mine, yours))
    if isinstance(a, dict) and isinstance(b, dict):
        return close(list(cast("Any", a).items()), list(cast("Any", b).items()))
    return a == b


def sortable(row: Sequence[Any]) -> tuple[Any, ...]:
    return tuple((v is not None, f"{v:.7g}" if isinstance(v, float) else repr(v)) for v in row)


def agree(ours: Answer, theirs: Answer, *, ordered: bool) -> str | None:
    """Return what differs, or None."""
    if ours.columns != theirs.columns:
        return f"columns {ours.columns} != {theirs.columns}"
    mine, yours = list(ours.rows), list(theirs.rows)
    if len(mine) != len(yours):
        return f"{len(mine)} rows != {len(yours)}"
    if not ordered:
        mine, yours = sorted(mine, key=sortable), sorted(yours, key=sortable)
    for i, (a, b) in enumerate(zip(mine, yours, strict=True)):
        if not close(a, b):
            return f"row {i}: {a} != {b}"
    return None


# --- the generator -------------------------------------------------------------------------------


class Writer:
    """Fills templates: every method returns a piece of SQL drawn at random."""

    def __init__(self, seed: str) -> None:
        self.pick = random.Random(seed)

    def one(self, *choices: str) -> str:
        return self.pick.choice(choices)

    def number(self, low: int, high: int) -> int:
        return self.pick.randint(low, high)

    def frames_only(self, t: str = "") -> str:
        """A predicate on frames alone: what may move below the detector."""
        return self.one(
            f"{t}frame < {self.number(0, 95)}",
            f"{t}frame BETWEEN {self.number(0, 40)} AND {self.number(20, 90)}",
            f"{t}frame % {self.number(2, 9)} = 0",
            f"{t}ts >= {self.number(0, 80) / 10}",
            f"{t}ts < 2.5 OR {t}ts > {self.number(30, 60) / 10}",
            f"{t}video = '{self.one('a.mp4', 'b.mp4', 'v.mkv', 'none.mp4')}'",
            f"{t}video LIKE '%.mp4' AND NOT {t}frame = {self.number(0, 50)}",
            f"{t}video IN ('a.mp4', 'v.mkv')",
            f"abs({t}ts - 3) < {self.number(1, 4)}",
            f"{self.number(0, 60)} <= {t}frame",
            f"{t}frame IS NOT NULL",
            f"twice({t}frame) < {self.number(20, 150)}",
        )

    def objects(self, t: str = "") -> str:
        """A predicate on objects."""
        return self.one(
            f"{t}class = '{self.one('car', 'person', 'bus')}'",
            f"{t}class <> 'car'",
            f"{t}class IN ('car', 'bus')",
            f"upper({t}class) LIKE '{self.one('C', 'B', 'P')}%'",
            f"{t}confidence > 0.{self.number(55, 90)}",
            f"{t}xmin BETWEEN {self.number(0, 30)} AND {self.number(31, 90)}",
            f"({t}xmax - {t}xmin) * ({t}ymax - {t}ymin) > {self.number(100, 256)}",
            f"{t}trackid % 2 = {self.number(0, 1)}",
            f"{t}trackid IS NOT NULL",
            f"{t}mask[1].x > {self.number(0, 60)}",
            f"len({t}mask) = 4 AND {t}ymin < {self.number(10, 50)}",
            f"{t}content.frame > {self.number(0, 60)}",
            f"{t}features IS NULL",
            f"{t}content IS NOT NULL",
            f"CASE WHEN {t}class = 'car' THEN {t}frame > 20 ELSE {t}confidence > 0.7 END",
            f"{t}class IN (SELECT class FROM kinds WHERE wheels > {self.number(2, 5)})",
            f"NOT ({t}class = 'person' AND {t}frame < {self.number(10, 60)})",
        )

    def where(self, t: str = "", least: int = 0) -> str:
        parts = [
            f"({self.frames_only(t)})" if self.number(0, 1) else f"({self.objects(t)})"
            for _ in range(self.number(least, 3))
        ]
        if not parts:
            return ""
        return " WHERE " + self.one(" AND ", " AND ", " OR ").join(parts)

    def columns(self, t: str = "") -> str:
        chosen = self.pick.sample(OBJECT_COLUMNS, self.number(1, 6))
        return ", ".join(t + c for c in chosen)

    def star(self) -> str:
        return self.one(
            "*",
            "* EXCLUDE (trackid, content)",
            "* EXCLUDE (features) ",
            "* REPLACE (upper(class) AS class)",
            "* EXCLUDE (mask, content) REPLACE (frame + 1 AS frame)",
            "COLUMNS('^(x|y)m')",
            "COLUMNS(lambda c: c LIKE '%fra%' OR c = 'class')",
            "video, *",
        )

    def aggregate(self, t: str = "") -> str:
        return self.one(
            "count(*)",
            f"count(DISTINCT {t}frame)",
            f"sum({t}confidence)",
            f"avg({t}xmax - {t}xmin)",
            f"min({t}ts)",
            f"max({t}class)",
            f"count(*) FILTER (WHERE {t}class = 'car')",
            f"sum({t}class = 'bus')",
            f"median({t}confidence)",
            f"list({t}frame ORDER BY {t}frame)",
            f"string_agg(DISTINCT {t}class, ',' ORDER BY {t}class)",
            f"count({t}trackid)",
            f"count(DISTINCT {t}trackid)",
            f"bool_or({t}confidence > 0.8)",
            f"arg_max({t}frame, {t}ts)",
        )

    def key(self, t: str = "") -> str:
        return self.one(
            f"{t}video",
            f"{t}class",
            f"{t}video, {t}class",
            f"{t}frame // 10",
            f"floor({t}ts / 2)",
            f"{t}video, {t}frame",
            f"{t}class = 'car'",
            f"time_bucket(INTERVAL '2 seconds', make_timestamp(({t}ts * 1000000)::BIGINT))",
        )


Template = Callable[[Writer], str]
TEMPLATES: dict[str, Template] = {}


def template(make: Template) -> Template:
    TEMPLATES[make.__name__] = make
    return make


@template
def projections(w: Writer) -> str:
    return f"SELECT {w.columns()} FROM street{w.where()}"


@template
def expressions(w: Writer) -> str:
    what = w.one(
        "frame + 1, upper(class)",
        'xmax - xmin AS width, ts * 2 "Twice"',
        "class || '-' || video",
        "t.frame, t.class AS kind",
        "confidence::DECIMAL(4, 3), frame::VARCHAR",
        "CASE class WHEN 'car' THEN 1 ELSE 0 END",
        "struct_pack(f := frame, c := class)",
        "[xmin, ymin]",
        "mask[2].y, content.source IS NULL",
        "row(frame, class)",
        "greatest(xmin, ymin), coalesce(trackid, -1)",
        "twice(frame)",
    )
    return f"SELECT {what} FROM street t{w.where('t.')}"


@template
def stars(w: Writer) -> str:
    return f"SELECT {w.star()} FROM street{w.where()}"


@template
def from_first(w: Writer) -> str:
    return w.one(
        f"FROM street{w.where()}",
        f"FROM street SELECT frame, class{w.where()}",
        f"FROM (FROM street{w.where()}) SELECT class, count(*) GROUP BY ALL",
        "FROM street.frames",
        "TABLE street",
    )


@template
def whole_rows(w: Writer) -> str:
    return w.one(
        f"SELECT t FROM street.frames t WHERE {w.frames_only('t.')}",
        f"SELECT t FROM (SELECT video, frame, class FROM street WHERE {w.frames_only()}) t",
        "SELECT count(t), count(DISTINCT t) FROM street.tracks t",
        f"SELECT t.* FROM street t WHERE {w.frames_only('t.')}",
        "SELECT u.*, t.frame FROM cams u JOIN street t ON t.video = u.video",
        "SELECT (t).class, count(*) FROM street t GROUP BY ALL",
    )


@template
def frames_relation(w: Writer) -> str:
    return w.one(
        f"SELECT * FROM street.frames WHERE {w.frames_only()}",
        f"SELECT video, count(*), min(ts), max(pts) FROM street.frames WHERE {w.frames_only()} "
        "GROUP BY video",
        f"SELECT frames.frame, frames.ts FROM street.frames WHERE {w.frames_only('frames.')}",
        f"SELECT street.frames.frame FROM street.frames WHERE {w.frames_only('frames.')}",
        f"SELECT f.frame, f.is_key FROM street.frames AS f WHERE is_key OR {w.frames_only('f.')}",
        f"SELECT count(*) FROM street.frames WHERE image IS NOT NULL AND {w.frames_only()}",
    )


@template
def tracks_relation(w: Writer) -> str:
    return w.one(
        "SELECT * FROM street.tracks",
        f"SELECT class, count(*), max(frames) FROM street.tracks WHERE frames > {w.number(1, 20)} "
        "GROUP BY class",
        "SELECT t.trackid, count(*) FROM street s JOIN street.tracks t "
        "ON s.video = t.video AND s.trackid = t.trackid GROUP BY ALL",
        "SELECT count(*) FROM street.tracks, cams WHERE tracks.video = cams.video",
        f"SELECT video, trackid FROM street.tracks WHERE first_frame < {w.number(5, 40)}",
        "SELECT tracks.class, last_ts - first_ts AS seconds FROM street.tracks",
    )


@template
def track_ids(w: Writer) -> str:
    return w.one(
        f"SELECT video, frame, trackid FROM street WHERE {w.frames_only()}",
        f"SELECT count(DISTINCT trackid) FROM street WHERE {w.frames_only()} AND class = 'car'",
        f"SELECT video, trackid, min(frame), max(frame) FROM street WHERE trackid > "
        f"{w.number(0, 3)} GROUP BY ALL",
        f"SELECT *, trackid AS id FROM street WHERE {w.frames_only()}",
    )


@template
def group_by(w: Writer) -> str:
    key = w.key()
    return f"SELECT {key}, {w.aggregate()}, {w.aggregate()} FROM street{w.where()} GROUP BY {key}"


@template
def group_by_all(w: Writer) -> str:
    having = w.one("", "", " HAVING count(*) > 2", " HAVING max(confidence) > 0.7")
    return f"SELECT {w.key()}, {w.aggregate()} FROM street{w.where()} GROUP BY ALL{having}"


@template
def group_by_position(w: Writer) -> str:
    return (
        f"SELECT video, frame // {w.number(3, 20)} AS part, {w.aggregate()} AS x FROM street"
        f"{w.where()} GROUP BY 1, part ORDER BY part DESC, 1"
    )


@template
def having(w: Writer) -> str:
    return (
        f"SELECT video, frame FROM street{w.where()} GROUP BY video, frame HAVING "
        + w.one("count(*) >= 2", "sum(class = 'car') >= 1 AND sum(class = 'bus') >= 1",
                "sum(class = 'person') = 0", f"avg(xmin) > {w.number(10, 50)}",
                "count(DISTINCT class) > 1")
    )  # fmt: skip


@template
def grouping_sets(w: Writer) -> str:
    sets = w.one("ROLLUP (video, class)", "CUBE (video, class)",
                 "GROUPING SETS ((video), (class), ())")  # fmt: skip
    return f"SELECT video, class, {w.aggregate()} FROM street{w.where()} GROUP BY {sets}"


@template
def ungrouped(w: Writer) -> str:
    return f"SELECT {w.aggregate()}, {w.aggregate()} FROM street{w.where()}"


@template
def ordered(w: Writer) -> str:
    direction = w.one("", "DESC", "DESC NULLS LAST")
    return (
        f"SELECT video, frame, class, confidence FROM street{w.where()} ORDER BY video, "
        f"frame {direction}, class, confidence, xmin, ymin LIMIT {w.number(0, 40)} "
        f"OFFSET {w.number(0, 9)}"
    )


@template
def distinct(w: Writer) -> str:
    return w.one(
        f"SELECT DISTINCT class, video FROM street{w.where()}",
        f"SELECT DISTINCT ON (video, class) video, class, frame FROM street{w.where()} "
        "ORDER BY video, class, frame, confidence",
        f"SELECT count(*) FROM (SELECT DISTINCT frame FROM street{w.where()})",
    )


@template
def limits(w: Writer) -> str:
    n = w.number(0, 30)
    return w.one(
        f"SELECT count(*) FROM (SELECT * FROM street{w.where()} LIMIT {n})",
        f"SELECT count(*) FROM (FROM street.frames LIMIT {n} OFFSET 5)",
        f"SELECT count(*) FROM (SELECT class FROM street LIMIT {n}%)",
    )


@template
def inner_joins(w: Writer) -> str:
    on = w.one("ON s.video = c.video", "USING (video)")
    return (
        f"SELECT c.place, s.class, {w.aggregate('s.')} FROM street s JOIN cams c {on}"
        f"{w.where('s.')} GROUP BY c.place, s.class"
    )


@template
def comma_joins(w: Writer) -> str:
    return (
        f"SELECT s.frame, c.place FROM street s, cams c WHERE s.video = c.video AND "
        f"({w.frames_only('s.')}) AND ({w.objects('s.')}) AND c.zone <= {w.number(1, 2)}"
    )


@template
def natural_joins(w: Writer) -> str:
    return w.one(
        f"SELECT place, frame FROM street NATURAL JOIN cams WHERE {w.frames_only()}",
        "SELECT count(*) FROM street NATURAL JOIN ticks",
        "SELECT wheels, count(*) FROM kinds NATURAL JOIN street GROUP BY wheels",
        f"SELECT video, place, class FROM street JOIN cams USING (video) WHERE {w.frames_only()}",
    )


@template
def outer_joins(w: Writer) -> str:
    kind = w.one("LEFT", "RIGHT", "FULL")
    left, right = w.one("street s|cams c", "cams c|street s").split("|")
    condition = w.one("", f" AND s.frame < {w.number(5, 50)}", " AND s.class = 'bus'")
    where = w.one(
        "",
        f" WHERE s.frame > {w.number(3, 30)}",
        " WHERE s.frame IS NULL",
        " WHERE s.class IS NULL OR s.class = 'car'",
        " WHERE c.place IS NULL",
    )
    return (
        f"SELECT s.video, s.frame, s.class, c.place FROM {left} {kind} JOIN {right} "
        f"ON s.video = c.video{condition}{where}"
    )


@template
def frames_to_objects(w: Writer) -> str:
    return (
        "SELECT f.video, f.frame, count(s.class) AS n FROM street.frames f LEFT JOIN street s "
        f"ON s.video = f.video AND s.frame = f.frame AND {w.objects('s.')} "
        f"WHERE {w.frames_only('f.')} GROUP BY f.video, f.frame"
    )


@template
def semi_and_anti(w: Writer) -> str:
    kind = w.one("SEMI", "ANTI")
    return w.one(
        f"SELECT s.frame, s.class FROM street s {kind} JOIN cams c ON s.video = c.video"
        f"{w.where('s.')}",
        f"SELECT c.place FROM cams c {kind} JOIN street s ON s.video = c.video AND "
        f"{w.objects('s.')}",
        f"SELECT frame FROM ticks {kind} JOIN street USING (frame)",
        f"SELECT s.frame FROM street s {kind} JOIN ticks t ON s.frame = t.frame "
        f"WHERE {w.frames_only('s.')}",
    )


@template
def asof_joins(w: Writer) -> str:
    return w.one(
        "SELECT e.kind, e.moment, f.frame FROM events e ASOF JOIN street.frames f "
        "ON e.video = f.video AND e.moment >= f.ts",
        "SELECT f.video, f.frame, e.kind FROM street.frames f ASOF LEFT JOIN events e "
        f"ON f.video = e.video AND f.ts >= e.moment WHERE {w.frames_only('f.')}",
        "SELECT e.kind, s.class, s.n FROM events e ASOF LEFT JOIN (SELECT video, ts, "
        "min(class) AS class, count(*) AS n FROM street GROUP BY video, ts) s "
        "ON e.video = s.video AND e.moment >= s.ts",
    )


@template
def self_joins(w: Writer) -> str:
    return w.one(
        f"SELECT a.video, a.frame, a.class, b.class FROM street a JOIN street b "
        f"ON a.video = b.video AND a.frame = b.frame AND a.xmin < b.xmin WHERE {w.objects('b.')} "
        f"AND {w.frames_only('a.')}",
        f"SELECT count(*) FROM street a, street b WHERE a.frame = b.frame AND "
        f"{w.frames_only('b.')} AND a.video = b.video",
        "SELECT a.trackid, b.frame - a.frame AS step FROM street a JOIN street b "
        "ON a.video = b.video AND a.trackid = b.trackid AND b.frame = a.frame + 1",
        f"SELECT x.frame FROM street x WHERE x.frame = (SELECT min(frame) FROM street y WHERE "
        f"y.video = x.video AND {w.objects('y.')})",
    )


@template
def windows(w: Writer) -> str:
    over = w.one(
        "OVER (PARTITION BY video ORDER BY frame, class, xmin, ymin)",
        "OVER (PARTITION BY video, class ORDER BY frame, xmin, ymin ROWS BETWEEN 2 PRECEDING AND "
        "CURRENT ROW)",
        "OVER (ORDER BY ts, video, class, xmin, ymin)",
    )
    call = w.one("row_number()", "rank()", "lag(frame)", "sum(confidence)", "count(*)",
                 "first_value(class)")  # fmt: skip
    return f"SELECT video, frame, class, {call} {over} AS x FROM street{w.where()}"


@template
def named_windows(w: Writer) -> str:
    return (
        f"SELECT frame, lead(frame) OVER w, count(*) OVER w AS n FROM street{w.where()} "
        "WINDOW w AS (PARTITION BY video ORDER BY frame, class, xmin, ymin)"
    )


@template
def qualify(w: Writer) -> str:
    return (
        f"SELECT video, class, frame FROM street{w.where()} QUALIFY row_number() OVER "
        f"(PARTITION BY video, class ORDER BY frame, confidence, xmin, ymin) <= {w.number(1, 3)}"
    )


@template
def windows_over_groups(w: Writer) -> str:
    return (
        "SELECT video, part, n, n - lag(n) OVER (PARTITION BY video ORDER BY part) AS change FROM "
        f"(SELECT video, frame // {w.number(3, 15)} AS part, count(*) AS n FROM street"
        f"{w.where()} GROUP BY video, part)"
    )


@template
def ctes(w: Writer) -> str:
    return (
        f"WITH c AS (SELECT video, frame, class, confidence FROM street{w.where()}) "
        f"SELECT video, count(*), max(confidence) FROM c WHERE frame < {w.number(5, 90)} "
        "GROUP BY video"
    )


@template
def ctes_used_twice(w: Writer) -> str:
    materialised = w.one("", "MATERIALIZED ", "NOT MATERIALIZED ")
    return (
        f"WITH c AS {materialised}(SELECT video, frame, class, xmin FROM street{w.where()}), "
        "n AS (SELECT video, frame, count(*) AS n FROM c GROUP BY video, frame) "
        "SELECT c.video, c.class, n.n, count(*) FROM c JOIN n USING (video, frame) "
        f"WHERE n.n >= {w.number(1, 3)} GROUP BY ALL"
    )


@template
def ctes_that_shadow(w: Writer) -> str:
    return w.one(
        "WITH street AS (SELECT 1 AS frame) SELECT * FROM street",
        "WITH s AS (SELECT frame FROM street) SELECT sum(frame) FROM s AS street",
        "WITH cars AS (SELECT 7 AS frame) SELECT frame FROM cars",
        "SELECT (WITH street AS (SELECT 2 AS x) SELECT x FROM street), count(*) FROM street",
    )


@template
def recursive_ctes(w: Writer) -> str:
    return (
        f"WITH RECURSIVE r(frame) AS (SELECT min(frame) FROM street{w.where()} UNION ALL "
        f"SELECT (SELECT min(s.frame) FROM street s WHERE s.frame > r.frame + {w.number(5, 20)}) "
        "FROM r WHERE r.frame IS NOT NULL) SELECT * FROM r"
    )


@template
def scalar_subqueries(w: Writer) -> str:
    return w.one(
        f"SELECT (SELECT count(*) FROM street{w.where()}) AS a, (SELECT max(ts) FROM "
        "street.frames) AS b",
        f"SELECT class, count(*) / (SELECT count(*) FROM street.frames) AS x FROM street"
        f"{w.where()} GROUP BY class",
        f"SELECT place, (SELECT count(*) FROM street s WHERE s.video = c.video AND "
        f"{w.objects('s.')}) AS n FROM cams c",
        f"SELECT frame FROM street WHERE confidence = (SELECT max(confidence) FROM street"
        f"{w.where()})",
    )


@template
def in_and_exists(w: Writer) -> str:
    return w.one(
        f"SELECT frame, class FROM street WHERE frame IN (SELECT frame FROM ticks) AND "
        f"{w.objects()}",
        f"SELECT place FROM cams c WHERE EXISTS (SELECT 1 FROM street s WHERE s.video = c.video "
        f"AND {w.objects('s.')})",
        f"SELECT place FROM cams WHERE video NOT IN (SELECT video FROM street{w.where()})",
        f"SELECT f.frame FROM street.frames f WHERE NOT EXISTS (FROM street s WHERE s.video = "
        f"f.video AND s.frame = f.frame) AND {w.frames_only('f.')}",
        f"SELECT count(*) FROM street WHERE (video, frame) IN (SELECT (video, frame) FROM street "
        f"WHERE {w.objects()})",
        f"SELECT count(*) FROM street a WHERE a.confidence >= ALL (SELECT b.confidence FROM street "
        f"b WHERE b.video = a.video AND b.frame = a.frame) AND {w.frames_only('a.')}",
        f"SELECT count(*) FROM street WHERE frame = ANY (SELECT frame FROM near_frames(50)) "
        f"AND {w.frames_only()}",
    )


@template
def lateral_joins(w: Writer) -> str:
    return w.one(
        "SELECT c.place, l.n FROM cams c, LATERAL (SELECT count(*) AS n FROM street s "
        f"WHERE s.video = c.video AND {w.frames_only('s.')}) l",
        "SELECT c.place, l.class, l.n FROM cams c LEFT JOIN LATERAL (SELECT class, count(*) AS n "
        "FROM street s WHERE s.video = c.video GROUP BY class) l ON true",
        f"SELECT s.frame, u.x FROM street s, LATERAL (SELECT s.frame * 2 AS x) u{w.where('s.')}",
        f"SELECT frame, corner.x FROM street, UNNEST(mask) AS m(corner) WHERE {w.frames_only()}",
        f"SELECT t.frame, unnest(t.mask).y FROM street t WHERE {w.frames_only('t.')}",
    )


@template
def set_operations(w: Writer) -> str:
    word = w.one("UNION ALL", "UNION", "INTERSECT", "EXCEPT", "UNION ALL BY NAME", "UNION BY NAME")
    return (
        f"SELECT video, frame FROM street{w.where()} {word} "
        f"SELECT video, frame FROM {w.one('street', 'street.frames')} WHERE {w.frames_only()}"
    )


@template
def ordered_set_operations(w: Writer) -> str:
    return (
        f"(SELECT frame, class FROM street{w.where()}) UNION ALL SELECT frame, 'tick' FROM ticks "
        f"ORDER BY frame, class LIMIT {w.number(1, 50)}"
    )


@template
def derived_tables(w: Writer) -> str:
    return (
        f"SELECT k, sum(n) FROM (SELECT class AS k, frame, count(*) AS n FROM street{w.where()} "
        f"GROUP BY ALL) d(k, f, n) WHERE f < {w.number(10, 90)} GROUP BY k"
    )


@template
def views(w: Writer) -> str:
    return w.one(
        f"SELECT * EXCLUDE (trackid) FROM cars{w.where()}",
        f"SELECT c.frame, c.confidence FROM cars c{w.where('c.')}",
        f"SELECT c, count(*) FROM named WHERE f > {w.number(0, 50)} GROUP BY c",
        f"SELECT v.f, v.c FROM named AS v WHERE v.f < {w.number(10, 60)}",
        "SELECT named.c, count(*) FROM named GROUP BY ALL",
        f"SELECT sum(n) FROM per_frame WHERE frame < {w.number(10, 60)}",
        "SELECT busy.frame FROM busy JOIN cams USING (video)",
        "SELECT * FROM busy",
        "SELECT cars.class FROM cars, far WHERE cars.video = far.video",
        "SELECT count(*) FROM cars a JOIN cars b ON a.frame = b.frame",
    )


@template
def macros(w: Writer) -> str:
    return w.one(
        f"SELECT * FROM seen('car', 0.{w.number(5, 9)})",
        f"SELECT s.frame FROM seen('bus', 0.6) s WHERE s.frame > {w.number(0, 60)}",
        "SELECT sightings('car'), sightings('bus') AS b",
        f"SELECT twice(count(*)) FROM street{w.where()}",
        f"SELECT frame FROM street WHERE twice(frame) > {w.number(40, 160)}",
        "SELECT class, wheels, sightings('car') FROM kinds",
        "SELECT count(*) FROM street JOIN near_frames(40) USING (frame)",
        "SELECT q.confidence FROM seen('bus', 0.7) AS q",
    )


@template
def pivots(w: Writer) -> str:
    return w.one(
        "PIVOT street ON class USING count(*) GROUP BY video",
        f"PIVOT (SELECT video, class, frame FROM street{w.where()}) ON class USING max(frame) "
        "GROUP BY video",
        "SELECT * FROM (SELECT video, class, confidence FROM street) PIVOT (max(confidence) FOR "
        "class IN ('car', 'bus') GROUP BY video)",
        "UNPIVOT (SELECT video, min(xmin) AS a, max(xmax) AS b FROM street GROUP BY video) ON a, b",
    )


@template
def case_and_quotes(w: Writer) -> str:
    return w.one(
        f"select VIDEO, Frame from Street where CLASS = 'car' and {w.frames_only()}",
        'SELECT "class", "Frame" FROM "street" WHERE "street"."frame" < 20',
        "SELECT street.class /* a comment */ FROM street -- the end\n WHERE street.frame < 30",
        "SELECT frame FROM main.street WHERE frame < 9",
        "SELECT frame AS error, class AS gap, 1 AS budget, 2 AS bounds FROM street WHERE frame < 5",
    )


@template
def values_and_samples(w: Writer) -> str:
    return w.one(
        f"SELECT v.k, count(*) FROM (VALUES ('car', 1), ('bus', 2)) v(c, k) JOIN street s "
        f"ON s.class = v.c{w.where('s.')} GROUP BY v.k",
        f"SELECT count(*) <= 400 FROM street USING SAMPLE {w.number(1, 99)}%",
        "SELECT count(*) FROM range(5) r, street WHERE r.range = street.frame",
        "SELECT list(DISTINCT class ORDER BY class) FROM street",
        f"SELECT len(list(frame)) FROM street{w.where()}",
    )


def queries(name: str) -> list[str]:
    """Return the template's queries, without repeats."""
    seed = Writer(f"foveal {name}")
    return list(dict.fromkeys(TEMPLATES[name](seed) for _ in range(PER_TEMPLATE)))


def is_ordered(sql: str) -> bool:
    tail = sql.rsplit(")", 1)[-1]
    return "ORDER BY" in tail


def check(systems: Systems, sql: str, parameters: Any = None, *, reference_sql: str = "") -> None:
    theirs = systems.theirs(reference_sql or sql, parameters)
    ours = systems.ours(sql, parameters)
    difference = agree(ours, theirs, ordered=is_ordered(sql))
    assert difference is None, f"{difference}\n{sql}"


def test_there_are_enough() -> None:
    generated = sum(len(queries(name)) for name in TEMPLATES)
    assert generated >= 450
    assert generated + 5 * len(FRAMES_WHERE) * len(OBJECTS_WHERE) + len(PARAMETERS) >= 600


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_same_as_duckdb(systems: Systems, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each query as it is; and in turn in a transaction with writes, and without any rule."""
    for i, sql in enumerate(queries(name)):
        check(systems, sql)
        calls = systems.foveal.report.detector_calls
        assert calls == 0, f"{calls} detector calls with every frame stored\n{sql}"
        if i % 4 == 0:
            in_transaction(systems, sql)
        elif i % 4 == 2:
            with monkeypatch.context() as patch:
                patch.setattr(planning, "RULES", ())
                check(systems, sql)


def in_transaction(systems: Systems, sql: str) -> None:
    """Compare inside a transaction that has changed the ordinary tables, then roll it back."""
    changes = (
        "BEGIN",
        "INSERT INTO cams VALUES ('v.mkv', 'tunnel', 2), ('a.mp4', 'tower', 3)",
        "DELETE FROM ticks WHERE frame % 2 = 0",
        "UPDATE kinds SET wheels = wheels + 1",
        "CREATE TABLE of_the_transaction AS SELECT 1 AS one",
    )
    both = (systems.foveal, systems.reference(sql))
    for system in both:
        for change in changes:
            system.execute(change)
    try:
        check(systems, sql)
    finally:
        for system in both:
            system.execute("ROLLBACK")


PARAMETERS: tuple[tuple[str, Any], ...] = (
    ("SELECT frame, class FROM street WHERE class = ? AND frame < ?", ["car", 50]),
    ("SELECT ? AS x, count(*) FROM street WHERE frame BETWEEN ? AND ?", ["label", 10, 40]),
    ("SELECT frame + $2 AS f FROM street WHERE class = $1 AND frame > $2", ["bus", 20]),
    ("SELECT $1 AS a, $1 AS b, count(*) FROM street WHERE ts < $2", ["x", 3.5]),
    ("SELECT count(*) FROM street WHERE video = $v AND frame IN ($a, $b)",
     {"v": "a.mp4", "a": 45, "b": 46}),
    ("SELECT c.place FROM cams c WHERE c.zone = $zone AND EXISTS (FROM street s WHERE "
     "s.video = c.video AND s.class = $kind)", {"zone": 2, "kind": "bus"}),
    ("SELECT video, frame FROM street WHERE confidence > ? ORDER BY video, frame, xmin LIMIT ?",
     [0.7, 5]),
    ("SELECT count(*) FROM cars WHERE frame > ?", [30]),
    ("SELECT count(*) FROM seen(?, ?)", ["car", 0.7]),
    ("WITH c AS (FROM street.frames WHERE ts > ?) SELECT count(*) FROM c, c AS d "
     "WHERE c.frame = d.frame AND c.frame > ?", [1.5, 3]),
    ("SELECT count(*) FROM street WHERE list_contains(?, class)", [["car", "bus"]]),
    ("SELECT count(*) FROM street WHERE ? IS NULL AND frame < 9", [None]),
)  # fmt: skip


@pytest.mark.parametrize(("sql", "values"), PARAMETERS, ids=range(len(PARAMETERS)))
def test_parameters(systems: Systems, sql: str, values: Any) -> None:
    check(systems, sql, values)


# --- FCOUNT and GAP have no DuckDB text: each has its meaning written by hand ---------------------

FRAMES_WHERE = (
    "frame < 40", "video = 'a.mp4'", "ts BETWEEN 1 AND 4", "frame % 3 = 0", "true",
    "video IN ('b.mp4', 'v.mkv') AND frame > 5",
)  # fmt: skip
OBJECTS_WHERE = (
    "class = 'car'", "class IN ('bus', 'person')", "confidence > 0.75", "xmin > 30 OR xmax < 20",
    "true", "class IN (SELECT class FROM kinds)",
)  # fmt: skip


@pytest.mark.parametrize("objects", OBJECTS_WHERE)
@pytest.mark.parametrize("frames", FRAMES_WHERE)
def test_fcount_is_objects_over_frames(systems: Systems, frames: str, objects: str) -> None:
    """FCOUNT divides by the frames that satisfy the frame predicates, with or without objects."""
    counted = f"(SELECT count(*) FROM street.frames WHERE {frames})"
    where = f"({frames}) AND ({objects})"
    for ours, theirs in (
        (
            f"SELECT FCOUNT(*) AS n FROM street WHERE {where}",
            f"SELECT count(*)::DOUBLE / {counted} AS n FROM street WHERE {where}",
        ),
        (
            f"SELECT FCOUNT(*) AS n, COUNT(*) AS c, SUM(confidence) AS s FROM (SELECT * FROM "
            f"street WHERE {frames}) x WHERE {objects}",
            f"SELECT count(*)::DOUBLE / {counted} AS n, count(*) AS c, sum(confidence) AS s FROM "
            f"street WHERE {where}",
        ),
        (
            f"SELECT video, 2 * FCOUNT(*) + 1 AS n FROM street WHERE {where} GROUP BY video "
            "ORDER BY video",
            f"SELECT video, 2 * (n::DOUBLE / f) + 1 AS n FROM (SELECT f.video, f, coalesce(n, 0) "
            f"AS n FROM (SELECT video, count(*) AS f FROM street.frames WHERE {frames} GROUP BY "
            f"video) f LEFT JOIN (SELECT video, count(*) AS n FROM street WHERE {where} GROUP BY "
            "video) o ON f.video = o.video) ORDER BY video",
        ),
        (
            f"WITH m AS (SELECT floor(ts / 2) AS part, FCOUNT(*) FILTER (WHERE class = 'car') AS n "
            f"FROM street WHERE {where} GROUP BY part) SELECT part, n FROM m WHERE n > 0.2",
            f"SELECT part, n FROM (SELECT f.part, coalesce(n, 0)::DOUBLE / f AS n FROM (SELECT "
            f"floor(ts / 2) AS part, count(*) AS f FROM street.frames WHERE {frames} GROUP BY part)"
            f" f LEFT JOIN (SELECT floor(ts / 2) AS part, count(*) AS n FROM street WHERE {where} "
            "AND class = 'car' GROUP BY part) o ON f.part = o.part) WHERE n > 0.2",
        ),
        (
            f"SELECT c.place, (SELECT FCOUNT(*) FROM street WHERE {where}) AS n FROM cams c",
            f"SELECT c.place, (SELECT count(*)::DOUBLE / {counted} FROM street WHERE {where}) AS n "
            "FROM cams c",
        ),
    ):
        check(systems, ours, reference_sql=theirs)


def spaced(rows: Sequence[tuple[Any, ...]], place: int, limit: int, gap: float) -> list[Any]:
    """Take rows in order, each at least `gap` from those taken of its video (column 0)."""
    kept: list[tuple[Any, ...]] = []
    for row in rows:
        if len(kept) < limit and all(
            row[0] != other[0] or abs(row[place] - other[place]) >= gap for other in kept
        ):
            kept.append(row)
    return kept


@pytest.mark.parametrize("gap", [1, 7, 30])
@pytest.mark.parametrize("limit", [1, 4, 50])
def test_gap_takes_the_first_rows_far_enough_apart(systems: Systems, limit: int, gap: int) -> None:
    for head, order, place in (
        ("SELECT video, frame FROM street WHERE class = 'car'", "video, frame", 1),
        ("SELECT video, frame, count(*) AS n FROM street GROUP BY video, frame HAVING "
         "SUM(class = 'bus') >= 1", "n DESC, video, frame", 1),
        ("SELECT video, frame, ts FROM street.frames WHERE frame % 3 = 0", "ts DESC, video", 1),
    ):  # fmt: skip
        wanted = spaced(systems.theirs(f"{head} ORDER BY {order}").rows, place, limit, gap)
        assert list(systems.ours(f"{head} ORDER BY {order} LIMIT {limit} GAP {gap}").rows) == wanted
        nested = systems.ours(
            f"WITH g AS ({head} ORDER BY {order} LIMIT {limit} GAP {gap}) "
            "SELECT count(*) FROM g JOIN g h USING (video, frame)"
        )
        assert nested.rows == ((len(wanted),),)


def test_gap_in_seconds_and_with_offset(systems: Systems) -> None:
    head = "SELECT video, ts FROM street WHERE class = 'person'"
    rows = systems.theirs(f"{head} ORDER BY video, ts").rows
    ours = systems.ours(f"{head} LIMIT 4 GAP INTERVAL 1 SECOND").rows
    assert list(ours) == spaced(rows, 1, 4, 1.0)
    ours = systems.ours(f"{head} LIMIT 3 OFFSET 2 GAP INTERVAL '1 second'").rows
    assert list(ours) == spaced(rows, 1, 5, 1.0)[2:]


# --- what was wrong once --------------------------------------------------------------------------

ONCE_WRONG = {
    "a name where no alias may follow": ("TABLE street.frames", "TABLE street.frames"),
    "DESCRIBE of a name": ("DESCRIBE street.frames", "DESCRIBE street.frames"),
    "FCOUNT beside a common table expression": (
        "WITH c AS (SELECT max(zone) AS z FROM cams) SELECT FCOUNT(*) AS x FROM street WHERE "
        "confidence > 0.7 AND (class = 'car') = (1 < (SELECT z FROM c))",
        "SELECT count(*) / 190 AS x FROM street WHERE confidence > 0.7 AND class = 'car'",
    ),
    "FCOUNT beside a common table expression over video": (
        "WITH c AS (SELECT max(frame) AS z FROM street) SELECT FCOUNT(*) AS x FROM street WHERE "
        "confidence > 0.7 AND (class = 'car') = (20 < (SELECT z FROM c))",
        "SELECT count(*) / 190 AS x FROM street WHERE confidence > 0.7 AND class = 'car'",
    ),
    "a video sub-query beside FCOUNT": (
        "SELECT FCOUNT(*) / (SELECT count(*) FROM street WHERE class = 'bus') AS x FROM street",
        "SELECT (SELECT count(*) FROM street) / 190 / (SELECT count(*) FROM street WHERE "
        "class = 'bus') AS x",
    ),
    "a sub-query in HAVING beside FCOUNT": (
        "SELECT video, FCOUNT(*) AS n FROM street GROUP BY video HAVING FCOUNT(*) > "
        "(SELECT count(*) FROM street WHERE frame = 45) ORDER BY video",
        "SELECT video, n::DOUBLE / f AS n FROM (SELECT video, count(*) AS n FROM street GROUP BY "
        "video) JOIN (SELECT video, count(*) AS f FROM street.frames GROUP BY video) USING (video) "
        "WHERE n::DOUBLE / f > (SELECT count(*) FROM street WHERE frame = 45) ORDER BY video",
    ),
}


@pytest.mark.parametrize("case", list(ONCE_WRONG))
def test_once_wrong(systems: Systems, case: str) -> None:
    ours, theirs = ONCE_WRONG[case]
    check(systems, ours, reference_sql=theirs)


def test_items_keep_the_text_of_the_user(systems: Systems) -> None:
    """An item without alias is called as it is written, not by the names of our inputs."""
    answer = systems.ours("SELECT (SELECT FCOUNT(*) FROM street), (SELECT count(*) FROM cams)")
    assert answer.columns[0][0] == "(SELECT FCOUNT(*) FROM street)"
    answer = systems.ours("SELECT place, 1 + (SELECT max(ts) FROM street.frames) FROM cams")
    assert answer.columns[1][0] == "1 + (SELECT max(ts) FROM street.frames)"


def test_a_macro_that_hides_a_function_of_duckdb(systems: Systems) -> None:
    """Pruning frames must not evaluate a predicate with another function than DuckDB does."""
    sql = "SELECT count(*) FROM street WHERE abs(frame) < 0"
    for system in (systems.foveal, systems.plain):
        system.execute("CREATE MACRO abs(x) AS -1")
    check(systems, sql)
    for system in (systems.foveal, systems.plain):
        system.execute("DROP MACRO abs")
    check(systems, sql)


def test_parameters_beside_fcount(systems: Systems) -> None:
    sql = "SELECT FCOUNT(*) + ? AS n FROM street WHERE class = ?"
    (value,) = systems.ours(sql, [1, "car"]).rows[0]
    (plain,) = systems.ours("SELECT FCOUNT(*) FROM street WHERE class = 'car'").rows[0]
    assert value == plain + 1


def test_a_star_without_the_relation_says_nothing_of_tracks(systems: Systems) -> None:
    systems.ours("SELECT * FROM (SELECT frame FROM street)")
    assert systems.foveal.report.notices == []
    systems.ours("SELECT * FROM street")
    assert len(systems.foveal.report.notices) == 1


def test_a_cold_cache_gives_the_same(toy: Any, systems: Systems) -> None:
    """The first look at every frame, the first of some, and both relations of one statement."""
    for sql in (
        "SELECT video, frame, class, confidence FROM street WHERE frame > 30",
        "SELECT count(*) FROM street a JOIN street b ON a.video = b.video AND a.frame = b.frame "
        "WHERE a.frame < 20",
        "SELECT video, trackid, count(*) FROM street GROUP BY ALL",
        "SELECT class, count(*) FROM street WHERE video = 'b.mp4' GROUP BY class",
    ):
        session = Session(settings={"isolate_decode": False, "verify_plans": True, "threads": 1})
        session.execute(toy.create())
        result = session.execute(sql)
        columns = tuple((c.name, c.type) for c in result.columns)
        ours = Answer(columns, tuple(result.fetchall()))
        assert session.report.detector_calls > 0
        difference = agree(ours, systems.theirs(sql), ordered=False)
        assert difference is None, f"{difference}\n{sql}"
        session.execute(sql).fetchall()
        assert session.report.detector_calls == session.report.frames_decoded == 0
        session.close()


def test_blocks_without_a_name_of_their_own(systems: Systems) -> None:
    """Sub-queries that the text gives no alias, and relations whose columns it renames."""
    rows = systems.theirs("SELECT video, frame FROM street ORDER BY video, frame").rows
    for head in ("SELECT video, frame FROM (SELECT * FROM street)", "FROM (SELECT * FROM street)"):
        ours = systems.ours(f"{head} LIMIT 4 GAP 7").rows
        assert [row[:2] for row in ours] == spaced(rows, 1, 4, 7)
    check(
        systems,
        "SELECT FCOUNT(*) AS n FROM (SELECT video, frame FROM street WHERE class = 'car')",
        reference_sql="SELECT count(*)::DOUBLE / (SELECT count(*) FROM street.frames) AS n "
        "FROM street WHERE class = 'car'",
    )
    for renamed in (
        "SELECT f FROM street q(v, f) WHERE v = 'a.mp4' AND f < 9 ORDER BY f",
        "SELECT count(*), max(video) FROM street q(frame, video) WHERE video < 10",
    ):
        check(systems, renamed)
