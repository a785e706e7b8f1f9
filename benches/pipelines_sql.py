"""Programs of the loop language as DuckDB's SQL: the second opinion on what they mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from foveal.planner.ir import nodes, program
from foveal.planner.ir.nodes import Expr
from foveal.planner.ir.types import Bool, Code, Date, Decimal, Float, Int, Timestamp, Type, limits

# fmt: off
_INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "idiv": "//", "mod": "%", "eq": "=",
          "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "and": "AND", "or": "OR",
          "bitand": "&", "bitor": "|", "shl": "<<", "shr": ">>"}
_CALLS = {"least": "least", "greatest": "greatest", "bitxor": "xor", "pow": "pow",
          "atan2": "atan2", "abs": "abs", "sign": "sign", "floor": "floor", "ceil": "ceil",
          "trunc": "trunc", "round": "round", "sqrt": "sqrt", "cbrt": "cbrt", "exp": "exp",
          "log": "ln", "log2": "log2", "log10": "log10", "sin": "sin", "cos": "cos", "tan": "tan",
          "asin": "asin", "acos": "acos", "atan": "atan", "sinh": "sinh", "cosh": "cosh",
          "tanh": "tanh", "is_nan": "isnan", "is_inf": "isinf",
          **{part: part for part in nodes.PARTS}}
_WIDTHS = {8: "TINYINT", 16: "SMALLINT", 32: "INTEGER", 64: "BIGINT", 128: "HUGEINT"}
# fmt: on


class NoSql(Exception):
    """SQL has no such expression."""


def type_sql(type_: Type) -> str:
    """Return the SQL name of a type."""
    match type_:
        case Int(bits=bits, signed=signed):
            return ("" if signed else "U") + _WIDTHS[bits]
        case Float(bits=bits):
            return "FLOAT" if bits == 32 else "DOUBLE"
        case Bool():
            return "BOOLEAN"
        case Decimal(precision=p, scale=s):
            return f"DECIMAL({p},{s})"
        case Date():
            return "DATE"
        case Timestamp():
            return "TIMESTAMP"
        case Code():
            return "VARCHAR"


def literal_sql(
    value: bool | int | float | None, type_: Type, dictionaries: Mapping[str, Sequence[str]]
) -> str:
    """Return a stored value as SQL of its type."""
    name = type_sql(type_)
    if value is None:
        # Not a plain NULL: DuckDB would leave out all around it, errors included.
        zero = False if isinstance(type_, Bool) else 0.0 if isinstance(type_, Float) else 0
        return f"(CASE WHEN i_ < 0 THEN {literal_sql(zero, type_, dictionaries)} END)"
    match type_:
        case Decimal(scale=s):
            digits = str(abs(int(value))).rjust(s + 1, "0")
            text = ("-" if value < 0 else "") + digits[: len(digits) - s]
            return f"'{text}{'.' + digits[len(digits) - s :] if s else ''}'::{name}"
        case Date():
            return f"(DATE '1970-01-01' + ({value})::INTEGER)"
        case Timestamp():
            return f"make_timestamp(({value})::BIGINT)"
        case Code(dictionary=d):
            return "'" + dictionaries[d][int(value)] + "'"
        case Float():
            text = "nan" if math.isnan(value) else repr(float(value))
            return f"'{text}'::{name}"
        case _:
            return f"'{value}'::{name}"


class Printer:
    """Writes expressions over a table `t`; parameters and lookup tables are written out."""

    def __init__(
        self,
        scalars: Mapping[str, Any],
        tables: Mapping[str, Sequence[Any]],
        dictionaries: Mapping[str, Sequence[str]],
        whole: program.Program,
    ) -> None:
        """Keep what expressions name."""
        self.scalars, self.tables, self.dictionaries = scalars, tables, dictionaries
        self.whole = whole

    def literal(self, value: Any, type_: Type) -> str:
        """Return a constant."""
        return literal_sql(value, type_, self.dictionaries)

    def expr(self, node: Expr) -> str:
        """Return an expression.

        Raises:
            NoSql: SQL has none.
        """
        match node:
            case nodes.Column():
                return node.name
            case nodes.Parameter():
                return self.literal(self.scalars[node.name], node.type)
            case nodes.Literal():
                return self.literal(node.value, node.type)
            case nodes.Unary(op="neg"):
                return f"(-({self.expr(node.operand)}))"
            case nodes.Unary(op="not"):
                return f"(NOT {self.expr(node.operand)})"
            case nodes.Unary(op="is_null"):
                return f"({self.expr(node.operand)} IS NULL)"
            case nodes.Unary() if node.op in _CALLS:
                return f"{_CALLS[node.op]}({self.expr(node.operand)})"
            case nodes.Binary() if node.op in _INFIX:
                return f"({self.expr(node.left)} {_INFIX[node.op]} {self.expr(node.right)})"
            case nodes.Binary() if node.op in _CALLS:
                return f"{_CALLS[node.op]}({self.expr(node.left)}, {self.expr(node.right)})"
            case nodes.Binary() if node.op in nodes.IEEE_COMPARISONS:
                return self._ieee(node)
            case nodes.Cast():
                return f"CAST({self.expr(node.operand)} AS {type_sql(node.type)})"
            case nodes.Select():
                a, b, c = (self.expr(x) for x in (node.condition, node.yes, node.no))
                return f"(CASE WHEN {a} THEN {b} ELSE {c} END)"
            case nodes.Coalesce():
                return f"coalesce({', '.join(map(self.expr, node.operands))})"
            case nodes.Check():
                a, b = self.expr(node.condition), self.expr(node.value)
                return (
                    f"(CASE WHEN {a} THEN {b} ELSE CAST(error('m') AS {type_sql(node.type)}) END)"
                )
            case nodes.Lookup():
                return self._lookup(node)
            case _:
                raise NoSql(type(node).__name__)

    def _ieee(self, node: nodes.Binary) -> str:
        a, b = self.expr(node.left), self.expr(node.right)
        plain = f"({a} {_INFIX[node.op[1:]]} {b})"
        if not isinstance(node.left.type, Float):
            return plain
        other = "true" if node.op == "fne" else "false"
        return (
            f"(CASE WHEN {a} IS NULL OR {b} IS NULL THEN NULL "
            f"WHEN isnan({a}) OR isnan({b}) THEN {other} ELSE {plain} END)"
        )

    def _lookup(self, node: nodes.Lookup) -> str:
        index = self.expr(node.index)
        kind = node.index.type
        if node.table in self.tables:
            low, high = (0, 5) if isinstance(kind, Code) else limits(kind)
            entries = " ".join(
                f"WHEN {self.literal(node.base + k, kind)} THEN {self.literal(v, node.type)}"
                for k, v in enumerate(self.tables[node.table])
                if low <= node.base + k <= high
            )
            null = self.literal(None, node.type)
            return f"(CASE {index} {entries} ELSE {null} END)" if entries else null
        loop = next(x for x in self.whole.loops if x.into == node.table)
        rows = self.rows(loop)
        match loop.builder:
            case program.Bitmap(index=x, low=low, high=high):
                found = f"({index} IN (SELECT {self.expr(x)} {rows}))"
                bounds = f"{self.literal(low, kind)} AND {self.literal(high, kind)}"
                return f"(CASE WHEN {index} BETWEEN {bounds} THEN coalesce({found}, false) END)"
            case program.Scatter(index=x, value=value):
                inner = f"SELECT {self.expr(x)} AS at_, {self.expr(value)} AS value_ {rows}"
                return f"(SELECT value_ FROM ({inner}) AS s_ WHERE at_ = {index})"
            case _:
                raise NoSql(loop.into)

    def rows(self, loop: program.Loop) -> str:
        """Return FROM and WHERE of a loop."""
        where = "" if loop.where is None else f" WHERE {self.expr(loop.where)}"
        return f"FROM {loop.source}{where}"

    def query(self, loop: program.Loop) -> str:
        """Return the query that gives a loop's result, all values as they are stored.

        Raises:
            NoSql: SQL has none.
        """
        rows = self.rows(loop)
        match loop.builder:
            case program.Struct(fields=fields):
                return f"SELECT {', '.join(self.fold(f) for _, f in fields)} {rows}"
            case program.Group(keys=keys, fields=fields):
                shown = [shown_sql(self.expr(k.expr), k.expr.type) for k in keys]
                columns = ", ".join([*shown, *(self.fold(f) for _, f in fields)])
                by = ", ".join(str(k + 1) for k in range(len(keys)))
                return f"SELECT {columns} {rows} GROUP BY {by}"
            case program.Append(fields=fields):
                return f"SELECT {self.columns(fields)} {rows} ORDER BY i_"
            case program.TopK(limit=limit, order=order, fields=fields):
                by = "".join(
                    f"{self.expr(o.expr)} {'DESC' if o.descending else 'ASC'} "
                    f"NULLS {'FIRST' if o.nulls_first else 'LAST'}, "
                    for o in order
                )
                return f"SELECT {self.columns(fields)} {rows} ORDER BY {by}i_ LIMIT {limit}"
            case _:
                raise NoSql(type(loop.builder).__name__)

    def columns(self, fields: Sequence[tuple[str, Expr]]) -> str:
        """Return the expressions of rows."""
        return ", ".join(shown_sql(self.expr(x), x.type) for _, x in fields)

    def fold(self, fold: program.Fold) -> str:
        """Return an aggregate."""
        if fold.operand is None:
            return "count(*)"
        name = "any_value" if fold.op == "first" else fold.op
        return shown_sql(f"{name}({self.expr(fold.operand)})", fold.type)


def shown_sql(text: str, type_: Type) -> str:
    """Return SQL of a value as plain numbers and text: days of dates, microseconds of times."""
    match type_:
        case Date():
            return f"({text} - DATE '1970-01-01')"
        case Timestamp():
            return f"epoch_us({text})"
        case _:
            return text
