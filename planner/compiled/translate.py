"""Expressions as written → expressions of the loop language, typed as DuckDB types them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from foveal.planner.compiled import constants, functions
from foveal.planner.compiled.constants import DAY, Interval, Loose, Null, Text, Whole
from foveal.planner.compiled.dictionary import Dictionaries
from foveal.planner.compiled.refusal import NotCompilable
from foveal.planner.compiled.syntax import Syntax
from foveal.planner.ir import typing
from foveal.planner.ir.function import IrFunction
from foveal.planner.ir.function import apply as inline
from foveal.planner.ir.nodes import FALSE, TRUE, Cast, Expr, Literal
from foveal.planner.ir.types import (
    BOOL,
    DATE,
    F64,
    I64,
    TIMESTAMP,
    Code,
    Date,
    Decimal,
    Int,
    Timestamp,
    Type,
    limits,
)
from foveal.planner.ir.typing import IrTypeError

Value: TypeAlias = Expr | Loose
Resolve: TypeAlias = Callable[[Syntax], "Expr | Syntax"]
"""A name to its column, or to the expression that it is an alias of.

Raises NotCompilable where it is neither.
"""
Subquery: TypeAlias = Callable[[Syntax, "Syntax | None"], Expr]
"""EXISTS (the query, None) or IN (the query, the operand) to a condition of the outer row."""

_OPERATORS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "//": "idiv", "%": "mod", "^": "pow",
              "=": "eq", "<>": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}  # fmt: skip
COMPARES = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})
_LOOSE = (Whole, Text, Null, Interval)


class Translator:
    """Translates the expressions of one block."""

    def __init__(
        self,
        resolve: Resolve,
        parameters: Mapping[str, object],
        dictionaries: Dictionaries,
        subquery: Subquery | None = None,
        hidden: frozenset[str] = frozenset(),
        inlined: Mapping[str, IrFunction] | None = None,
    ) -> None:
        """Take what names mean, the parameters' values, and where dictionary tables are made.

        `hidden`: folded names of the user's own functions and macros, which win over DuckDB's.
        `inlined`: those among them whose bodies are put in the place of calls.
        """
        self.resolve = resolve
        self.parameters = parameters
        self.dictionaries = dictionaries
        self.subquery = subquery
        self.hidden = hidden
        self.inlined = inlined or {}
        self.typed: dict[Syntax, Type] = {}
        self._depth = 0

    def value(self, node: Syntax) -> Expr:
        """Return an expression with a type of its own.

        Raises:
            NotCompilable: no program computes it.
        """
        found = self.any(node)
        return constants.settled(found, None, node) if isinstance(found, _LOOSE) else found

    def condition(self, node: Syntax) -> Expr:
        """Return a condition. Raises as `value`."""
        found = self.any(node)
        if isinstance(found, Null):
            return Literal(None, BOOL)
        if isinstance(found, _LOOSE) or found.type != BOOL:
            raise NotCompilable("a condition that is no BOOLEAN", node.span)
        return found

    def any(self, node: Syntax) -> Value:
        """Return an expression or loose constant. Raises as `value`."""
        table = self.dictionaries.lookup(node, self._dictionary_column)
        if table is not None:
            return table
        self._depth += 1
        if self._depth > 200:
            raise NotCompilable("an expression that nests too deeply", node.span)
        try:
            found = self._any(node)
            if node.kind in ("op", "call", "case", "cast") and not isinstance(found, _LOOSE):
                self.typed[node] = found.type
            return found
        except IrTypeError as error:
            raise NotCompilable(str(error), node.span) from None
        finally:
            self._depth -= 1

    def _any(self, node: Syntax) -> Value:
        match node.kind:
            case "number":
                return constants.number(node.text)
            case "string":
                return Text(node.text)
            case "null":
                return Null()
            case "true" | "false":
                return TRUE if node.kind == "true" else FALSE
            case "param":
                if node.text not in self.parameters:
                    raise NotCompilable("a parameter without a value", node.span)
                return constants.bound(self.parameters[node.text], node)
            case "interval":
                return constants.interval(node)
            case "name":
                return self._name(node)
            case "op":
                return self._operator(node)
            case "between":
                return self._between(node)
            case "in":
                return self._in(node)
            case "is":
                return self._is(node)
            case "case":
                return self._case(node)
            case "cast" | "try_cast":
                return self._cast(node)
            case "call":
                return self._call(node)
            case "exists" if self.subquery is not None:
                return self.subquery(node.parts[0], None)
            case _:
                raise NotCompilable("a sub-query here", node.span)

    def _name(self, node: Syntax) -> Value:
        found = self.resolve(node)
        return self.any(found) if isinstance(found, Syntax) else found

    def _dictionary_column(self, node: Syntax) -> Expr | None:
        """Return the column that a name is, where its type is a code."""
        try:
            found = self.resolve(node)
        except NotCompilable:
            return None
        if isinstance(found, Syntax) or not isinstance(found.type, Code):
            return None
        return found

    # --- operators ---------------------------------------------------------------------------

    def pair(self, a: Value, b: Value, node: Syntax) -> tuple[Expr, Expr]:
        """Return two operands, loose ones typed by the other."""
        if isinstance(a, _LOOSE) and isinstance(b, _LOOSE):
            a = constants.settled(a, None, node)
        if isinstance(a, _LOOSE):
            assert not isinstance(b, _LOOSE)
            return constants.settled(a, b.type, node), b
        if isinstance(b, _LOOSE):
            return a, constants.settled(b, a.type, node)
        return a, b

    def _operator(self, node: Syntax) -> Value:
        if node.text == "not":
            return typing.unary("not", self.condition(node.parts[0]))
        if node.text in ("and", "or"):
            left, right = (self.condition(part) for part in node.parts)
            return typing.binary(node.text, left, right)
        if node.text == "neg":
            return self._negative(node)
        op = _OPERATORS.get(node.text)
        if op is None:
            raise NotCompilable(f'the operator "{node.text}"', node.span)
        left, right = (self.any(part) for part in node.parts)
        return self.binary(op, left, right, node)

    def _negative(self, node: Syntax) -> Value:
        operand = self.any(node.parts[0])
        if isinstance(operand, Whole):
            return Whole(-operand.value)
        if isinstance(operand, _LOOSE):
            raise NotCompilable("minus of this", node.span)
        return typing.unary("neg", operand)

    def binary(self, op: str, a: Value, b: Value, node: Syntax) -> Expr:
        """Return an operator's value, its operands cast as DuckDB casts them."""
        moved = self._moved(op, a, b, node)
        if moved is not None:
            return moved
        left, right = self.pair(a, b, node)
        if op in COMPARES:
            return self.compare(op, left, right, node)
        if op == "idiv" and not (isinstance(left.type, Int) and isinstance(right.type, Int)):
            raise NotCompilable("// of numbers other than integers", node.span)
        if isinstance(left.type, Code) or isinstance(right.type, Code):
            raise NotCompilable(f'"{node.text}" of strings', node.span)
        return typing.arithmetic(op, left, right)

    def _moved(self, op: str, a: Value, b: Value, node: Syntax) -> Expr | None:
        """Return a date or timestamp moved by an interval, or None."""
        if not isinstance(a, Interval) and not isinstance(b, Interval):
            return None
        by, point = (a, b) if isinstance(a, Interval) else (b, a)
        assert isinstance(by, Interval)
        if isinstance(point, _LOOSE) or op not in ("add", "sub") or (op == "sub" and by is a):
            raise NotCompilable("an interval here", node.span)
        if not isinstance(point.type, Date | Timestamp):
            raise NotCompilable("an interval here", node.span)
        sign = 1 if op == "add" else -1
        if isinstance(point, Literal) and point.value is not None:
            return constants.shifted(point, by, sign, node)
        if by.months:
            raise NotCompilable("months added to a column", node.span)
        micros = Literal(by.days * DAY + by.micros, I64)
        return typing.binary(op, typing.cast(point, TIMESTAMP), micros)

    def compare(self, op: str, a: Expr, b: Expr, node: Syntax) -> Expr:
        """Return a comparison. A date meets a constant timestamp as a date."""
        if isinstance(a.type, Code) or isinstance(b.type, Code):
            raise NotCompilable("a comparison of strings that are not of one column", node.span)
        if isinstance(a, Literal) and not isinstance(b, Literal):
            flip = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}
            return self.compare(flip.get(op, op), b, a, node)
        if a.type == DATE and b.type == TIMESTAMP and isinstance(b, Literal):
            day = _as_date(op, b)
            if day is not None:
                return typing.binary(op, a, day)
        kind = typing.common_type(a.type, b.type)
        return typing.binary(op, typing.cast(a, kind), _constant(typing.cast(b, kind)))

    def _between(self, node: Syntax) -> Expr:
        operand, low, high = (self.any(part) for part in node.parts)
        # DuckDB casts all three to one type.
        kind = self._kind([operand, low, high], node)
        x, a, b = (self._as(v, kind, node) for v in (operand, low, high))
        found = typing.both(self.compare("ge", x, a, node), self.compare("le", x, b, node))
        return typing.unary("not", found) if node.text == "not" else found

    def _in(self, node: Syntax) -> Expr:
        if node.parts[1].kind == "query":
            if self.subquery is None or node.text == "not":
                raise NotCompilable("NOT IN of a sub-query" if node.text else "a sub-query here",
                                    node.span)  # fmt: skip
            return self.subquery(node.parts[1], node.parts[0])
        values = [self.any(part) for part in node.parts]
        kind = self._kind(values, node)
        x, *items = (self._as(v, kind, node) for v in values)
        found: Expr = self.compare("eq", x, items[0], node)
        for item in items[1:]:
            found = typing.binary("or", found, self.compare("eq", x, item, node))
        return typing.unary("not", found) if node.text == "not" else found

    def _is(self, node: Syntax) -> Expr:
        if node.text == "distinct":
            left, right = (self.any(part) for part in node.parts)
            a, b = self.pair(left, right, node)
            differ = typing.coalesce(self.compare("ne", a, b, node), TRUE)
            nulls = [typing.unary("is_null", x) for x in (a, b)]
            either = typing.binary("ne", *nulls)
            neither = typing.unary("not", nulls[0])
            return typing.binary("or", either, typing.binary("and", neither, differ))
        if node.text == "null":
            operand = self.any(node.parts[0])
            if isinstance(operand, _LOOSE):
                return TRUE if isinstance(operand, Null) else FALSE
            return typing.unary("is_null", operand)
        operand = self.condition(node.parts[0])
        if node.text == "true":
            return typing.coalesce(operand, FALSE)
        return typing.coalesce(typing.unary("not", operand), FALSE)

    # --- types of several values -------------------------------------------------------------

    def _kind(self, values: list[Value], node: Syntax) -> Type:
        """Return the type that CASE, COALESCE, IN and the like cast all their values to."""
        kind: Type | None = None
        for value in values:
            if not isinstance(value, _LOOSE):
                kind = value.type if kind is None else typing.common_type(kind, value.type)
        for value in values:
            if isinstance(value, Whole):
                own = constants.settled(value, kind, node).type
                kind = own if kind is None else typing.common_type(kind, own)
        if kind is None or isinstance(kind, Code):
            raise NotCompilable("values of this type here", node.span)
        return kind

    def _as(self, value: Value, kind: Type, node: Syntax) -> Expr:
        if isinstance(value, _LOOSE):
            value = constants.settled(value, kind, node)
        return _constant(typing.cast(value, kind))

    def _case(self, node: Syntax) -> Expr:
        operand, *arms = node.parts
        results = [self.any(arm) for arm in (*arms[1:-1:2], arms[-1])]
        kind = self._kind(results, node)
        values = [self._as(v, kind, node) for v in results]
        found = values[-1]
        subject = self.any(operand) if node.text else None
        for i in range(len(values) - 2, -1, -1):
            when = arms[2 * i]
            if subject is None:
                test = self.condition(when)
            else:
                written = Syntax("op", "=", (operand, when), span=when.span)
                looked = self.dictionaries.lookup(written, self._dictionary_column)
                test = looked or self.binary("eq", subject, self.any(when), when)
            found = typing.select(test, values[i], found)
        return found

    # --- casts and calls ---------------------------------------------------------------------

    def _cast(self, node: Syntax) -> Value:
        kind = functions.type_named(node.text)
        if kind is None:
            raise NotCompilable(f"a cast to {node.text}", node.span)
        operand = self.any(node.parts[0])
        if isinstance(operand, _LOOSE):
            operand = constants.settled(operand, kind, node)
        if node.kind == "try_cast" and operand.type != kind:
            raise NotCompilable("TRY_CAST", node.span)
        return _constant(typing.cast(operand, kind))

    def _call(self, node: Syntax) -> Value:
        if node.text in self.inlined and not node.distinct and node.filter is None:
            return self._user_function(self.inlined[node.text], node)
        if node.text in self.hidden:
            raise NotCompilable(f"{node.text}() is the user's own", node.span)
        if node.distinct or node.filter is not None:
            raise NotCompilable("an aggregate here", node.span)
        arguments = node.parts
        if node.text in ("coalesce", "ifnull") and arguments:
            values = [self.any(part) for part in arguments]
            kind = self._kind(values, node)
            return typing.coalesce(*(self._as(v, kind, node) for v in values))
        if node.text in ("least", "greatest") and len(arguments) > 1:
            values = [self.any(part) for part in arguments]
            kind = self._kind(values, node)
            found, *rest = (self._as(v, kind, node) for v in values)
            for value in rest:
                found = typing.binary(node.text, found, value)
            return found
        if node.text == "nullif" and len(arguments) == 2:
            value = self.value(arguments[0])
            same = self.binary("eq", value, self.any(arguments[1]), node)
            return typing.select(same, Literal(None, value.type), value)
        if node.text in ("if", "iif") and len(arguments) == 3:
            return self._case(Syntax("case", "", (Syntax("null"), *arguments), span=node.span))
        if node.text in functions.OPERATOR_NAMES and len(arguments) == 2:
            left, right = (self.any(part) for part in arguments)
            return self.binary(functions.OPERATOR_NAMES[node.text], left, right, node)
        if node.text in ("date_part", "datepart") and len(arguments) == 2:
            part, operand = arguments
            name = functions.PART_NAMES.get(part.text.lower()) if part.kind == "string" else None
            if name is None:
                raise NotCompilable("this part of a date", part.span)
            return self._part(name, operand, node)
        if node.text in functions.PART_NAMES and len(arguments) == 1:
            return self._part(functions.PART_NAMES[node.text], arguments[0], node)
        return self._function(node)

    def _user_function(self, function: IrFunction, node: Syntax) -> Expr:
        """Return a function's body over the arguments, cast as DuckDB casts them for a call."""
        if len(node.parts) != len(function.parameters):
            raise NotCompilable(f"{node.text}() of {len(node.parts)} arguments", node.span)
        values = [self.any(part) for part in node.parts]
        arguments = [
            self._as(value, kind, node)
            for value, (_, kind) in zip(values, function.parameters, strict=True)
        ]
        self.dictionaries.beside += [(argument, node.span) for argument in arguments]
        messages = self.dictionaries.messages
        body = inline(function, arguments, len(messages))
        messages += function.messages
        return body

    def _part(self, name: str, operand: Syntax, node: Syntax) -> Expr:
        found = self.value(operand)
        if not isinstance(found.type, Date | Timestamp):
            raise NotCompilable("a part of this type", node.span)
        return typing.unary(name, found)

    def _function(self, node: Syntax) -> Expr:
        op = functions.UNARY.get(node.text)
        if op is None or len(node.parts) != 1:
            raise NotCompilable(f"{node.text}()", node.span)
        operand = self.value(node.parts[0])
        if isinstance(operand.type, Code):
            raise NotCompilable(f"{node.text}() of a string", node.span)
        takes = functions.takes(node.text, operand.type)
        if takes is None:
            raise NotCompilable(f"{node.text}() of {operand.type}", node.span)
        return typing.unary(op, typing.cast(operand, takes))


def _as_date(op: str, bound: Literal) -> Literal | None:
    """Return the date that says the same of dates as a timestamp, or None: none does."""
    assert isinstance(bound.value, int)
    days, rest = divmod(bound.value, DAY)
    if rest and op in ("eq", "ne"):
        return None
    days += bool(rest) and op in ("lt", "ge")
    return Literal(days, DATE)


def _constant(expr: Expr) -> Expr:
    """Return a cast of a constant as the constant, where no rounding or error can come in."""
    if not isinstance(expr, Cast) or not isinstance(expr.operand, Literal):
        return expr
    value, of, to = expr.operand.value, expr.operand.type, expr.type
    if not isinstance(value, int) or isinstance(value, bool):
        return expr
    if isinstance(of, Int | Decimal) and isinstance(to, Int | Decimal):
        before = of.scale if isinstance(of, Decimal) else 0
        after = to.scale if isinstance(to, Decimal) else 0
        low, high = limits(to)
        if after >= before and low <= value * 10 ** (after - before) <= high:
            return Literal(value * 10 ** (after - before), to)
    if isinstance(of, Date) and isinstance(to, Timestamp):
        return Literal(value * DAY, to)
    if isinstance(of, Int) and to == F64 and abs(value) < 2**53:
        return Literal(float(value), to)
    return expr
