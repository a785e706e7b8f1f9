"""Results as bytes: an aligned table, expanded records, CSV, JSON, an Arrow stream, Parquet.

All but the table read their rows as they write them. A table's columns are as wide as its first
`_SAMPLE_ROWS` rows need, so that it too runs in bounded memory.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import IO, Any, cast

from foveal import types
from foveal.cursor import Cursor
from foveal.errors import OperationalError, display_width
from foveal.result_set import Row

_SAMPLE_ROWS = 1000
_BATCH_ROWS = 1000
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    10: "\\n",
    13: "\\r",
    9: "\\t",
}
"""A terminal obeys control characters; a table shows them instead."""


def text_of(value: object) -> str:
    """Return a fetched value as SQL writes it: `true`, `2026-01-02 03:04:05`, `[1, NULL]`."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case Decimal():
            return format(value, "f")
        case datetime():
            return value.isoformat(sep=" ")
        case bytes():
            return "\\x" + value.hex()
        case list() | tuple():
            members = cast("Sequence[object]", value)
            return "[" + ", ".join(map(text_of, members)) + "]"
        case dict():
            pairs = cast("Mapping[object, object]", value).items()
            return "{" + ", ".join(f"{text_of(k)}: {text_of(v)}" for k, v in pairs) + "}"
        case _:
            return str(value)


def json_of(value: object) -> str:
    """Return a fetched value as JSON; numbers keep every digit, NaN and infinity are strings."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float() if math.isfinite(value):
            return repr(value)
        case Decimal() if value.is_finite():
            return format(value, "f")
        case list() | tuple():
            members = cast("Sequence[object]", value)
            return "[" + ",".join(map(json_of, members)) + "]"
        case dict():
            pairs = cast("Mapping[object, object]", value).items()
            return "{" + ",".join(f"{_quoted(text_of(k))}:{json_of(v)}" for k, v in pairs) + "}"
        case _:
            return _quoted(text_of(value))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def batches(cursor: Cursor) -> Iterator[list[Row]]:
    """Yield the rest of the rows in lists."""
    while rows := cursor.fetchmany(_BATCH_ROWS):
        yield rows


def write_table(cursor: Cursor, out: IO[bytes]) -> int:
    """Write rows under aligned columns, as psql does; return how many."""
    description = cursor.description or []
    names = [_shown(name) for name, *_ in description]
    right = [code == types.NUMBER and code != "BOOLEAN" for _, code, *_ in description]
    first = cursor.fetchmany(_SAMPLE_ROWS)
    widths = [_width(name) for name in names]
    for row in first:
        for at, value in enumerate(row):
            widths[at] = max(widths[at], _width(_shown(text_of(value))))
    head = "|".join(_centered(f" {n} ", w + 2) for n, w in zip(names, widths, strict=True))
    out.write(f"{head}\n{'+'.join('-' * (w + 2) for w in widths)}\n".encode())
    count = 0
    for rows in _chain(first, cursor):
        lines: list[str] = []
        for row in rows:
            cells = zip((_shown(text_of(value)) for value in row), widths, right, strict=True)
            lines.append("|".join(_cell(*cell) for cell in cells).rstrip() + "\n")
        out.write("".join(lines).encode("utf-8", "surrogatepass"))
        count += len(rows)
    out.write(f"({count} row{'' if count == 1 else 's'})\n\n".encode())
    return count


def write_records(cursor: Cursor, out: IO[bytes]) -> int:
    """Write each row as a block of `column | value` lines (psql's expanded form)."""
    names = [_shown(name) for name, *_ in cursor.description or []]
    width = max(map(_width, names), default=0)
    padded = [name + " " * (width - _width(name)) for name in names]
    count = 0
    for rows in batches(cursor):
        for row in rows:
            count += 1
            lines = [f"-[ RECORD {count} ]" + "-" * width]
            lines += [f"{n} | {_shown(text_of(v))}" for n, v in zip(padded, row, strict=True)]
            out.write(("\n".join(lines) + "\n").encode("utf-8", "surrogatepass"))
    out.write(b"\n" if count else b"(0 rows)\n\n")
    return count


def write_csv(cursor: Cursor, out: IO[bytes]) -> int:
    """Write a header and rows (RFC 4180, lines end in LF). NULL is nothing, '' is `""`."""
    names = [name for name, *_ in cursor.description or []]
    out.write((",".join(map(_csv_field, names)) + "\n").encode())
    count = 0
    for rows in batches(cursor):
        lines = [",".join(map(_csv_field, row)) + "\n" for row in rows]
        out.write("".join(lines).encode("utf-8", "surrogatepass"))
        count += len(rows)
    return count


def write_json(cursor: Cursor, out: IO[bytes]) -> int:
    """Write an array with an object per row. A name that comes twice gets a number."""
    names: list[str] = []
    raw: list[bool] = []
    for name, code, *_ in cursor.description or []:
        unique, n = name, 0
        while unique in names:
            n += 1
            unique = f"{name}_{n}"
        names.append(unique)
        raw.append(code == "JSON")
    keys = [_quoted(name) + ": " for name in names]
    count = 0
    out.write(b"[")
    for rows in batches(cursor):
        for row in rows:
            values = (
                str(value) if is_json and value is not None else json_of(value)
                for value, is_json in zip(row, raw, strict=True)
            )
            body = ", ".join(key + value for key, value in zip(keys, values, strict=True))
            out.write(f"{',' if count else ''}\n  {{{body}}}".encode("utf-8", "surrogatepass"))
            count += 1
    out.write(b"\n]\n")
    return count


def write_arrow(cursor: Cursor, out: IO[bytes]) -> int:
    """Write an Arrow IPC stream; several results follow each other as several streams."""
    import pyarrow as pa

    _not_on_a_terminal("Arrow", out)
    reader = cursor.fetch_record_batch()
    count = 0
    with cast("Any", pa.ipc.new_stream)(out, reader.schema) as stream:
        for batch in reader:
            stream.write_batch(batch)
            count += batch.num_rows
    return count


def write_parquet(cursor: Cursor, out: IO[bytes]) -> int:
    """Write a Parquet file, one row group per batch; the output must be empty."""
    import pyarrow.parquet as pq

    _not_on_a_terminal("Parquet", out)
    if out.seekable() and out.tell() != 0:
        raise OperationalError(
            "the output holds a result already, and a Parquet file holds one",
            sqlstate="55000",
            hint="write each result to a file of its own",
        )
    reader = cursor.fetch_record_batch()
    count = 0
    with pq.ParquetWriter(out, reader.schema) as file:
        for batch in reader:
            file.write_batch(batch)
            count += batch.num_rows
    return count


Writer = Callable[[Cursor, IO[bytes]], int]

FORMATS: Mapping[str, Writer] = {
    "table": write_table,
    "csv": write_csv,
    "json": write_json,
    "arrow": write_arrow,
    "parquet": write_parquet,
}
BINARY_FORMATS = frozenset({"arrow", "parquet"})


def _not_on_a_terminal(what: str, out: IO[bytes]) -> None:
    if out.isatty():
        raise OperationalError(
            f"{what} is binary and the output is a terminal",
            sqlstate="55000",
            hint="redirect the output, or name a file: -o FILE or \\o FILE",
        )


def _chain(first: list[Row], cursor: Cursor) -> Iterator[list[Row]]:
    if first:
        yield first
        yield from batches(cursor)


def _shown(text: str) -> str:
    return text if text.isprintable() else text.translate(_CONTROLS)


def _width(text: str) -> int:
    return len(text) if text.isascii() else display_width(text)


def _cell(text: str, width: int, right: bool) -> str:
    gap = " " * max(0, width - _width(text))
    return f" {gap}{text} " if right else f" {text}{gap} "


def _centered(text: str, width: int) -> str:
    gap = max(0, width - _width(text))
    return " " * (gap // 2) + text + " " * (gap - gap // 2)


def _csv_field(value: object) -> str:
    if value is None:
        return ""
    text = text_of(value)
    if not text or any(mark in text for mark in ',"\n\r'):
        return '"' + text.replace('"', '""') + '"'
    return text
