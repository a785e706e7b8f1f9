"""Programs and functions of the loop language, read from their written form."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.function import IrFunction
from foveal.planner.ir.nodes import Expr
from foveal.planner.ir.reading import ExpressionReader
from foveal.planner.ir.trees import integer_of, leaf, name_of, one, string_of, tree, trees
from foveal.planner.ir.types import (
    BOOL,
    Bool,
    Float,
    Int,
    physical,
)

if TYPE_CHECKING:
    from foveal.planner.ir.trees import Node

_FORM = "a function is written (x: f64, y: f64) -> f64 = x * x + y"


def parse_program(text: str) -> program.Program:
    """Return the program that a text says; it is not verified.

    Raises:
        ProgrammingError: 42601 where the text does not fit the grammar or names nothing, 42804
            where types do not agree; with the place as line and column, and as span.
    """
    return _Reader(text).program(tree("program", text, "see the grammar of the loop language"))


def parse_function(text: str, name: str = "") -> IrFunction:
    """Return the function that a text says.

    Raises:
        ProgrammingError: as `parse_program`.
    """
    return _Reader(text).function(tree("function", text, _FORM), name)


class _Reader(ExpressionReader):
    """Declarations, loops and builders."""

    def bounds(self, node: Node) -> tuple[int | None, int | None]:
        """Return a declaration's range."""
        found = one(node, "range")
        if found is None:
            return None, None
        ends = [one(found, "low"), one(found, "high")]
        low, high = (None if end is None else integer_of(trees(end)[0]) for end in ends)
        return low, high

    def nullable(self, node: Node, default: bool) -> bool:
        """Return whether a declaration says `null`."""
        if one(node, "not_nullable"):
            return False
        return default or one(node, "nullable") is not None

    def program(self, node: Node) -> program.Program:
        """Return a program."""
        name, *parts = trees(node)
        sources: list[program.Source] = []
        scalars: list[program.Scalar] = []
        tables: list[program.Table] = []
        loops: list[program.Loop] = []
        shares: list[program.Part] = []
        results: tuple[str, ...] = ()
        for part in parts:
            names = [name_of(x) for x in trees(part, "name")]
            if part.data == "returned":
                results = tuple(names)
            elif part.data == "message":
                self.messages.append(string_of(part.children[0]))
            elif part.data == "source":
                columns = tuple(self.column(c) for c in trees(part, "column"))
                sources.append(program.Source(names[0], columns))
            elif part.data == "loop":
                loops.append(self.loop(part, sources, loops))
            elif part.data == "part":
                pairs = [[name_of(x) for x in trees(p, "name")] for p in trees(part, "pair")]
                shares.append(program.Part(names[0], names[1], tuple((own, c) for own, c in pairs)))
            elif part.data == "model":
                features, outputs = (
                    tuple(self.type(t) for t in trees(x)) for x in trees(part, "types")
                )
                self.models[names[0]] = program.Model(names[0], names[1], features, outputs)
            else:
                kind = self.type(trees(part, "type")[0])
                nullable = self.nullable(part, default=part.data == "table")
                low, high = self.bounds(part)
                if part.data == "scalar":
                    scalars.append(program.Scalar(names[0], kind, nullable, low, high))
                    self.parameters[names[0]] = kind
                else:
                    size = one(part, "size")
                    entries = None if size is None else int(leaf(size))
                    tables.append(program.Table(names[0], kind, entries, nullable, low, high))
                    self.tables[names[0]] = kind
        return program.Program(
            name_of(name),
            tuple(sources),
            tuple(loops),
            results,
            tuple(scalars),
            tuple(tables),
            tuple(self.models.values()),
            tuple(self.messages),
            tuple(shares),
        )

    def column(self, node: Node) -> program.Column:
        """Return a column's declaration."""
        kind = self.type(trees(node, "type")[0])
        stored = one(node, "storage")
        storage = physical(kind) if stored is None else self.type(trees(stored)[0])
        if not isinstance(storage, Bool | Int | Float):
            self.fail(node, f"{storage} is no machine type")
        low, high = self.bounds(node)
        nullable = self.nullable(node, default=True)
        return program.Column(name_of(trees(node)[0]), kind, storage, nullable, low, high)

    def function(self, node: Node, name: str) -> IrFunction:
        """Return a function: plain names are its parameters."""
        raising = one(node, "raising")
        if raising is not None:
            self.messages = [string_of(x) for x in raising.children]
        for parameter in trees(node, "parameter"):
            own, kind = trees(parameter)
            if name_of(own) in self.parameters:
                self.fail(own, f"parameter {name_of(own)} comes twice")
            self.parameters[name_of(own)] = self.type(kind)
        self.plain = self.parameter
        self.read_lets(node)
        body = self.expression(trees(node)[-1])
        returns = self.type(trees(node, "type")[0])
        if body.type != returns:
            self.fail(
                trees(node)[-1],
                f"the body is {body.type}, the function {returns}",
                f"write (..) as {returns}, or -> {body.type}",
                "42804",
            )
        return IrFunction(name, tuple(self.parameters.items()), body, returns, tuple(self.messages))

    # --- loops ----------------------------------------------------------------------------------

    def loop(
        self, node: Node, sources: list[program.Source], earlier: list[program.Loop]
    ) -> program.Loop:
        """Return a loop; its table, if it makes one, is known from here on."""
        into, over = (name_of(x) for x in trees(node, "name"))
        columns: dict[str, nodes.Column] | None = None
        for source in sources:
            if source.name == over:
                columns = {c.name: nodes.Column(c.name, c.type) for c in source.columns}
        for other in earlier:
            if other.into == over and isinstance(other.builder, program.Append):
                columns = {n: nodes.Column(n, x.type) for n, x in other.builder.fields}
        if columns is None:
            self.fail(node, f"no source {over}")
        self.plain, self.lets = columns.get, {}
        self.read_lets(node)
        how, where = one(node, "how"), one(node, "where")
        condition = None if where is None else self.expression(trees(where)[0])
        builder = self.builder(trees(node)[-1])
        if isinstance(builder, program.Bitmap):
            self.tables[into] = BOOL
        elif isinstance(builder, program.Scatter):
            self.tables[into] = builder.value.type
        return program.Loop(into, over, builder, condition, "" if how is None else leaf(how))

    def builder(self, node: Node) -> program.Builder:
        """Return a builder."""
        parts = trees(node)
        match str(node.data):
            case "struct":
                return program.Struct(self.folds(parts[-1]))
            case "group":
                chosen = one(node, "strategy")
                keys = tuple(self.key(k) for k in trees(trees(node, "keys")[0]))
                strategy = "" if chosen is None else leaf(chosen)
                return program.Group(keys, self.folds(parts[-1]), strategy)
            case "append":
                return program.Append(self.fields(parts[-1]))
            case "bitmap":
                low, high = (integer_of(x) for x in parts[1:])
                return program.Bitmap(self.expression(parts[0]), low, high)
            case "scatter":
                low, high = (integer_of(x) for x in parts[1:3])
                index, value = self.expression(parts[0]), self.expression(parts[3])
                return program.Scatter(index, value, low, high)
            case _:
                order = tuple(
                    program.Order(
                        self.expression(trees(o)[0]),
                        one(o, "desc") is not None,
                        one(o, "nulls_first") is not None,
                    )
                    for o in trees(trees(node, "orders")[0])
                )
                limit = int(cast(str, node.children[0]))
                return program.TopK(limit, order, self.fields(parts[-1]))

    def key(self, node: Node) -> program.Key:
        """Return a group's key."""
        name, value = trees(node)[:2]
        low, high = self.bounds(node)
        nullable = self.nullable(node, default=True)
        return program.Key(name_of(name), self.expression(value), nullable, low, high)

    def folds(self, node: Node) -> tuple[tuple[str, program.Fold], ...]:
        """Return named aggregates."""
        out: list[tuple[str, program.Fold]] = []
        for fold in trees(node):
            name, *operand = trees(fold)
            op = next(str(c) for c in fold.children if isinstance(c, str))
            value = self.expression(operand[0]) if operand else None
            out.append((name_of(name), self.typed(fold, lambda: typing.fold(op, value))))  # noqa: B023
        return tuple(out)

    def fields(self, node: Node) -> tuple[tuple[str, Expr], ...]:
        """Return named expressions."""
        pairs = [trees(field) for field in trees(node)]
        return tuple((name_of(name), self.expression(value)) for name, value in pairs)
