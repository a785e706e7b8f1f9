"""What parsing gives: one frozen node per kind of statement, all places as spans of the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal.errors import Span

if TYPE_CHECKING:
    from sqlglot import exp

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Token:
    """A lexical token. `kind`: word, quoted, string, number, param, op. `text` is the source text.

    `name` is a word's or quoted identifier's meaning (quotes undone, case kept), else "".
    """

    kind: str
    text: str
    start: int
    end: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A bind parameter in place of a clause's number: its key as DuckDB knows it ("1", "name")."""

    key: str


Number = float | Parameter


@dataclass(frozen=True, slots=True)
class ErrorBound:
    """`ERROR WITHIN x [%]`. `value` is the number as written, above 0.

    `relative` (with the %) says that it counts hundredths of the answer: 5% is the value 5.
    """

    value: Number
    relative: bool
    span: Span


@dataclass(frozen=True, slots=True)
class RateBound:
    """`FNR WITHIN x [%]` or `FPR WITHIN x [%]`. `kind` is fnr or fpr.

    `value` is the number as written; `percent` says that it counts hundredths. As a fraction it
    lies in (0, 1).
    """

    kind: str
    value: Number
    percent: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Confidence:
    """`AT CONFIDENCE x [%]`.

    `value` is the number as written; with `percent`, or above 1, it counts hundredths. As a
    fraction it lies in (0, 1).
    """

    value: Number
    percent: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Gap:
    """`GAP n` or `GAP INTERVAL ..`. `unit` is frames (whole numbers) or seconds."""

    value: Number
    unit: str
    span: Span


@dataclass(frozen=True, slots=True)
class Budget:
    """`BUDGET n SECONDS | CALLS`. `unit` is seconds or calls (whole numbers)."""

    value: Number
    unit: str
    span: Span


@dataclass(frozen=True, slots=True)
class Bounds:
    """`BOUNDS (lo, hi)`: the range of the aggregated expression, per object."""

    low: Number
    high: Number
    span: Span


@dataclass(frozen=True, slots=True)
class Clauses:
    """The clauses of ours that one SELECT block owns."""

    error: ErrorBound | None = None
    fnr: RateBound | None = None
    fpr: RateBound | None = None
    confidence: Confidence | None = None
    gap: Gap | None = None
    budget: Budget | None = None
    bounds: Bounds | None = None

    @property
    def spans(self) -> tuple[Span, ...]:
        """Where they stand in the text."""
        parts = (
            self.error,
            self.fnr,
            self.fpr,
            self.confidence,
            self.gap,
            self.budget,
            self.bounds,
        )
        return tuple(part.span for part in parts if part is not None)


@dataclass(frozen=True, slots=True)
class Block:
    """One SELECT block of a query, found lexically: where its parts stand.

    Every part is the span of the part's contents without its keyword (`where` of `WHERE a=1` is
    `a=1`), or None. `items` are the select list's items. `conjuncts` are WHERE split at its
    top-level ANDs. `depth` is the parenthesis depth; `parent` the index of the enclosing block.
    `span` runs from the first keyword to the end of the block's last part, clauses of ours
    included. `tail` parts (order_by, limit, offset) after a set operation belong to the last arm
    lexically; `in_set` says that this block is an arm of UNION, INTERSECT or EXCEPT.
    """

    span: Span
    depth: int
    parent: int | None
    items: tuple[Span, ...]
    distinct: bool
    from_: Span | None
    where: Span | None
    conjuncts: tuple[Span, ...]
    group_by: Span | None
    group_keys: tuple[Span, ...]
    having: Span | None
    window: Span | None
    qualify: Span | None
    order_by: Span | None
    limit: Span | None
    offset: Span | None
    in_set: bool
    clauses: Clauses


@dataclass(frozen=True, slots=True)
class Plain:
    """A statement that is DuckDB's, byte for byte."""

    text: str


@dataclass(frozen=True, slots=True)
class Query:
    """A statement that DuckDB runs once our parts are taken out: SELECT, and whatever wraps one.

    `text` is the user's text; `blanked` the same with our clauses overwritten by spaces, so that
    all offsets agree. `kind`: select, create_table_as, insert, copy, describe, summarize, update,
    delete, merge, pivot, values. `query` is the span of the query within a wrapping statement
    (for kind select the whole statement), from its first token to its last. `tree` is sqlglot's
    parse of `blanked[query]`, whose identifier positions count from `query.start`; a bind
    parameter in it is an `exp.Placeholder` whose `this` is the key (with the positions as meta).
    `blocks` are in text order. `fcounts` are the spans of the FCOUNT(*) calls. `parameters`: each
    bind parameter's (span, key).
    """

    text: str
    blanked: str
    kind: str
    query: Span
    tree: exp.Expr
    tokens: tuple[Token, ...]
    blocks: tuple[Block, ...]
    fcounts: tuple[Span, ...]
    parameters: tuple[tuple[Span, str], ...]


@dataclass(frozen=True, slots=True)
class CreateVideoTable:
    """CREATE [OR REPLACE] VIDEO TABLE [IF NOT EXISTS] name FROM 'pattern', .. [WITH (k = v, ..)].

    CREATE VIDEO STREAM is `stream`; its only source is an address.

    `option_spans` has, per option, the span of its name and of its value.
    """

    text: str
    name: str
    name_span: Span
    or_replace: bool
    if_not_exists: bool
    sources: tuple[str, ...]
    source_spans: tuple[Span, ...]
    options: Mapping[str, Scalar]
    option_spans: Mapping[str, tuple[Span, Span]]
    stream: bool = False


@dataclass(frozen=True, slots=True)
class DropVideoTable:
    """DROP VIDEO TABLE or STREAM (`stream`) [IF EXISTS] name."""

    text: str
    name: str
    name_span: Span
    if_exists: bool
    stream: bool = False


@dataclass(frozen=True, slots=True)
class RefreshVideoTable:
    """REFRESH VIDEO TABLE name: look at the sources again."""

    text: str
    name: str
    name_span: Span


@dataclass(frozen=True, slots=True)
class RefreshVideoStream:
    """REFRESH VIDEO STREAM name [FOR n SECONDS | WINDOWS]: record, and look at each window.

    `limit` is None up to the stream's end, else in seconds or windows, as `unit` says.
    """

    text: str
    name: str
    name_span: Span
    limit: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class AnalyzeVideo:
    """ANALYZE VIDEO name [BUDGET n SECONDS | CALLS]: thumbnails and detections ahead of time."""

    text: str
    name: str
    name_span: Span
    budget: Budget | None


@dataclass(frozen=True, slots=True)
class CreateProxy:
    """CREATE [OR REPLACE] PROXY [IF NOT EXISTS] name ON table FOR quantity [WITH (k = v, ..)].

    `kind` is count or sum. `argument` and `where` are sqlglot's `SELECT 1 WHERE condition`, whose
    places count from the condition's first token; `argument` is None for COUNT(*). `quantity` is
    the span from COUNT or SUM to the end of WHERE.
    """

    text: str
    name: str
    name_span: Span
    or_replace: bool
    if_not_exists: bool
    table: str
    table_span: Span
    kind: str
    argument: exp.Select | None
    where: exp.Select | None
    tokens: tuple[Token, ...]
    quantity: Span
    options: Mapping[str, Scalar]
    option_spans: Mapping[str, tuple[Span, Span]]


@dataclass(frozen=True, slots=True)
class DropProxy:
    """DROP PROXY [IF EXISTS] name."""

    text: str
    name: str
    name_span: Span
    if_exists: bool


@dataclass(frozen=True, slots=True)
class ShowProxies:
    """SHOW PROXIES, which is DuckDB's where the user has a table called proxies."""

    text: str


@dataclass(frozen=True, slots=True)
class CreateStored:
    """CREATE [OR REPLACE] VIEW or MACRO whose body names an extension object.

    `kind` is view, table_macro or scalar_macro; `body` the span of the query or expression.
    """

    text: str
    name: str
    name_span: Span
    kind: str
    or_replace: bool
    if_not_exists: bool
    parameters: tuple[str, ...]
    columns: tuple[str, ...]
    body: Span
    temporary: bool = False


@dataclass(frozen=True, slots=True)
class DropStored:
    """DROP VIEW or DROP MACRO [TABLE] of a view or macro that foveal keeps."""

    text: str
    name: str
    name_span: Span
    kind: str
    if_exists: bool


@dataclass(frozen=True, slots=True)
class CreateFunction:
    """CREATE [OR REPLACE] [TEMP] FUNCTION name(x TYPE, ..) RETURNS TYPE LANGUAGE .. AS '..'.

    `parameters`: (name, type as written, the type's place). `batch` is scalar, numpy, pandas or
    arrow; `null_handling` strict or special; `cost` seconds a row. `body`: the function's text.
    """

    text: str
    name: str
    name_span: Span
    or_replace: bool
    if_not_exists: bool
    temporary: bool
    parameters: tuple[tuple[str, str, Span], ...]
    returns: str
    returns_span: Span
    language: str
    batch: str
    null_handling: str
    volatile: bool
    cost: float | None
    body: str
    body_span: Span


@dataclass(frozen=True, slots=True)
class DropFunction:
    """DROP FUNCTION [IF EXISTS] name: one of ours, else DuckDB's macro."""

    text: str
    name: str
    name_span: Span
    if_exists: bool


@dataclass(frozen=True, slots=True)
class Explain:
    """EXPLAIN [VERBOSE | ANALYZE] [(FORMAT JSON)] of an extension statement.

    `statement` is parsed from the text with the EXPLAIN words blanked, so positions agree.
    """

    text: str
    analyze: bool
    verbose: bool
    format: str
    statement: Statement


@dataclass(frozen=True, slots=True)
class SetSetting:
    """SET foveal.name = value | TO value; RESET foveal.name has value None."""

    text: str
    name: str
    name_span: Span
    value: Scalar | None
    value_span: Span | None


@dataclass(frozen=True, slots=True)
class ShowSetting:
    """SHOW foveal.name; `SHOW foveal.ALL` (name "all") lists every setting of ours."""

    text: str
    name: str
    name_span: Span


@dataclass(frozen=True, slots=True)
class Prepare:
    """PREPARE name AS statement, where the statement is an extension's."""

    text: str
    name: str
    name_span: Span
    body: Span


@dataclass(frozen=True, slots=True)
class Execute:
    """EXECUTE name [(arguments)] of a statement that foveal keeps. Each argument is a span."""

    text: str
    name: str
    name_span: Span
    arguments: tuple[tuple[str, Span], ...]


@dataclass(frozen=True, slots=True)
class Deallocate:
    """DEALLOCATE [PREPARE] name of a statement that foveal keeps."""

    text: str
    name: str
    name_span: Span


Statement = (
    Plain
    | Query
    | CreateVideoTable
    | DropVideoTable
    | RefreshVideoTable
    | RefreshVideoStream
    | AnalyzeVideo
    | CreateProxy
    | DropProxy
    | ShowProxies
    | CreateStored
    | DropStored
    | CreateFunction
    | DropFunction
    | Explain
    | SetSetting
    | ShowSetting
    | Prepare
    | Execute
    | Deallocate
)
