"""Programs of the loop language: sources, parameters, builders and loops.

    pipeline revenue {
      source lineitem(l_shipdate: date as i16 in 8036..10561, ..)
      scalar first: date in 8766..8766
      loop lineitem where l_shipdate >= first and .. { revenue = sum(l_extendedprice * l_discount) }
      return revenue
    }

A loop runs over the rows of one source in parallel; its builder is linear: each thread has its own,
they are combined at the end, and its result can be read only by later loops (as a table) or by the
caller. A program has no other state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from foveal.planner.ir.nodes import Expr
from foveal.planner.ir.types import Bool, Decimal, Float, Int, Type, physical

# --- what comes in -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a source: its type, the machine type it is stored in, and what is known of it.

    `low`, `high`: bounds of the stored integers of valid rows; None: those of the type (floats
    have none). `nullable`: it has a validity bitmap.
    """

    name: str
    type: Type
    storage: Bool | Int | Float
    nullable: bool = True
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A relation that loops run over."""

    name: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar parameter. `low`, `high`: the class of values that this program is right for."""

    name: str
    type: Type
    nullable: bool = False
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """An array parameter for `Lookup`: `size` entries, also bounds as of a column.

    `size` None: known when the program runs (bounds are checked there).
    """

    name: str
    type: Type
    size: int | None
    nullable: bool = True
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A model parameter: its kind and signature. The numbers in it are data, never code."""

    name: str
    kind: str
    features: tuple[Type, ...]
    outputs: tuple[Type, ...]


# --- builders ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fold:
    """A scalar aggregate: sum, min, max, count, avg, or first (any valid value).

    SQL's: over no valid row NULL, count 0. `operand` None: count of rows. `type`: of the result
    (`sum_type` says what DuckDB gives). Integer sums never wrap.
    """

    op: str
    operand: Expr | None
    type: Type


@dataclass(frozen=True, slots=True)
class Key:
    """A group's key. `low`, `high`: known bounds of it; None: not known (then only hashing)."""

    name: str
    expr: Expr
    nullable: bool = True
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True)
class Struct:
    """Named builders fed by the same rows: one row out, a column each."""

    fields: tuple[tuple[str, Fold], ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A row per distinct key: the keys, then the folds. NULL is a key like others.

    `strategy`: "dense" (keys bounded, a slot per combination), "hash", or "" (not chosen yet).
    Rows come out in no particular order.
    """

    keys: tuple[Key, ...]
    fields: tuple[tuple[str, Fold], ...]
    strategy: str = ""


@dataclass(frozen=True, slots=True)
class Append:
    """The rows that pass, a column per expression, in the source's order."""

    fields: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True)
class Bitmap:
    """Which integers of low .. high occur: a table of booleans for later loops. Never NULL."""

    index: Expr
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Scatter:
    """A table for later loops: at each index (low .. high) the row's value of `value`.

    An index that comes twice raises (the key of the join was not unique).
    """

    index: Expr
    value: Expr
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Order:
    """A sort key of `TopK`. NULLs last unless `nulls_first`."""

    expr: Expr
    descending: bool = False
    nulls_first: bool = False


@dataclass(frozen=True, slots=True)
class TopK:
    """The first `limit` rows in an order, sorted. Ties are broken by row number."""

    limit: int
    order: tuple[Order, ...]
    fields: tuple[tuple[str, Expr], ...]


Builder: TypeAlias = Struct | Group | Append | Bitmap | Scatter | TopK


# --- loops -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Loop:
    """For each row of `source` where `where` is true: merge into the builder.

    `source`: a source, or the `into` of an earlier loop that appends rows (the pass `inline` turns
    such loops into loops over a source; what is left of them has no machine code).
    `how`: "mask" (evaluate all, keep by selection), "branch", "compact" (rows that pass gather in
    blocks before what is expensive), or "" (not chosen yet). `into`: the result's name.
    """

    into: str
    source: str
    builder: Builder
    where: Expr | None = None
    how: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A result that is some columns of what a loop makes: pairs of its own name and the loop's."""

    name: str
    loop: str
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Program:
    """Loops in order. `results`: the names that the caller gets, of loops (`into`) and parts."""

    name: str
    sources: tuple[Source, ...]
    loops: tuple[Loop, ...]
    results: tuple[str, ...]
    scalars: tuple[Scalar, ...] = ()
    tables: tuple[Table, ...] = ()
    models: tuple[Model, ...] = ()
    messages: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()


def sum_type(operand: Type) -> Type:
    """Return the type of SUM in DuckDB: HUGEINT, DECIMAL(38, s), DOUBLE.

    Raises:
        TypeError: the type has no sum.
    """
    match operand:
        case Bool() | Int():
            return Int(128)
        case Decimal(scale=s):
            return Decimal(38, s)
        case Float():
            return Float(64)
        case _:
            raise TypeError(f"no sum of {operand} ({physical(operand)})")
