"""Statements of foveal's own, and those that wrap a query."""

import pytest

from foveal.errors import Span
from foveal.planner.parse import statement as s
from foveal.planner.parse.parser import parse

NAMES = frozenset({"street", "cars"})
PREPARED = frozenset({"kept"})


def read(text: str) -> s.Statement:
    return parse(text, NAMES, PREPARED)


def cut(text: str, span: Span | None) -> str:
    assert span is not None
    return text[span.start : span.end]


def test_create_video_table() -> None:
    text = (
        "create or replace video table if not exists \"My Cam\" from 'a/*.mp4', $$b'c$$ -- files\n"
        "WITH (detector = 'x', confidence = 0.3, max_count = 20, tracker = kalman, "
        'deep = TRUE, seed = -5, big = 1_000, hex = 0x1F, q = "Word", part = .5);'
    )
    found = read(text)
    assert isinstance(found, s.CreateVideoTable)
    assert (found.name, found.or_replace, found.if_not_exists) == ("My Cam", True, True)
    assert cut(text, found.name_span) == '"My Cam"'
    assert found.sources == ("a/*.mp4", "b'c")
    assert [cut(text, span) for span in found.source_spans] == ["'a/*.mp4'", "$$b'c$$"]
    assert found.options == {
        "detector": "x", "confidence": 0.3, "max_count": 20, "tracker": "kalman", "deep": True,
        "seed": -5, "big": 1000, "hex": 31, "q": "Word", "part": 0.5,
    }  # fmt: skip
    assert isinstance(found.options["max_count"], int)
    assert [cut(text, span) for span in found.option_spans["seed"]] == ["seed", "-5"]


def test_words_of_ours_are_names_of_tables() -> None:
    for word in ("video", "error", "gap", "budget", "source", "with_"):
        found = read(f"CREATE VIDEO TABLE {word} FROM 'a' WITH ()")
        assert isinstance(found, s.CreateVideoTable)
        assert (found.name, found.options) == (word, {})


def test_drop_and_refresh() -> None:
    found = read("DROP VIDEO TABLE IF EXISTS street")
    assert isinstance(found, s.DropVideoTable)
    assert (found.name, found.if_exists) == ("street", True)
    again = read('DROP VIDEO TABLE "if";')
    assert isinstance(again, s.DropVideoTable)
    assert (again.name, again.if_exists) == ("if", False)
    refreshed = read("REFRESH VIDEO TABLE street")
    assert isinstance(refreshed, s.RefreshVideoTable)
    assert refreshed.name == "street"


def test_analyze_video() -> None:
    whole = read("ANALYZE VIDEO Street;")
    assert isinstance(whole, s.AnalyzeVideo)
    assert (whole.name, whole.budget) == ("Street", None)
    assert whole.text[whole.name_span.start : whole.name_span.end] == "Street"
    timed = read('analyze video "my table" budget 1.5 seconds')
    assert isinstance(timed, s.AnalyzeVideo)
    assert timed.name == "my table"
    assert timed.budget == s.Budget(1.5, "seconds", Span(25, 43))
    counted = read("ANALYZE VIDEO budget BUDGET $n CALLS")
    assert isinstance(counted, s.AnalyzeVideo)
    assert counted.name == "budget"
    assert counted.budget is not None
    assert counted.budget.value == s.Parameter("n")
    for text in ("ANALYZE", "ANALYZE video", "ANALYZE video;", "ANALYZE video (a)",
                 "ANALYZE VERBOSE video", "ANALYZE street"):  # fmt: skip
        assert isinstance(read(text), s.Plain)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("SET foveal.seed = 5", "seed", 5),
        ("SET SESSION foveal.guarantee TO 'finite'", "guarantee", "finite"),
        ("set Foveal.Guarantee = finite", "guarantee", "finite"),
        ("SET foveal.verify_plans = true", "verify_plans", True),
        ("SET foveal.confidence = 0.9", "confidence", 0.9),
        ("SET foveal.seed TO DEFAULT", "seed", None),
        ("RESET foveal.seed", "seed", None),
    ],
)
def test_settings(text: str, name: str, value: s.Scalar | None) -> None:
    found = read(text)
    assert isinstance(found, s.SetSetting)
    assert (found.name, found.value) == (name, value)
    assert cut(text, found.name_span).lower() == name


@pytest.mark.parametrize(
    "text",
    ["SET threads = 5", "SET VARIABLE foveal = 5", "SHOW ALL", "SET", "SHOW TABLES",
     "RESET threads", "SHOW", "SET foveal = 5"],
)  # fmt: skip
def test_other_settings_are_duckdbs(text: str) -> None:
    assert read(text) == s.Plain(text)


def test_show() -> None:
    found, every = read("SHOW foveal.seed"), read("SHOW foveal.ALL")
    assert isinstance(found, s.ShowSetting)
    assert isinstance(every, s.ShowSetting)
    assert (found.name, every.name) == ("seed", "all")


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("CREATE OR REPLACE TEMP VIEW v (a, \"b c\") AS FROM street", "view", "v"),
        ("CREATE VIEW IF NOT EXISTS view AS SELECT FCOUNT(*) FROM x ERROR WITHIN 1", "view",
         "view"),
        ("CREATE MACRO f(c) AS TABLE FROM street WHERE class = c", "table_macro", "f"),
        ("CREATE FUNCTION f() AS (SELECT FCOUNT(*) FROM street)", "scalar_macro", "f"),
        ("CREATE MACRO f(c, d) AS c + (SELECT FCOUNT(*) FROM street WHERE class = d)",
         "scalar_macro", "f"),
        ("CREATE VIEW cars AS SELECT 1", "view", "cars"),
    ],
)  # fmt: skip
def test_stored(text: str, kind: str, name: str) -> None:
    found = read(text)
    assert isinstance(found, s.CreateStored)
    assert (found.kind, found.name) == (kind, name)
    assert text.endswith(cut(text, found.body))
    assert found.or_replace == ("REPLACE" in text)
    assert found.temporary == ("TEMP" in text)
    assert found.if_not_exists == ("EXISTS" in text)
    assert found.columns == (("a", "b c") if found.temporary else ())
    assert len(found.parameters) == (
        0 if kind == "view" or "f()" in text else text.count(",", 0, 22) + 1
    )


@pytest.mark.parametrize(
    ("text", "kind"),
    [("DROP VIEW cars", "view"), ("DROP VIEW IF EXISTS Cars CASCADE", "view"),
     ("DROP MACRO cars", "scalar_macro"), ("DROP MACRO TABLE cars", "table_macro"),
     ("DROP FUNCTION IF EXISTS cars RESTRICT", "scalar_macro")],
)  # fmt: skip
def test_drop_stored(text: str, kind: str) -> None:
    found = read(text)
    assert isinstance(found, s.DropStored)
    assert (found.kind, found.name.lower()) == (kind, "cars")
    assert found.if_exists == ("EXISTS" in text)


@pytest.mark.parametrize(
    "text",
    ["DROP VIEW other", "DROP TABLE street", "DROP VIEW main.cars", "ALTER TABLE street ADD a INT",
     "CREATE TABLE street (a INT)", "DEALLOCATE other", "EXECUTE other(1)", "COPY street FROM 'x'",
     "CREATE VIEW", "CREATE MACRO street", "INSERT INTO street DEFAULT VALUES", "INSERT street",
     "COPY street (a) FROM 'x'", "DESCRIBE", "SHOW street a", "EXPLAIN", "PREPARE p AS", "",
     "; ;", "-- nothing", "PREPARE p AS SELECT 1", "EXPLAIN ANALYZE SELECT 1", "EXECUTE", "DROP",
     "CREATE TABLE street AS x", "EXPLAIN VERBOSE SELECT 1", "DEALLOCATE", "PREPARE street",
     "CALL street()"],
)  # fmt: skip
def test_left_to_duckdb(text: str) -> None:
    assert read(text) == s.Plain(text)


@pytest.mark.parametrize(
    ("text", "analyze", "verbose", "form"),
    [
        ("EXPLAIN FROM street", False, False, "text"),
        ("EXPLAIN ANALYZE FROM street", True, False, "text"),
        ("EXPLAIN VERBOSE ANALYZE FROM street", True, True, "text"),
        ("EXPLAIN (FORMAT JSON) FROM street", False, False, "json"),
        ("EXPLAIN (format 'text', ANALYZE, VERBOSE true) FROM street", True, True, "text"),
        ("EXPLAIN (ANALYZE false) (FROM street)", False, False, "text"),
        ("EXPLAIN (FROM street)", False, False, "text"),
        ("EXPLAIN EXECUTE kept", False, False, "text"),
    ],
)
def test_explain(text: str, analyze: bool, verbose: bool, form: str) -> None:
    found = read(text)
    assert isinstance(found, s.Explain)
    assert (found.analyze, found.verbose, found.format) == (analyze, verbose, form)
    inner = found.statement
    assert isinstance(inner, s.Query | s.Execute)
    if isinstance(inner, s.Query):
        assert len(inner.text) == len(text)
        assert cut(text, inner.blocks[0].from_) == "street"


def test_prepare_execute_deallocate() -> None:
    text = "PREPARE p AS SELECT FCOUNT(*) FROM street WHERE class = ? ERROR WITHIN ?"
    found = read(text)
    assert isinstance(found, s.Prepare)
    assert (found.name, cut(text, found.body)) == ("p", text[13:])
    text = "EXECUTE kept(1 + f(2, 3), b := 'x', c = 5)"
    run = read(text)
    assert isinstance(run, s.Execute)
    assert [(key, cut(text, span)) for key, span in run.arguments] == [
        ("1", "1 + f(2, 3)"), ("b", "'x'"), ("c", "5"),
    ]  # fmt: skip
    assert read("EXECUTE kept") == s.Execute("EXECUTE kept", "kept", Span(8, 12), ())
    for text in ("DEALLOCATE kept", "DEALLOCATE PREPARE KEPT"):
        gone = read(text)
        assert isinstance(gone, s.Deallocate)
        assert gone.name.lower() == "kept"


@pytest.mark.parametrize(
    ("text", "kind", "query"),
    [
        ("COPY (SELECT * FROM street LIMIT 5 GAP 9) TO 'x.csv'", "copy",
         "SELECT * FROM street LIMIT 5 GAP 9"),
        ("COPY street TO 'x.csv' (HEADER)", "copy", "street"),
        ("CREATE TABLE x AS SELECT * FROM street", "create_table_as", "SELECT * FROM street"),
        ("CREATE OR REPLACE TEMP TABLE IF NOT EXISTS x (a, b) AS (FROM street) WITH NO DATA",
         "create_table_as", "(FROM street)"),
        ("CREATE TABLE x AS FROM street WITH DATA", "create_table_as", "FROM street"),
        ("INSERT INTO main.u (a, b) BY NAME WITH x AS (FROM street) FROM x", "insert",
         "WITH x AS (FROM street) FROM x"),
        ("INSERT INTO u (a) (SELECT a FROM street) ON CONFLICT DO NOTHING", "insert",
         "(SELECT a FROM street)"),
        ("INSERT INTO u SELECT * FROM street s JOIN t ON s.a = t.a ON CONFLICT (a) DO NOTHING",
         "insert", "SELECT * FROM street s JOIN t ON s.a = t.a"),
        ("INSERT INTO u VALUES ((SELECT FCOUNT(*) FROM street)) RETURNING a", "insert",
         "VALUES ((SELECT FCOUNT(*) FROM street))"),
        ("DESCRIBE street", "describe", "street"),
        ("DESCRIBE TABLE street", "describe", "TABLE street"),
        ("SHOW street", "describe", "street"),
        ("DESC FROM street", "describe", "FROM street"),
        ("SUMMARIZE SELECT * FROM street", "summarize", "SELECT * FROM street"),
        ("SUMMARIZE street.frames", "summarize", "street.frames"),
        ("PIVOT street ON class USING count(*) ORDER BY 1 LIMIT 2", "pivot", None),
        ("WITH x AS (FROM street) PIVOT x ON class USING count(*)", "pivot", None),
        ("VALUES ((SELECT FCOUNT(*) FROM street))", "values", None),
        ("UPDATE u SET a = (SELECT FCOUNT(*) FROM street ERROR WITHIN 1)", "update", None),
        ("WITH x AS (FROM street) DELETE FROM u USING x WHERE u.a = x.a", "delete", None),
        ("MERGE INTO u USING (FROM street) s ON u.a = s.a WHEN MATCHED THEN DELETE", "merge", None),
        ("(FROM street)", "select", None),
        ("TABLE street", "select", None),
        ("WITH x AS (FROM street) (FROM x)", "select", None),
    ],
)  # fmt: skip
def test_wrapped(text: str, kind: str, query: str | None) -> None:
    found = read(text)
    assert isinstance(found, s.Query)
    assert found.kind == kind
    assert cut(text, found.query) == (query or text)
    assert len(found.blanked) == len(text)


def test_copied_table_has_true_places() -> None:
    found = read("COPY  street TO 'x'")
    assert isinstance(found, s.Query)
    (name,) = (node for node in found.tree.walk() if node.key == "identifier")
    assert (name.meta["start"], name.meta["end"]) == (0, 5)
    assert found.query == Span(6, 12)


def test_system_tables() -> None:
    ours = [
        "FROM foveal.detectors", "SELECT * FROM t, foveal.queries q", "DESCRIBE foveal.videos",
        "SELECT * FROM t JOIN u ON foveal.a = 1 JOIN \"foveal\".queries ON true",
        "SELECT (SELECT max(x) FROM (foveal.queries JOIN t USING (a)))",
        "FROM t, (t, foveal.models)",
    ]  # fmt: skip
    for text in ours:
        assert isinstance(read(text), s.Query), text
    plain = [
        "SELECT foveal.x FROM t foveal", "SELECT a, foveal.x FROM foveal", "FROM foveal",
        "SELECT * FROM t foveal WHERE foveal.a = 1",
        "SELECT a IS DISTINCT FROM foveal.x FROM t foveal",
        "SELECT extract(year FROM foveal.ts) FROM t foveal", "FROM f(foveal.a) foveal",
        "SELECT (1), trim((a) FROM foveal.x) FROM t foveal", "FROM main.foveal.x", "FROM foveal.",
    ]  # fmt: skip
    for text in plain:
        assert read(text) == s.Plain(text), text


def test_macro_parameters() -> None:
    found = read('CREATE MACRO f(c, "D") AS TABLE FROM street')
    assert isinstance(found, s.CreateStored)
    assert (found.parameters, found.columns) == (("c", "D"), ())


def test_create_proxy_in_parts() -> None:
    sql = (
        'CREATE OR REPLACE PROXY IF NOT EXISTS "Wide" ON street -- what is wide\n'
        "FOR SUM(xmax - xmin) WHERE class = 'car' WITH (labels = 300, family = kernel, seconds=.5)"
    )
    found = read(sql)
    assert isinstance(found, s.CreateProxy)
    assert (found.name, found.table, found.kind) == ("Wide", "street", "sum")
    assert found.or_replace
    assert found.if_not_exists
    assert found.options == {"labels": 300, "family": "kernel", "seconds": 0.5}
    assert cut(sql, found.quantity) == "SUM(xmax - xmin) WHERE class = 'car'"
    assert cut(sql, found.option_spans["family"][1]) == "kernel"
    assert found.argument is not None
    assert found.where is not None
    assert found.where.args["where"].this.sql() == "class = 'car'"
    star = read("create proxy n on street for count(*)")
    assert isinstance(star, s.CreateProxy)
    assert star.argument is None
    assert star.where is None


def test_proxies_are_dropped_and_shown() -> None:
    found = read("DROP PROXY IF EXISTS cars;")
    assert isinstance(found, s.DropProxy)
    assert (found.name, found.if_exists) == ("cars", True)
    assert isinstance(read("SHOW PROXIES"), s.ShowProxies)
    for plain in ("SELECT proxy FROM proxies", "SHOW proxies.a", "CREATE TABLE proxy (a INT)"):
        assert isinstance(read(plain), s.Plain)


def test_streams_in_parts() -> None:
    text = (
        "CREATE OR REPLACE VIDEO STREAM cam FROM 'rtsp://h/1' WITH (detector = 'demo', where = 'x')"
    )
    found = read(text)
    assert isinstance(found, s.CreateVideoTable)
    assert (found.stream, found.name, found.or_replace) == (True, "cam", True)
    assert found.sources == ("rtsp://h/1",)
    assert dict(found.options) == {"detector": "demo", "where": "x"}
    span = found.source_spans[0]
    assert text[span.start : span.end] == "'rtsp://h/1'"
    dropped = read("DROP VIDEO STREAM IF EXISTS cam")
    assert isinstance(dropped, s.DropVideoTable)
    assert (dropped.stream, dropped.if_exists) == (True, True)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("", (None, "")),
        (" FOR 5 WINDOWS", (5, "windows")),
        (" for 1 window", (1, "windows")),
        (" FOR 90 SECONDS", (90, "seconds")),
        (" FOR 1.5 minutes", (90, "seconds")),
        (" FOR 2 HOURS", (7200, "seconds")),
        (" FOR 1 DAY", (86400, "seconds")),
        (" FOR 500 MILLISECONDS", (0.5, "seconds")),
    ],
)
def test_refresh_stream(limit: str, expected: tuple[float | None, str]) -> None:
    found = read("REFRESH VIDEO STREAM cam" + limit)
    assert isinstance(found, s.RefreshVideoStream)
    assert (found.name, found.limit, found.unit) == ("cam", *expected)


def test_tables_may_be_called_stream() -> None:
    for plain in ("SELECT * FROM stream", "CREATE TABLE stream (a INT)", "DROP TABLE stream"):
        assert isinstance(read(plain), s.Plain)
