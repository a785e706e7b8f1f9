"""Runs tests/slt/*.slt, sqllogictest scripts, on foveal and, where they are portable, on DuckDB.

A file is a list of records, each ended by an empty line::

    statement ok                     it runs
    CREATE TABLE t (a INTEGER)

    query rowsort                    it gives these rows (tab-separated; rowsort: in any order)
    SELECT a, 'x' FROM t
    ----
    1       x

    statement error                  it fails with this text (empty lines left out)
    SELECT b FROM t
    ----
    Binder Error: ...

`require foveal` at the top keeps a file from DuckDB, and shows errors in full: SQLSTATE, place and
hint. `onlyif foveal` or `onlyif duckdb` before a record picks its system. A file that says
`street.mp4` runs in a folder that holds it: a small rendered video of known content.

    SLT=joins.slt:40 pytest tests/test_slt.py       only the record at that line, and what precedes
    SLT_REWRITE=1 pytest tests/test_slt.py          write what came out into the files; a new record
                                                    may have the header `record`
"""

import datetime
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pytest

from foveal import errors

FOLDER = Path(__file__).resolve().parent / "slt"
FILES = sorted(FOLDER.glob("*.slt"))
REWRITE = bool(os.environ.get("SLT_REWRITE"))
ONLY_FILE, _, ONLY_LINE = os.environ.get("SLT", "").partition(":")


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `lead` is what precedes it: comments and directives, each on its line."""

    line: int
    lead: tuple[str, ...]
    header: str
    sql: str
    expected: tuple[str, ...]

    @property
    def only(self) -> str | None:
        """The one system that runs it, if it is not for all."""
        named = [line.split()[1] for line in self.lead if line.startswith("onlyif ")]
        return named[0] if named else None

    def text(self) -> str:
        """Return the record as it stands in the file."""
        block = [*self.lead, self.header, self.sql]
        if self.expected or self.header.startswith("query"):
            block += ["----", *self.expected]
        return "\n".join(block) + "\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a system said: its rows as text, or its error."""

    rows: tuple[str, ...] = ()
    error: str | None = None


class Cursor(Protocol):
    """What foveal's and DuckDB's results have in common."""

    @property
    def description(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """What foveal's and DuckDB's connections have in common."""

    def execute(self, query: str, /) -> Cursor | None: ...
    def close(self) -> None: ...


def open_foveal() -> Connection:
    import foveal

    return foveal.connect()


def open_duckdb() -> Connection:
    return duckdb.connect()  # pyright: ignore[reportReturnType]


def open_compiled() -> Connection:
    import foveal

    connection = foveal.connect()
    connection.execute("SET foveal.compile = 'on'")
    return connection


SYSTEMS: dict[str, Callable[[], Connection]] = {
    "foveal": open_foveal,
    "duckdb": open_duckdb,
    "compiled": open_compiled,
}


def read(file: Path) -> tuple[list[Record], tuple[str, ...]]:
    """Return a file's records, and the comment lines that follow the last one."""
    records: list[Record] = []
    lead: list[str] = []
    lines = file.read_text(encoding="utf-8").splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.startswith(("statement", "query", "record")):
            lead.append(line)
            at += 1
            continue
        begin = at
        while at < len(lines) and lines[at]:
            at += 1
        block = lines[begin + 1 : at]
        cut = block.index("----") if "----" in block else len(block)
        sql, expected = "\n".join(block[:cut]), tuple(block[cut + 1 :])
        records.append(Record(begin + 1, tuple(lead), line, sql, expected))
        lead = []
        at += 1
    return records, tuple(lead)


def is_portable(records: Sequence[Record]) -> bool:
    """Say whether a file may run on DuckDB."""
    return not (records and "require foveal" in records[0].lead)


def cell(value: object) -> str:
    """Return one value as the files have it."""
    match value:
        case None:
            return "NULL"
        case "":
            return "(empty)"
        case bool():
            return str(value).lower()
        case bytes():
            return value.hex()
        case datetime.datetime() | datetime.date() | datetime.time():
            return value.isoformat(*([" "] if isinstance(value, datetime.datetime) else []))
        case _:
            return str(value).replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def ask(connection: Connection, sql: str, *, in_full: bool) -> Answer:
    """Run one statement to its end. `in_full` adds an error's SQLSTATE, line, caret and hint."""
    try:
        cursor = connection.execute(sql)
        rows = cursor.fetchall() if cursor is not None and cursor.description is not None else []
    except Exception as error:
        if not hasattr(error, "sqlstate") and not isinstance(error, duckdb.Error):
            raise
        return Answer(error=errors.render(error, sql) if in_full else str(error))
    return Answer(tuple("\t".join(cell(v) for v in row) for row in rows))


def outcome(record: Record, answer: Answer) -> Record:
    """Return the record as it would have to be for this answer."""
    header, expected = record.header, answer.rows
    if answer.error is not None:
        header = "statement error"
        expected = tuple(line for line in answer.error.splitlines() if line.strip())
    elif not header.startswith("query"):
        shows = is_query(record.sql) and header != "statement ok"
        header, expected = ("query", expected) if shows else ("statement ok", ())
    if "rowsort" in header:
        expected = tuple(sorted(expected))
    return Record(record.line, record.lead, header, record.sql, expected)


def is_query(sql: str) -> bool:
    """Say whether a statement with the header `record` is there for its rows."""
    first = sql.lstrip("(").split(None, 1)[0].lower()
    return first not in {"create", "insert", "drop", "set", "reset", "begin", "commit", "rollback",
                         "update", "delete", "alter", "copy", "prepare", "deallocate", "use",
                         "truncate", "merge", "checkpoint", "analyze", "refresh"}  # fmt: skip


def chosen(file: Path, records: Sequence[Record]) -> Iterator[tuple[Record, bool]]:
    """Yield (record, is it checked) as the SLT variable wants it."""
    if ONLY_FILE and file.name != ONLY_FILE:
        pytest.skip("not the file that SLT names")
    for record in records:
        if ONLY_LINE and record.line > int(ONLY_LINE):
            return
        after = record.line + record.text().count("\n")
        yield record, not ONLY_LINE or record.line <= int(ONLY_LINE) < after


def run(file: Path, system: str) -> None:
    """Run a file's records in one session and compare, or rewrite the file."""
    records, tail = read(file)
    if system != "foveal" and not is_portable(records):
        pytest.skip("not portable")
    wrong: list[str] = []
    outcomes: list[Record] = []
    connection = SYSTEMS[system]()
    try:
        for record, checked in chosen(file, records):
            if record.only not in (None, "foveal" if system == "compiled" else system):
                outcomes.append(record)
                continue
            got = outcome(record, ask(connection, record.sql, in_full=not is_portable(records)))
            outcomes.append(got)
            if checked and got != record:
                wrong.append(f"{file}:{record.line}\n{record.text()}got:\n{got.text()}")
    finally:
        connection.close()
    if (
        REWRITE
        and not ONLY_LINE
        and system != "compiled"
        and (system == "duckdb" or not is_portable(records))
    ):
        body = "\n".join([record.text() for record in outcomes] + list(tail))
        file.write_text(body, encoding="utf-8")
    else:
        assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize("system", ["duckdb", "foveal", "compiled"])
def test_file(
    file: Path, system: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if system == "foveal" and "street.mp4" in file.read_text(encoding="utf-8"):
        monkeypatch.chdir(request.getfixturevalue("clip").parent)
    run(file, system)


def arrow(record: Record, query: Callable[[str], Any], connection: Any) -> object:
    """Return a record's outcome to compare: names, types and rows; None; or an error's text."""
    try:
        if record.header.startswith("query"):
            table = query(record.sql)
            rows = [str(row) for row in table.to_pylist()]
            return table.schema, sorted(rows) if "rowsort" in record.header else rows
        connection.execute(record.sql)
    except (errors.Error, duckdb.Error) as error:
        return str(error)
    return None


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_same_types_and_errors_as_duckdb(file: Path) -> None:
    """Arrow results, with their column names and types, and error texts are DuckDB's."""
    records, _ = read(file)
    if not is_portable(records):
        pytest.skip("not portable")
    import foveal

    wrong: list[str] = []
    with foveal.connect() as ours, duckdb.connect() as theirs:
        for record, _ in chosen(file, records):
            if record.only is not None:
                continue
            seen = [
                arrow(record, lambda sql: ours.execute(sql).fetch_arrow_table(), ours),
                arrow(record, lambda sql: theirs.execute(sql).to_arrow_table(), theirs),
            ]
            if seen[0] != seen[1]:
                wrong.append(f"{file}:{record.line}\n{record.sql}\n{seen[0]}\nnot\n{seen[1]}")
    assert not wrong, "\n" + "\n".join(wrong)
