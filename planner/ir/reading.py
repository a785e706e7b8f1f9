"""Expressions of the loop language, read: lark's trees to typed nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.nodes import Expr
from foveal.planner.ir.trees import fail, integer_of, name_of, one, string_of, trees
from foveal.planner.ir.types import (
    BOOL,
    DATE,
    F32,
    F64,
    I64,
    TIMESTAMP,
    Code,
    Decimal,
    Float,
    Int,
    Type,
)

if TYPE_CHECKING:
    from foveal.planner.ir.trees import Node

_TYPES: dict[str, Type] = {
    "bool": BOOL, "f32": F32, "f64": F64, "date": DATE, "timestamp": TIMESTAMP,
    **{f"i{bits}": Int(bits) for bits in (8, 16, 32, 64, 128)},
    **{f"u{bits}": Int(bits, signed=False) for bits in (8, 16, 32, 64)},
}  # fmt: skip


class ExpressionReader:
    """One text: what its names stand for so far."""

    def __init__(self, text: str) -> None:
        """Begin with nothing known."""
        self.text = text
        self.plain: Callable[[str], Expr | None] = lambda name: None
        self.parameters: dict[str, Type] = {}
        self.variables: dict[str, Type] = {}
        self.lets: dict[str, Expr] = {}
        self.tables: dict[str, Type] = {}
        self.models: dict[str, program.Model] = {}
        self.messages: list[str] = []

    def fail(
        self, node: Node, message: str, hint: str | None = None, sqlstate: str = "42601"
    ) -> NoReturn:
        """Raise at a node."""
        start, end = (0, 0) if node.meta.empty else (node.meta.start_pos, node.meta.end_pos)
        fail(self.text, start, end, message, hint, sqlstate)

    def type(self, node: Node) -> Type:
        """Return a type."""
        word = str(node.children[0])
        rest: list[Any] = list(node.children[1:])
        if word in _TYPES and not rest:
            return _TYPES[word]
        if word == "code" and len(rest) == 1:
            return Code(name_of(rest[0]))
        if word == "decimal" and len(rest) == 2:
            precision, scale = int(rest[0]), int(rest[1])
            if 1 <= precision <= typing.MAX_DIGITS and scale <= precision:
                return Decimal(precision, scale)
        names = ", ".join(_TYPES)
        self.fail(node, f"no type {word}", f"types are {names}, decimal(p, s), code(dictionary)")

    # --- expressions ----------------------------------------------------------------------------

    def read_lets(self, node: Node) -> None:
        """Read the lets of a loop, a function or an iterate, in order."""
        for let in trees(node, "let"):
            name, value = trees(let)
            self.lets[name_of(name)] = self.expression(value)

    def typed(self, node: Node, build: Callable[[], Any]) -> Any:
        """Return what a constructor makes; its refusal is an error at the node."""
        try:
            return build()
        except typing.IrTypeError as error:
            hint = "operands are cast explicitly: x as f64; a number's type follows it: 2:i32"
            self.fail(node, str(error), hint, "42804")

    def parameter(self, name: str) -> Expr | None:
        """Return a scalar, or a function's parameter."""
        kind = self.parameters.get(name)
        return None if kind is None else nodes.Parameter(name, kind)

    def named(self, node: Node, found: Expr | None, what: str) -> Expr:
        """Return what a name stands for."""
        if found is None:
            self.fail(node, f"no {what} {name_of(trees(node)[0])}")
        return found

    def expression(self, node: Node) -> Expr:
        """Return an expression."""
        kind, parts = str(node.data), trees(node)
        match kind:
            case "number":
                return self.number(node, negative=False)
            case "true" | "false":
                return nodes.Literal(kind == "true", BOOL)
            case "null":
                return nodes.Literal(None, self.type(parts[0]))
            case "plain":
                return self.named(node, self.plain(name_of(parts[0])), "name")
            case "scalar_name":
                return self.named(node, self.parameter(name_of(parts[0])), "scalar")
            case "variable":
                name = name_of(parts[0])
                type_ = self.variables.get(name)
                found = None if type_ is None else nodes.Variable(name, type_)
                return self.named(node, found, "variable")
            case "shared":
                return self.named(node, self.lets.get(name_of(parts[0])), "let")
            case "cast":
                operand, to = self.expression(parts[0]), self.type(parts[1])
                return self.typed(node, lambda: typing.cast(operand, to))
            case "neg" if parts[0].data == "number":
                return self.number(parts[0], negative=True)
            case "not" | "neg":
                operand = self.expression(parts[0])
                return self.typed(node, lambda: typing.unary(kind, operand))
            case "call":
                return self.call(node)
            case "iterate":
                return self.iterate(node)
            case _:
                return self.binary(node, kind, *(self.expression(x) for x in parts))

    def number(self, node: Node, *, negative: bool) -> Expr:
        """Return a number: i64 or f64 if it has a point, unless its type follows."""
        text, written = str(node.children[0]), trees(node, "type")
        if text in ("nan", "inf") or not text.isdigit():
            value = {"nan": math.nan, "inf": math.inf}.get(text) or float(text)
            natural: Type = F64
        else:
            value, natural = int(text), I64
        type_ = self.type(written[0]) if written else natural
        signed = -value if negative else value
        return self.typed(node, lambda: typing.literal(signed, type_))

    def binary(self, node: Node, op: str, a: Expr, b: Expr) -> Expr:
        """Return a binary operator; a bare number takes the other side's type where it must."""
        try:
            return typing.binary(op, a, b)
        except typing.IrTypeError:
            bare = [_is_bare(x) for x in trees(node)]
            if len(bare) == 2 and bare[0] != bare[1] and isinstance(a.type, Int | Float | Decimal):
                number, kind = (a, b.type) if bare[0] else (b, a.type)
                if isinstance(number, nodes.Literal) and isinstance(kind, Int | Float):
                    value = number.value
                    fitted = self.typed(node, lambda: typing.literal(value, kind))
                    a, b = (fitted, b) if bare[0] else (a, fitted)
        return self.typed(node, lambda: typing.binary(op, a, b))

    def call(self, node: Node) -> Expr:
        """Return a call: an operator by name, or one of the special forms."""
        op, option = str(node.children[0]), one(node, "option")
        parts = [x for x in trees(node) if x.data != "option"]
        if op in ("lookup", "predict"):
            return self.of_named(node, op, parts, option)
        operands = [self.expression(x) for x in parts]
        match op, operands:
            case "check", [condition, value]:
                number = self.message(node, option)
                return self.typed(node, lambda: typing.check(condition, value, number))
            case "select", [condition, yes, no]:
                return self.typed(node, lambda: typing.select(condition, yes, no))
            case "coalesce", [_, *_]:
                return self.typed(node, lambda: typing.coalesce(*operands))
            case _, [x]:
                return self.typed(node, lambda: typing.unary(op, x))
            case _, [x, y]:
                return self.binary(node, op, x, y)
            case _:
                self.fail(node, f"no operator {op} of {len(operands)} operands")

    def of_named(self, node: Node, op: str, parts: list[Node], option: Node | None) -> Expr:
        """Return a lookup in a table or a model's prediction."""
        if not parts or parts[0].data != "plain":
            self.fail(node, f"{op} begins with a name")
        name, arguments = name_of(trees(parts[0])[0]), [self.expression(x) for x in parts[1:]]
        number = 0 if option is None else integer_of(trees(option)[0])
        if op == "predict":
            if name not in self.models:
                self.fail(parts[0], f"no model {name}")
            model = self.models[name]
            return self.typed(node, lambda: typing.predict(model, arguments, number))
        if name not in self.tables or len(arguments) != 1:
            self.fail(parts[0], f"no table {name}" if arguments else "lookup(table, index)")
        type_ = self.tables[name]
        return self.typed(node, lambda: typing.lookup_named(name, type_, arguments[0], number))

    def message(self, node: Node, option: Node | None) -> int:
        """Return the number of a check's message, which a function may give as text."""
        if option is None:
            self.fail(node, "a check without message", "check(condition, value; 'what is wrong')")
        found = trees(option)
        if found:
            return integer_of(found[0])
        text = string_of(option.children[0])
        if text not in self.messages:
            self.messages.append(text)
        return self.messages.index(text)

    def iterate(self, node: Node) -> Expr:
        """Return a loop within a row; its variables and lets end with it."""
        variables: list[nodes.Variable] = []
        initial: list[Expr] = []
        for state in trees(node, "state"):
            name, kind, start = trees(state)
            variables.append(nodes.Variable(name_of(name), self.type(kind)))
            initial.append(self.expression(start))
        outer, lets = self.variables, self.lets
        self.variables = {**outer, **{v.name: v.type for v in variables}}
        self.lets = dict(lets)
        self.read_lets(node)
        rest = [x for x in trees(node) if x.data not in ("state", "let")]
        condition, *steps, result = (self.expression(x) for x in rest)
        self.variables, self.lets = outer, lets
        return self.typed(
            node, lambda: typing.iterate(variables, initial, condition, steps, result)
        )


def _is_bare(node: Node) -> bool:
    """Say whether a node is a number without a type."""
    if node.data == "neg":
        return _is_bare(trees(node)[0])
    return node.data == "number" and not trees(node)
