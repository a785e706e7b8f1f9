"""Is a program well formed? Names resolve, types agree with `typing`, tables come before their use.

Run after every pass: a rewrite that breaks a program is a fault of ours, found where it was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NoReturn

from foveal.errors import InternalError
from foveal.planner.ir import nodes, program, typing
from foveal.planner.ir.nodes import Expr
from foveal.planner.ir.types import (
    BOOL,
    Bool,
    Code,
    Float,
    Int,
    Type,
    limits,
    physical,
)

HOWS = ("", "mask", "branch", "compact")
STRATEGIES = ("", "dense", "hash")
MAX_DENSE = 1 << 24
"""Slots that a dense group may have."""


def verify(whole: program.Program) -> None:
    """Check a program.

    Raises:
        InternalError: it is not well formed; the message names the place.
    """
    _Verifier(whole).run()


def verify_expression(
    node: Expr, columns: Mapping[str, Type], parameters: Mapping[str, Type], messages: int = 0
) -> None:
    """Check an expression that uses these columns and parameters, and no tables or models.

    Raises:
        InternalError: it is not well formed.
    """
    source = program.Source("", ())
    verifier = _Verifier(
        program.Program("", (source,), (), (), messages=tuple("" for _ in range(messages)))
    )
    verifier.parameters = dict(parameters)
    verifier.expression(node, "expression", dict(columns), {})


class _Verifier:
    """One program under check; `tables`: the type and base of what `Lookup` may name so far."""

    def __init__(self, whole: program.Program) -> None:
        self.whole = whole
        self.parameters: dict[str, Type] = {s.name: s.type for s in whole.scalars}
        self.tables: dict[str, tuple[Type, int | None]] = {
            t.name: (t.type, None) for t in whole.tables
        }
        self.models = {m.name: m for m in whole.models}
        self.rows: dict[str, dict[str, Type]] = {}
        self.done: set[tuple[int, Expr]] = set()
        self.scope = 0

    def run(self) -> None:
        """Check everything."""
        whole = self.whole
        for what, names in (
            ("source", [s.name for s in whole.sources]),
            ("scalar", [s.name for s in whole.scalars]),
            ("table", [*(t.name for t in whole.tables), *(x.into for x in whole.loops)]),
            ("model", [m.name for m in whole.models]),
            ("result", whole.results),
        ):
            self.distinct(names, f"{what}s")
        for source in whole.sources:
            self.distinct([c.name for c in source.columns], f"columns of {source.name}")
            for column in source.columns:
                self.column(column, f"{source.name}.{column.name}")
        for scalar in whole.scalars:
            self.bounds(scalar.type, scalar.low, scalar.high, f"scalar {scalar.name}")
        for table in whole.tables:
            self.bounds(table.type, table.low, table.high, f"table {table.name}")
            if table.size is not None and table.size < 0:
                self.fail(f"table {table.name}", f"size {table.size}")
        returned: set[str] = set()
        for loop in whole.loops:
            self.loop(loop)
            if not isinstance(loop.builder, program.Bitmap | program.Scatter):
                returned.add(loop.into)
        returned |= self.parts(returned)
        for result in whole.results:
            if result not in returned:
                self.fail("return", f"{result} is no result of a loop")

    def parts(self, returned: set[str]) -> set[str]:
        """Check the parts of what loops make; return their names."""
        columns = {loop.into: _columns(loop.builder) for loop in self.whole.loops}
        for part in self.whole.parts:
            if part.loop not in returned:
                self.fail(f"part {part.name}", f"{part.loop} is no result of a loop")
            self.distinct([name for name, _ in part.columns], f"part {part.name}")
            for _, column in part.columns:
                if column not in columns[part.loop]:
                    self.fail(f"part {part.name}", f"{part.loop} has no {column}")
        names = [part.name for part in self.whole.parts]
        self.distinct([*names, *columns], "results")
        return set(names)

    def fail(self, path: str, message: str) -> NoReturn:
        """Raise with the place."""
        name = f"program {self.whole.name}: " if self.whole.name else ""
        raise InternalError(f"{name}{path}: {message}")

    def distinct(self, names: Iterable[str], path: str) -> None:
        """Check that no name comes twice."""
        seen: set[str] = set()
        for name in names:
            if name in seen:
                self.fail(path, f"{name} comes twice")
            seen.add(name)

    def column(self, column: program.Column, path: str) -> None:
        """Check what a column is stored in."""
        machine, storage = physical(column.type), column.storage
        match machine, storage:
            case (Bool(), Bool()):
                pass
            case (Float(bits=wide), Float(bits=narrow)) if narrow <= wide:
                pass
            case (Int(), Int()) if self.holds(machine, storage):
                pass
            case (Int(signed=False), Int(signed=True)):
                pass  # the values are the type's all the same: none is negative
            case _:
                self.fail(path, f"{column.type} stored in {storage}")
        self.bounds(column.type, column.low, column.high, path)

    def holds(self, wide: Int, narrow: Int) -> bool:
        """Say whether all integers of one width are among another's."""
        low, high = limits(wide)
        return low <= limits(narrow)[0] and limits(narrow)[1] <= high

    def bounds(self, type_: Type, low: int | None, high: int | None, path: str) -> None:
        """Check known bounds; an empty column's may be missing."""
        if low is None and high is None:
            return
        if isinstance(type_, Float):
            self.fail(path, "floats have no bounds")
        least, greatest = limits(type_)
        low, high = least if low is None else low, greatest if high is None else high
        if not least <= low <= high <= greatest:
            self.fail(path, f"{low}..{high} of {type_}")

    def loop(self, loop: program.Loop) -> None:
        """Check a loop, and let later ones see its table."""
        path = f"loop {loop.into}"
        columns = self.source(loop.source)
        if columns is None:
            self.fail(path, f"no source {loop.source}")
        if loop.how not in HOWS:
            self.fail(path, f"no way {loop.how}")
        # Sources may give one name to different types: what was checked holds for one loop.
        self.scope += 1

        def checked(node: Expr, where: str) -> None:
            self.expression(node, f"{path}: {where}", columns, {})

        if loop.where is not None:
            checked(loop.where, "where")
            if loop.where.type != BOOL:
                self.fail(path, f"where is {loop.where.type}")
        match loop.builder:
            case program.Struct(fields=fields):
                self.folds(fields, path, columns)
            case program.Group():
                self.group(loop.builder, path, columns)
            case program.Append(fields=fields):
                self.distinct([name for name, _ in fields], path)
                for name, node in fields:
                    checked(node, name)
                self.rows[loop.into] = {name: node.type for name, node in fields}
            case program.TopK(limit=limit, order=order, fields=fields):
                self.distinct([name for name, _ in fields], path)
                if limit < 0:
                    self.fail(path, f"limit {limit}")
                for key in order:
                    checked(key.expr, "order")
                for name, node in fields:
                    checked(node, name)
            case program.Bitmap(index=index, low=low, high=high):
                self.index(index, low, high, path, columns)
                self.tables[loop.into] = (BOOL, low)
            case program.Scatter(index=index, value=value, low=low, high=high):
                self.index(index, low, high, path, columns)
                checked(value, "value")
                self.tables[loop.into] = (value.type, low)

    def source(self, name: str) -> dict[str, Type] | None:
        """Return the columns that a loop may run over; None: there is no such source."""
        found = next((s for s in self.whole.sources if s.name == name), None)
        return self.rows.get(name) if found is None else {c.name: c.type for c in found.columns}

    def index(self, node: Expr, low: int, high: int, path: str, columns: dict[str, Type]) -> None:
        """Check what a table is filled by."""
        self.expression(node, f"{path}: index", columns, {})
        if not typing.is_index(node.type):
            self.fail(path, f"index is {node.type}")
        if low > high + 1:
            self.fail(path, f"{low}..{high}")

    def folds(
        self, fields: tuple[tuple[str, program.Fold], ...], path: str, columns: dict[str, Type]
    ) -> None:
        """Check aggregates."""
        self.distinct([name for name, _ in fields], path)
        for name, fold in fields:
            where = f"{path}: {name}"
            operand = None if fold.operand is None else fold.operand.type
            if fold.operand is not None:
                self.expression(fold.operand, where, columns, {})
            try:
                wanted = typing.fold_type(fold.op, operand)
            except typing.IrTypeError as error:
                self.fail(where, str(error))
            if wanted != fold.type:
                self.fail(where, f"{fold.op} is {wanted}, not {fold.type}")

    def group(self, group: program.Group, path: str, columns: dict[str, Type]) -> None:
        """Check a group's keys and folds."""
        self.distinct([*(k.name for k in group.keys), *(name for name, _ in group.fields)], path)
        self.folds(group.fields, path, columns)
        if group.strategy not in STRATEGIES:
            self.fail(path, f"no strategy {group.strategy}")
        slots = 1
        for key in group.keys:
            self.expression(key.expr, f"{path}: key {key.name}", columns, {})
            self.bounds(key.expr.type, key.low, key.high, f"{path}: key {key.name}")
            if group.strategy == "dense":
                if key.low is None or key.high is None:
                    self.fail(path, f"dense by {key.name}, which has no bounds")
                slots *= key.high - key.low + 1 + key.nullable
        if group.strategy == "dense" and slots > MAX_DENSE:
            self.fail(path, f"dense in {slots} slots")

    def expression(
        self, node: Expr, path: str, columns: dict[str, Type], variables: dict[str, Type]
    ) -> None:
        """Check an expression and all below it, each once for a scope of variables."""
        if (self.scope, node) in self.done:
            return
        path = f"{path} > {_word(node)}"
        if isinstance(node, nodes.Iterate):
            self.iterate(node, path, columns, variables)
        else:
            for child in nodes.children(node):
                self.expression(child, path, columns, variables)
        try:
            wanted = self.type_of(node, path, columns, variables)
        except typing.IrTypeError as error:
            self.fail(path, str(error))
        if wanted != node.type:
            self.fail(path, f"is {wanted}, not {node.type}")
        self.done.add((self.scope, node))

    def iterate(
        self, node: nodes.Iterate, path: str, columns: dict[str, Type], variables: dict[str, Type]
    ) -> None:
        """Check a loop within a row, in a scope of its own."""
        for child in node.initial:
            self.expression(child, path, columns, variables)
        outer, done = self.scope, self.done
        self.done = set()
        inner = {**variables, **{v.name: v.type for v in node.variables}}
        for child in (node.condition, *node.step, node.result):
            self.expression(child, path, columns, inner)
        self.scope, self.done = outer, done

    def named(self, known: Mapping[str, Type], name: str, what: str, path: str) -> Type:
        """Return what a name stands for."""
        if name not in known:
            self.fail(path, f"no {what} {name}")
        return known[name]

    def type_of(
        self, node: Expr, path: str, columns: dict[str, Type], variables: dict[str, Type]
    ) -> Type:
        """Return the type that a node must have, made anew by the constructors."""
        match node:
            case nodes.Column():
                return self.named(columns, node.name, "column", path)
            case nodes.Parameter():
                return self.named(self.parameters, node.name, "scalar", path)
            case nodes.Variable():
                return self.named(variables, node.name, "variable", path)
            case nodes.Literal():
                return typing.literal(node.value, node.type).type
            case nodes.Unary():
                return typing.unary_type(node.op, node.operand.type)
            case nodes.Binary():
                return typing.binary_type(node.op, node.left.type, node.right.type)
            case nodes.Cast():
                return typing.cast(node.operand, node.type).type
            case nodes.Select():
                return typing.select(node.condition, node.yes, node.no).type
            case nodes.Coalesce():
                return typing.coalesce(*node.operands).type
            case nodes.Lookup():
                if node.table not in self.tables:
                    self.fail(path, f"no table {node.table} yet")
                type_, base = self.tables[node.table]
                if base is not None and node.base != base:
                    self.fail(path, f"{node.table} begins at {base}, not {node.base}")
                return typing.lookup_named(node.table, type_, node.index).type
            case nodes.Check():
                if not 0 <= node.message < len(self.whole.messages):
                    self.fail(path, f"no message {node.message}")
                return typing.check(node.condition, node.value, node.message).type
            case nodes.Iterate():
                return typing.iterate(
                    node.variables, node.initial, node.condition, node.step, node.result
                ).type
            case nodes.Predict():
                if node.model not in self.models:
                    self.fail(path, f"no model {node.model}")
                return typing.predict(self.models[node.model], node.arguments, node.output).type


def _columns(builder: program.Builder) -> set[str]:
    """Return the columns of what a builder makes."""
    match builder:
        case program.Group(keys=keys, fields=fields):
            return {*(key.name for key in keys), *(name for name, _ in fields)}
        case program.Struct(fields=fields):
            return {name for name, _ in fields}
        case program.Append(fields=fields) | program.TopK(fields=fields):
            return {name for name, _ in fields}
        case _:
            return set()


def _word(node: Expr) -> str:
    """Return what a node is called in a path."""
    match node:
        case nodes.Unary() | nodes.Binary():
            return node.op
        case nodes.Column() | nodes.Parameter() | nodes.Variable():
            return node.name
        case _:
            return type(node).__name__.lower()


def dictionaries(whole: program.Program) -> frozenset[str]:
    """Return the names of the dictionaries that a program's columns and tables bring."""
    types = [
        *(c.type for s in whole.sources for c in s.columns),
        *(t.type for t in whole.tables),
    ]
    return frozenset(t.dictionary for t in types if isinstance(t, Code))
