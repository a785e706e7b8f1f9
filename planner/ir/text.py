"""The written form of programs and functions: canonical, and read back by `parse_program`.

Columns are plain names, scalars `$name`, loop variables `#name`; in functions plain names are the
parameters. A number is i64 or f64 unless its type follows (`5:i32`, `8766:date`: the stored
integer). What is used more than once in a loop is written once, as `let @t1 = ..`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from foveal.planner.ir import nodes, program
from foveal.planner.ir.function import IrFunction
from foveal.planner.ir.nodes import Expr, children
from foveal.planner.ir.program_reading import parse_function, parse_program
from foveal.planner.ir.types import F64, I64, Code, Type, physical

__all__ = ["function_text", "parse_function", "parse_program", "program_text", "quoted"]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# fmt: off
_KEYWORDS = frozenset({
    "pipeline", "return", "source", "in", "null", "not", "as", "scalar", "table", "model",
    "message", "raising", "loop", "over", "by", "where", "let", "struct", "group", "append",
    "bitmap", "scatter", "top", "desc", "nulls", "first", "or", "and", "true", "false", "nan",
    "inf", "iterate", "while", "next", "give",
})
# fmt: on
_INFIX: dict[str, tuple[str, int]] = {
    "or": ("or", 1),
    "and": ("and", 2),
    "eq": ("==", 4),
    "ne": ("!=", 4),
    "lt": ("<", 4),
    "le": ("<=", 4),
    "gt": (">", 4),
    "ge": (">=", 4),
    "bitor": ("|", 5),
    "bitand": ("&", 6),
    "shl": ("<<", 7),
    "shr": (">>", 7),
    "add": ("+", 8),
    "sub": ("-", 8),
    "mul": ("*", 9),
    "div": ("/", 9),
    "idiv": ("//", 9),
    "mod": ("%", 9),
}  # fmt: skip
_NOT, _COMPARED, _SIGNED, _CAST, _WHOLE = 3, 4, 10, 11, 12


def quoted(name: str) -> str:
    """Return a name as it is written: quoted if it is no plain identifier."""
    if _PLAIN.fullmatch(name) and name not in _KEYWORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


def _string(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _type(type_: Type) -> str:
    return f"code({quoted(type_.dictionary)})" if isinstance(type_, Code) else str(type_)


class _Free(dict[Expr, frozenset[str]]):
    """The variables that nodes use and do not bind, each found once."""

    def __missing__(self, node: Expr) -> frozenset[str]:
        none = frozenset[str]()
        if isinstance(node, nodes.Variable):
            found = frozenset((node.name,))
        elif isinstance(node, nodes.Iterate):
            body = none.union(*(self[x] for x in _body(node)))
            found = none.union(*(self[x] for x in node.initial))
            found |= body - {v.name for v in node.variables}
        else:
            found = none.union(*(self[x] for x in children(node)))
        self[node] = found
        return found


def _body(node: nodes.Iterate) -> tuple[Expr, ...]:
    return (node.condition, *node.step, node.result)


class _Scope:
    """Where expressions are written: what has been given a name, and the names still free."""

    def __init__(
        self, given: Mapping[Expr, str], first: int, plain_parameters: bool, free: _Free
    ) -> None:
        self.given = dict(given)
        self.free = free
        self.next = first
        self.plain_parameters = plain_parameters

    def lets(self, roots: Iterable[Expr], bound: frozenset[str] | None = None) -> list[str]:
        """Name what the roots share, and return the lines.

        `bound`: the variables bound here; what uses none of them belongs to a scope outside.
        """
        counts: dict[Expr, int] = {}
        order: list[Expr] = []
        passed: set[tuple[Expr, frozenset[str]]] = set()

        def count(node: Expr, hidden: frozenset[str]) -> None:
            if node in self.given or not children(node):
                return
            free = self.free[node]
            here = not (free & hidden) and (bound is None or bool(free & bound))
            if here:
                counts[node] = counts.get(node, 0) + 1
                if counts[node] > 1:
                    return
            elif (node, hidden) in passed:
                return
            else:
                passed.add((node, hidden))
            if isinstance(node, nodes.Iterate):
                for child in node.initial:
                    count(child, hidden)
                inner = hidden | {v.name for v in node.variables}
                for child in _body(node):
                    count(child, inner)
            else:
                for child in children(node):
                    count(child, hidden)
            if here:
                order.append(node)

        for root in roots:
            count(root, frozenset())
        lines: list[str] = []
        for node in order:
            if counts[node] > 1:
                name = f"t{self.next}"
                self.next += 1
                lines.append(f"let @{name} = {self.written(node)};")
                self.given[node] = f"@{name}"
        return lines

    def written(self, node: Expr, level: int = 0) -> str:
        """Return an expression, in parentheses if it binds less than `level`."""
        if node in self.given:
            return self.given[node]
        text, binds = self.parts(node)
        return f"({text})" if binds < level else text

    def parts(self, node: Expr) -> tuple[str, int]:
        """Return an expression's text and how tightly it binds."""
        match node:
            case nodes.Column():
                return quoted(node.name), _WHOLE
            case nodes.Parameter():
                sigil = "" if self.plain_parameters else "$"
                return sigil + quoted(node.name), _WHOLE
            case nodes.Variable():
                return "#" + quoted(node.name), _WHOLE
            case nodes.Literal():
                text = _literal(node)
                return text, _SIGNED if text.startswith("-") else _WHOLE
            case nodes.Unary(op="not"):
                return f"not {self.written(node.operand, _NOT)}", _NOT
            case nodes.Unary(op="neg") if not _starts_with_number(node.operand):
                return f"-{self.written(node.operand, _CAST)}", _SIGNED
            case nodes.Unary():
                return self.call(node.op, [node.operand]), _WHOLE
            case nodes.Binary(op=op) if op in _INFIX:
                sign, binds = _INFIX[op]
                left = binds + 1 if binds == _COMPARED else binds
                a, b = self.written(node.left, left), self.written(node.right, binds + 1)
                return f"{a} {sign} {b}", binds
            case nodes.Binary():
                return self.call(node.op, [node.left, node.right]), _WHOLE
            case nodes.Cast():
                return f"{self.written(node.operand, _CAST)} as {_type(node.type)}", _CAST
            case nodes.Select():
                return self.call("select", [node.condition, node.yes, node.no]), _WHOLE
            case nodes.Coalesce():
                return self.call("coalesce", node.operands), _WHOLE
            case nodes.Lookup():
                base = f"; {node.base}" if node.base else ""
                return f"lookup({quoted(node.table)}, {self.written(node.index)}{base})", _WHOLE
            case nodes.Check():
                a, b = self.written(node.condition), self.written(node.value)
                return f"check({a}, {b}; {node.message})", _WHOLE
            case nodes.Predict():
                arguments = "".join(f", {self.written(x)}" for x in node.arguments)
                output = f"; {node.output}" if node.output else ""
                return f"predict({quoted(node.model)}{arguments}{output})", _WHOLE
            case nodes.Iterate():
                return self.iterate(node), _WHOLE

    def call(self, name: str, operands: Sequence[Expr]) -> str:
        """Return a call."""
        return f"{name}({', '.join(self.written(x) for x in operands)})"

    def iterate(self, node: nodes.Iterate) -> str:
        """Return a loop within a row, with names of its own for what its body shares."""
        states = ", ".join(
            f"#{quoted(v.name)}: {_type(v.type)} = {self.written(x)}"
            for v, x in zip(node.variables, node.initial, strict=True)
        )
        bound = frozenset(v.name for v in node.variables)
        given = {x: name for x, name in self.given.items() if not self.free[x] & bound}
        inner = _Scope(given, self.next, self.plain_parameters, self.free)
        lets = "".join(f"{line} " for line in inner.lets(_body(node), bound))
        steps = ", ".join(inner.written(x) for x in node.step)
        return (
            f"iterate {{ {states}; {lets}while {inner.written(node.condition)}; "
            f"next {steps}; give {inner.written(node.result)} }}"
        )


def _starts_with_number(node: Expr) -> bool:
    """Say whether `-` before a node's text would be taken for the number's sign."""
    return isinstance(node, nodes.Literal) and not isinstance(node.value, bool | None)


def _literal(node: nodes.Literal) -> str:
    """Return a constant; its type is left out where it is i64, f64 or bool."""
    value = node.value
    if value is None:
        return f"null:{_type(node.type)}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = ("-inf" if value < 0 else "inf") if math.isinf(value) else repr(value)
        return text if node.type == F64 else f"{text}:{_type(node.type)}"
    return str(value) if node.type == I64 else f"{value}:{_type(node.type)}"


def _range(low: int | None, high: int | None) -> str:
    if low is None and high is None:
        return ""
    return f" in {'' if low is None else low}..{'' if high is None else high}"


def _nulls(nullable: bool) -> str:
    return " null" if nullable else " not null"


def function_text(function: IrFunction) -> str:
    """Return a function's written form, without its name."""
    parameters = ", ".join(f"{quoted(n)}: {_type(t)}" for n, t in function.parameters)
    raising = ""
    if function.messages:
        raising = f" raising ({', '.join(_string(m) for m in function.messages)})"
    scope = _Scope({}, 1, plain_parameters=True, free=_Free())
    lets = "".join(f"{line} " for line in scope.lets([function.body]))
    body = scope.written(function.body)
    return f"({parameters}) -> {_type(function.returns)}{raising} = {lets}{body}"


def program_text(whole: program.Program) -> str:
    """Return a program's written form: the same text for equal programs."""
    lines = [f"pipeline {quoted(whole.name)} {{"]
    for source in whole.sources:
        lines.append(f"  source {quoted(source.name)}(")
        lines += [f"    {_column(c)}," for c in source.columns]
        lines.append("  )")
    for s in whole.scalars:
        bounds = _range(s.low, s.high) + _nulls(s.nullable)
        lines.append(f"  scalar {quoted(s.name)}: {_type(s.type)}{bounds}")
    for t in whole.tables:
        size = "" if t.size is None else t.size
        bounds = _range(t.low, t.high) + _nulls(t.nullable)
        lines.append(f"  table {quoted(t.name)}: {_type(t.type)}[{size}]{bounds}")
    for m in whole.models:
        features, outputs = (", ".join(map(_type, x)) for x in (m.features, m.outputs))
        lines.append(f"  model {quoted(m.name)}: {quoted(m.kind)}({features}) -> ({outputs})")
    lines += [f"  message {_string(text)}" for text in whole.messages]
    for loop in whole.loops:
        lines += _loop(loop)
    for part in whole.parts:
        columns = ", ".join(f"{quoted(own)} = {quoted(c)}" for own, c in part.columns)
        lines.append(f"  part {quoted(part.name)} of {quoted(part.loop)} ({columns})")
    lines.append(f"  return {', '.join(map(quoted, whole.results))}".rstrip())
    return "\n".join([*lines, "}", ""])


def _column(column: program.Column) -> str:
    stored = "" if column.storage == physical(column.type) else f" as {column.storage}"
    bounds = _range(column.low, column.high) + _nulls(column.nullable)
    return f"{quoted(column.name)}: {_type(column.type)}{stored}{bounds}"


def _loop(loop: program.Loop) -> list[str]:
    """Return a loop's lines."""
    how = f" by {loop.how}" if loop.how else ""
    scope = _Scope({}, 1, plain_parameters=False, free=_Free())
    roots = [*([] if loop.where is None else [loop.where]), *expressions(loop.builder)]
    body = scope.lets(roots)
    if loop.where is not None:
        body.append(f"where {scope.written(loop.where)}")
    body += _builder(loop.builder, scope)
    head = f"  loop {quoted(loop.into)} over {quoted(loop.source)}{how} {{"
    return [head, *(f"    {line}" for line in body), "  }"]


def expressions(builder: program.Builder) -> tuple[Expr, ...]:
    """Return a builder's expressions, in the order in which it is written."""
    match builder:
        case program.Struct(fields=fields):
            return tuple(f.operand for _, f in fields if f.operand is not None)
        case program.Group(keys=keys, fields=fields):
            operands = tuple(f.operand for _, f in fields if f.operand is not None)
            return (*(k.expr for k in keys), *operands)
        case program.Append(fields=fields):
            return tuple(x for _, x in fields)
        case program.Bitmap(index=index):
            return (index,)
        case program.Scatter(index=index, value=value):
            return (index, value)
        case program.TopK(order=order, fields=fields):
            return (*(o.expr for o in order), *(x for _, x in fields))


def _builder(builder: program.Builder, scope: _Scope) -> list[str]:
    """Return a builder's lines."""
    match builder:
        case program.Struct(fields=fields):
            return _braced("struct", [_fold(n, f, scope) for n, f in fields])
        case program.Group(keys=keys, fields=fields, strategy=strategy):
            chosen = f" {strategy}" if strategy else ""
            by = ", ".join(
                f"{quoted(k.name)}: {scope.written(k.expr)}"
                f"{_range(k.low, k.high)}{_nulls(k.nullable)}"
                for k in keys
            )
            return _braced(f"group{chosen} by ({by})", [_fold(n, f, scope) for n, f in fields])
        case program.Append(fields=fields):
            return _braced("append", [f"{quoted(n)} = {scope.written(x)}" for n, x in fields])
        case program.Bitmap(index=index, low=low, high=high):
            return [f"bitmap {scope.written(index)} in {low}..{high}"]
        case program.Scatter(index=index, value=value, low=low, high=high):
            return [f"scatter {scope.written(index)} in {low}..{high} = {scope.written(value)}"]
        case program.TopK(limit=limit, order=order, fields=fields):
            by = ", ".join(
                scope.written(o.expr)
                + (" desc" if o.descending else "")
                + (" nulls first" if o.nulls_first else "")
                for o in order
            )
            lines = [f"{quoted(n)} = {scope.written(x)}" for n, x in fields]
            return _braced(f"top {limit} by ({by})", lines)


def _fold(name: str, fold: program.Fold, scope: _Scope) -> str:
    operand = "" if fold.operand is None else scope.written(fold.operand)
    return f"{quoted(name)} = {fold.op}({operand})"


def _braced(head: str, lines: Sequence[str]) -> list[str]:
    """Return a head and its lines, separated by commas."""
    return [f"{head} {{", *(f"  {x}{',' * (i < len(lines) - 1)}" for i, x in enumerate(lines)), "}"]
