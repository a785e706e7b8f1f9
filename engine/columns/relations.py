"""A table's name or a file's path → which relation that is, its columns, and what forbids them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from foveal.engine.columns.sql_types import ir_type
from foveal.engine.substrate import Substrate
from foveal.errors import FovealError
from foveal.planner.ir.types import Code, Type
from foveal.planner.parse.lexer import tokenize


class Unavailable(Exception):
    """Programs cannot run over a relation or column now; its text says why. DuckDB still can."""


@dataclass(frozen=True, slots=True)
class Described:
    """A column: `type` None where programs have none, `refused` why it cannot be read."""

    name: str
    sql_type: str
    type: Type | None
    refused: str


@dataclass(frozen=True, slots=True)
class Relation:
    """A base table of the session's database, or a file.

    `database`, `name`: its key in the cache. `table`: its folded name without schema, empty for a
    file. `sql`: what FROM takes. `rows`: estimated.
    """

    database: str
    name: str
    table: str
    sql: str
    rows: int
    columns: tuple[Described, ...]

    def column(self, name: str) -> Described:
        """Return a column by its name, without regard to case.

        Raises:
            Unavailable: there is none.
        """
        folded = name.lower()
        for column in self.columns:
            if column.name.lower() == folded:
                return column
        raise Unavailable(f'no column "{name}"')


def quoted(name: str) -> str:
    """Return a name as SQL text."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a string as SQL text."""
    return "'" + text.replace("'", "''") + "'"


def _described(
    columns: list[tuple[str, str]], relation: str, collated: str
) -> tuple[Described, ...]:
    """Return columns with their types. `collated`: why strings do not compare by their bytes."""
    found: list[Described] = []
    for name, sql_type in columns:
        type_ = ir_type(sql_type, f"{relation}.{name}".lower())
        refused = "" if type_ is not None else f"programs have no {sql_type}"
        if collated and isinstance(type_, Code) and sql_type == "VARCHAR":
            refused = collated
        found.append(Described(name, sql_type, type_, refused))
    return tuple(found)


def parts(name: str) -> list[str]:
    """Return the parts of a dotted name.

    Raises:
        Unavailable: it is none.

    >>> parts('main."My.T"')
    ['main', 'My.T']
    """
    try:
        tokens = tokenize(name)
    except FovealError as error:
        raise Unavailable(f"{name} is no name of a table") from error
    names = [t.name for t in tokens[::2] if t.kind in ("word", "quoted")]
    dots = [t.text for t in tokens[1::2]]
    if not names or len(names) != len(dots) + 1 or any(d != "." for d in dots):
        raise Unavailable(f"{name} is no name of a table")
    return names


def table(substrate: Substrate, name: str, *, home: str, key: str, temporary: str) -> Relation:
    """Return the base table that the session means by `name`.

    `home`: the name of the session's own database, `key` that database's in the cache,
    `temporary` that of the session's temporary tables.

    Raises:
        Unavailable: it is a view, in another database, hidden or ambiguous, or is not there.
        FovealError: DuckDB refuses to look, as in a broken transaction.
    """
    named = parts(name)
    at, schema, collation = substrate.rows(
        "SELECT current_database(), current_schema(), current_setting('default_collation')"
    )[0]
    found = substrate.rows(
        "SELECT database_name, schema_name, table_name, estimated_size, sql, table_oid, false "
        "FROM duckdb_tables() WHERE lower(table_name) = lower($name) UNION ALL "
        "SELECT database_name, schema_name, view_name, 0, '', view_oid, true FROM duckdb_views() "
        "WHERE lower(view_name) = lower($name)",
        {"name": named[-1]},
    )
    hidden = any(row[0] == "temp" for row in found)
    match [part.lower() for part in named[:-1]]:
        case []:
            if not hidden and at != home:
                raise Unavailable(f"{name} is in an attached database")
            wanted = ("temp", "main") if hidden else (home.lower(), str(schema).lower())
        case [first] if not hidden:
            others = substrate.rows(
                "SELECT lower(database_name) FROM duckdb_databases() UNION ALL "
                "SELECT lower(schema_name) FROM duckdb_schemas() WHERE database_name = $home",
                {"home": home},
            )
            if [row[0] for row in others].count(first) != 1 or (at != home and first != at.lower()):
                raise Unavailable(f"{name} may mean several tables")
            wanted = (home.lower(), first)
            if first == home.lower():
                wanted = (first, "main")
        case [first, second]:
            wanted = (first, second)
        case _:
            raise Unavailable(f"{name} may mean several tables")
    rows = [row for row in found if (str(row[0]).lower(), str(row[1]).lower()) == wanted]
    if not rows:
        raise Unavailable(f"{name} is no table of this database")
    database, inside, own, estimated, sql, oid, view = rows[0]
    if view or len(rows) > 1:
        raise Unavailable(f"{name} is a view")
    if database not in (home, "temp"):
        raise Unavailable(f"{name} is in an attached database")
    columns = substrate.rows(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE table_oid = $oid AND "
        "database_name = $database ORDER BY column_index",
        {"oid": oid, "database": database},
    )
    collated = "strings of this table are collated" if "collate" in str(sql).lower() else ""
    if collation:
        collated = "default_collation is set"
    return Relation(
        temporary if database == "temp" else key,
        f"{inside}.{own}".lower(),
        str(own).lower(),
        ".".join(quoted(str(part)) for part in (database, inside, own)),
        int(estimated or 0),
        _described([(str(c), str(t)) for c, t in columns], str(own), collated),
    )


FILES = "file:"
"""The database that files belong to in the cache."""


def file_version(path: str) -> tuple[int, int, int]:
    """Return (bytes, modification time in ns, inode) of a file.

    Raises:
        Unavailable: there is none.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    return found.st_size, found.st_mtime_ns, found.st_ino


def parquet(substrate: Substrate, path: str | Path) -> Relation:
    """Return a Parquet file as a relation.

    Raises:
        Unavailable: it is no single local file that can be read as Parquet.
    """
    real = os.path.realpath(path)
    if any(mark in real for mark in "*?["):
        raise Unavailable(f"{path} is a pattern")
    file_version(real)
    sql = f"read_parquet({literal(real)})"
    try:
        columns = substrate.rows(f"DESCRIBE SELECT * FROM {sql}")
        rows = substrate.rows(f"SELECT sum(num_rows) FROM parquet_file_metadata({literal(real)})")[
            0
        ][0]
        collation = substrate.rows("SELECT current_setting('default_collation')")[0][0]
    except FovealError as error:
        if error.sqlstate == "25P02":
            raise
        raise Unavailable(f"{path}: {error.message}") from error
    collated = "default_collation is set" if collation else ""
    described = _described([(str(c[0]), str(c[1])) for c in columns], Path(real).stem, collated)
    return replace(Relation(FILES, real, "", sql, int(rows or 0), ()), columns=described)
