"""The code of expressions for one row: straight-line, equal sub-expressions once.

Values are written without regard to whether the row is wanted; what raises is gathered afterwards
(`check`), each flag under the condition that the row reaches its node. Only a loop within a row
(`Iterate`) needs that condition when it is written, lest it never ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from foveal.engine.compile.llvm import calendar, casts, floats, integers
from foveal.engine.compile.llvm.cells import (
    Cell,
    Context,
    Facts,
    Flag,
    Unsupported,
    constant,
    llvm_type,
    message_code,
)
from foveal.engine.compile.llvm.iterate import Turned, Turning, mentions, write_iterate
from foveal.engine.compile.llvm.mathlib import call_function
from foveal.engine.compile.llvm.text import TRUE, Function, Value, bits_of, integer, number
from foveal.planner.ir import nodes
from foveal.planner.ir.nodes import (
    ARITHMETIC,
    BITS,
    COMPARISONS,
    FLOATING,
    IEEE_COMPARISONS,
    LOGIC,
    PARTS,
    SELECTING,
    Expr,
    children,
)
from foveal.planner.ir.types import Code, Float


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A table in memory: entries, a byte each that is 1 where valid (None: all are), its size."""

    values: Value
    valid: Value | None
    size: Value
    storage: str
    signed: bool = True


@dataclass(slots=True)
class Surroundings:
    """What expressions refer to outside of themselves."""

    columns: Callable[[nodes.Column], Cell]
    scalars: Mapping[str, Cell]
    tables: Mapping[str, LookupTable]
    variables: dict[str, Cell] = field(default_factory=dict[str, Cell])
    predictions: Mapping[nodes.Predict, Cell] = field(default_factory=dict[nodes.Predict, Cell])
    cancel: Value | None = None


class Row:
    """Writes expressions of one row, at the end of the function's current block."""

    def __init__(self, f: Function, around: Surroundings, facts: Facts) -> None:
        """Start with nothing written."""
        self.f, self.around, self.facts = f, around, facts
        self._cells: dict[tuple[Expr, Value], Cell] = {}
        self._flags: dict[tuple[Expr, Value], list[Flag]] = {}
        self._flagged: set[Expr] = set()
        self._loops: dict[Expr, bool] = {}
        self.turned: dict[Turning, Turned] = {}
        self._raising: dict[Expr, bool] = {}
        self._checked: set[tuple[Expr, Value]] = set()
        self._errors: list[Flag] = []
        self._both: dict[tuple[Value, Value], Value] = {}
        self._negated: dict[Value, Value] = {}

    @property
    def cancel(self) -> Value | None:
        """Where the cancel flag is; None: nobody cancels."""
        return self.around.cancel

    # --- values ---

    def _key(self, x: Expr, reach: Value) -> tuple[Expr, Value]:
        """Return what a cell is remembered by: the reach matters only to loops within rows."""
        return (x, reach if self.has_loop(x) else TRUE)

    def has_loop(self, x: Expr) -> bool:
        """Say whether an expression has a loop within a row."""
        if x not in self._loops:
            self._loops[x] = isinstance(x, nodes.Iterate) or any(
                self.has_loop(child) for child in children(x)
            )
        return self._loops[x]

    def cell(self, x: Expr, reach: Value = TRUE) -> Cell:
        """Return the value of an expression.

        Raises:
            Unsupported: it has no code.
        """
        key = self._key(x, reach)
        if key not in self._cells:
            context = Context(self.f, self.facts)
            self._cells[key] = self._written(x, reach, context)
            self._flags[key] = context.flags
            if context.flags:
                self._flagged.add(x)
        return self._cells[key]

    def _written(self, x: Expr, reach: Value, context: Context) -> Cell:
        """Write an expression that is not written yet."""
        match x:
            case nodes.Column():
                return self.around.columns(x)
            case nodes.Parameter():
                return self.around.scalars[x.name]
            case nodes.Literal():
                return constant(x)
            case nodes.Variable():
                return self.around.variables[x.name]
            case nodes.Unary():
                return self._unary(x, self.cell(x.operand, reach), context)
            case nodes.Binary(op=op) if op in LOGIC:
                return self._logic(x, reach)
            case nodes.Binary():
                left, right = self.cell(x.left, reach), self.cell(x.right, reach)
                return self._binary(x, left, right, context)
            case nodes.Cast():
                operand = self.cell(x.operand, reach)
                value = casts.cast(context, x, operand)
                self._own(context, operand.valid)
                return Cell(value, operand.valid)
            case nodes.Select():
                return self._select(x, reach)
            case nodes.Coalesce():
                return self._coalesce(x, reach)
            case nodes.Lookup():
                return self._lookup(x, reach)
            case nodes.Check():
                held = self.cell(x.condition, reach)
                context.flag(self.negate(self.true(held)), message_code(x.message))
                return self.cell(x.value, reach)
            case nodes.Iterate():
                return write_iterate(self, x, reach, context)
            case nodes.Predict():
                if x not in self.around.predictions:
                    raise Unsupported("a model among what a loop computes row by row")
                return self.around.predictions[x]

    def true(self, cell: Cell) -> Value:
        """Return whether a boolean is true: neither false nor NULL."""
        return self.both(cell.value, cell.valid)

    def _own(self, context: Context, valid: Value) -> None:
        """Let a node's flags count only where its operands are valid."""
        context.flags[:] = [
            Flag(self.f.both(flag.condition, valid), flag.code) for flag in context.flags
        ]

    def _unary(self, x: nodes.Unary, operand: Cell, context: Context) -> Cell:
        f, op, value = self.f, x.op, operand.value
        if op == "is_null":
            return Cell(f.negate(operand.valid))
        if op == "not":
            return Cell(f.negate(value), operand.valid)
        if op in PARTS:
            out = calendar.part(context, x, operand)
        elif isinstance(x.operand.type, Float):
            out = self._float_unary(op, value)
        elif op == "neg":
            out = integers.negate(context, x, operand)
        elif op == "abs":
            out = integers.absolute(context, x, operand)
        else:
            assert op == "sign", op
            zero = integer(0, value.type)
            above = f.resize(f.compare("sgt", value, zero), "i8", signed=False)
            out = f.op("sub", above, f.resize(f.compare("slt", value, zero), "i8", signed=False))
        self._own(context, operand.valid)
        return Cell(out, operand.valid)

    def _float_unary(self, op: str, value: Value) -> Value:
        f = self.f
        match op:
            case "is_nan":
                return floats.is_nan(f, value)
            case "is_inf":
                size = floats.intrinsic(f, "fabs", value)
                return f.compare("oeq", size, number(float("inf"), value.type))
            case "sign":
                return floats.sign(f, value)
            case "neg":
                return f.emit(value.type, f"fneg {value}")
            case "abs" | "floor" | "ceil" | "trunc" | "round" | "sqrt":
                return floats.intrinsic(f, "fabs" if op == "abs" else op, value)
            case _:
                wide = call_function(f, op, floats.as_double(f, value))
                return f.convert("fptrunc", wide, value.type)

    def _binary(self, x: nodes.Binary, left: Cell, right: Cell, context: Context) -> Cell:
        f, op = self.f, x.op
        if op in SELECTING:
            return self._selecting(x, left, right)
        valid = f.both(left.valid, right.valid)
        is_float = isinstance(x.left.type, Float)
        if op in COMPARISONS:
            if isinstance(x.left.type, Code) and x.left.type != x.right.type:
                raise Unsupported("a comparison of strings of two dictionaries")
            if is_float:
                value = floats.sql_compare(f, op, left.value, right.value)
            else:
                value = integers.compare(context, op, x, left, right)
        elif op in IEEE_COMPARISONS:
            if is_float:
                value = floats.ieee_compare(f, op, left.value, right.value)
            else:
                value = integers.compare(context, op[1:], x, left, right)
        elif op in BITS:
            value = integers.bitwise(context, x, left, right)
        elif op in FLOATING or (is_float and op == "mod"):
            u, v = floats.as_double(f, left.value), floats.as_double(f, right.value)
            value = f.convert("fptrunc", call_function(f, op, u, v), llvm_type(x.type))
        elif is_float:
            value = f.op(floats.ARITHMETIC[op], left.value, right.value)
        elif op in ARITHMETIC:
            value = self._arithmetic(x, left, right, context)
        else:
            value = integers.divide(context, x, left, right)
        self._own(context, valid)
        return Cell(value, valid)

    def _arithmetic(self, x: nodes.Binary, left: Cell, right: Cell, context: Context) -> Value:
        """Return checked arithmetic; infinite dates raise, as operands and as results."""
        calendar.flag_infinite(context, x.left, left)
        calendar.flag_infinite(context, x.right, right)
        value = integers.add_sub_mul(context, x, left, right)
        if calendar.finite_limits(x.type) is not None:
            calendar.flag_infinite(context, x, Cell(value))
        return value

    def _selecting(self, x: nodes.Binary, left: Cell, right: Cell) -> Cell:
        """Return LEAST or GREATEST: NULL only where both are; the left one of equals."""
        f, context = self.f, Context(self.f, self.facts)
        op = "lt" if x.op == "least" else "gt"
        if isinstance(x.type, Float):
            better = floats.sql_compare(f, op, right.value, left.value)
            values = [left.value, right.value]
        else:
            swapped = nodes.Binary(op, x.right, x.left, x.type)
            better = integers.compare(context, op, swapped, right, left)
            values = self._aligned((left, x.left), (right, x.right))
        takes_right = f.both(right.valid, f.either(f.negate(left.valid), better))
        return Cell(f.select(takes_right, values[1], values[0]), f.either(left.valid, right.valid))

    def _aligned(self, *cells: tuple[Cell, Expr]) -> list[Value]:
        """Return values in one LLVM type."""
        values = [cell.value for cell, _ in cells]
        if len({value.type for value in values}) == 1 and not any(c.adapts for c, _ in cells):
            return values
        return integers.align(Context(self.f, self.facts), *cells)

    def _logic(self, x: nodes.Binary, reach: Value) -> Cell:
        """Return three-valued AND or OR."""
        f = self.f
        left = self.cell(x.left, reach)
        beyond = TRUE
        if self.has_loop(x.right):
            beyond = self.both(reach, self.negate(self._decides(x.op, left)))
        right = self.cell(x.right, beyond)
        if x.op == "and":
            value = f.both(left.value, right.value)
        else:
            value = f.either(left.value, right.value)
        if left.valid == TRUE and right.valid == TRUE:
            return Cell(value)
        decided = f.either(self._decides(x.op, left), self._decides(x.op, right))
        # The values of NULLs are any: what is true must be decided, or have both sides valid.
        valid = f.either(f.both(left.valid, right.valid), decided)
        value = decided if x.op == "or" else f.both(value, left.valid, right.valid)
        return Cell(value, valid)

    def _decides(self, op: str, cell: Cell) -> Value:
        """Return whether one side alone makes AND false or OR true."""
        value = self.negate(cell.value) if op == "and" else cell.value
        return self.both(value, cell.valid)

    def _select(self, x: nodes.Select, reach: Value) -> Cell:
        f = self.f
        chosen = self.true(self.cell(x.condition, reach))
        reaches = self._arms(x, reach) if self.has_loop(x) else (TRUE, TRUE)
        yes, no = self.cell(x.yes, reaches[0]), self.cell(x.no, reaches[1])
        values = self._aligned((yes, x.yes), (no, x.no))
        return Cell(f.select(chosen, *values), f.select(chosen, yes.valid, no.valid))

    def _arms(self, x: nodes.Select, reach: Value) -> tuple[Value, Value]:
        """Return when each arm of a CASE is reached."""
        chosen = self.true(self.cell(x.condition, reach))
        return self.both(reach, chosen), self.both(reach, self.negate(chosen))

    def _coalesce(self, x: nodes.Coalesce, reach: Value) -> Cell:
        f = self.f
        cells: list[tuple[Cell, Expr]] = []
        missing = reach
        for operand in x.operands:
            cells.append((self.cell(operand, missing), operand))
            missing = self.both(missing, self.negate(cells[-1][0].valid))
        values = self._aligned(*cells)
        value, valid = values[-1], cells[-1][0].valid
        for (cell, _), earlier in reversed(list(zip(cells[:-1], values[:-1], strict=True))):
            value = f.select(cell.valid, earlier, value)
            valid = f.either(cell.valid, valid)
        return Cell(value, valid)

    def _lookup(self, x: nodes.Lookup, reach: Value) -> Cell:
        """Return a table's entry; outside of the table NULL, and nothing is read there."""
        f, table = self.f, self.around.tables[x.table]
        index = self.cell(x.index, reach)
        if index.value.type != "i1" and bits_of(index.value.type) > 64:
            raise Unsupported("a lookup at a 128-bit integer")
        place = f.op("sub", f.resize(index.value, "i64"), integer(x.base))
        inside = f.both(index.valid, f.compare("ult", place, table.size))
        # Tables have at least one entry in memory, so that place 0 can always be read.
        place = f.select(inside, place, integer(0))
        valid = inside
        if table.valid is not None:
            byte = f.load("i8", f.at(table.valid, "i8", place))
            valid = f.both(inside, f.compare("eq", byte, integer(1, "i8")))
        value = f.load(table.storage, f.at(table.values, table.storage, place))
        if llvm_type(x.type) == "i1":
            value = f.compare("ne", value, integer(0, "i8"))
        elif not table.signed:
            value = f.resize(value, f"i{2 * bits_of(value.type)}", signed=False)
        return Cell(value, valid)

    # --- what raises ---

    def _raises(self, x: Expr) -> bool:
        """Say whether anything in a written expression may raise."""
        if x not in self._raising:
            parts = x.initial if isinstance(x, nodes.Iterate) else children(x)
            self._raising[x] = x in self._flagged or any(self._raises(part) for part in parts)
        return self._raising[x]

    def check(self, x: Expr, reach: Value) -> None:
        """Gather what raises in an expression whose cell is written, for rows that reach it."""
        key = (x, reach)
        if key in self._checked or not self._raises(x):
            return
        self._checked.add(key)
        for flag in self._flags.get(self._key(x, reach), ()):
            self._errors.append(Flag(self.both(reach, flag.condition), flag.code))
        match x:
            case nodes.Binary(op=op) if op in LOGIC:
                self.check(x.left, reach)
                if self._raises(x.right):
                    left = self.cell(x.left, reach)
                    self.check(x.right, self.both(reach, self.negate(self._decides(op, left))))
            case nodes.Select():
                self.check(x.condition, reach)
                yes, no = self._arms(x, reach)
                self.check(x.yes, yes)
                self.check(x.no, no)
            case nodes.Coalesce():
                missing = reach
                for operand in x.operands:
                    self.check(operand, missing)
                    valid = self.cell(operand, missing).valid
                    missing = self.both(missing, self.negate(valid))
            case nodes.Iterate():
                for start in x.initial:
                    self.check(start, reach)
            case _:
                for child in children(x):
                    self.check(child, reach)

    def raise_if(self, flag: Flag) -> None:
        """Gather a flag of the builder's own."""
        self._errors.append(flag)

    def error_mask(self) -> Value:
        """Return the bits of all that was gathered since the last call, as i64."""
        f = self.f
        by_code: dict[int, list[Value]] = {}
        masks: list[Value] = []
        for flag in self._errors:
            if isinstance(flag.code, int):
                by_code.setdefault(flag.code, []).append(flag.condition)
            else:
                masks.append(f.select(flag.condition, flag.code, integer(0)))
        self._errors.clear()
        for code, conditions in by_code.items():
            masks.append(f.select(f.either(*conditions), integer(code), integer(0)))
        out = integer(0)
        for mask in masks:
            out = mask if out.text == "0" else f.op("or", out, mask)
        return out

    # --- conditions, written once ---

    def both(self, left: Value, right: Value) -> Value:
        """Return a conjunction; the same one for the same sides."""
        key = (left, right)
        if key not in self._both:
            self._both[key] = self.f.both(left, right)
        return self._both[key]

    def negate(self, condition: Value) -> Value:
        """Return a negation; the same one for the same condition."""
        if condition not in self._negated:
            self._negated[condition] = self.f.negate(condition)
        return self._negated[condition]

    def inner(self, variables: Mapping[str, Cell]) -> Row:
        """Return a row that knows all that this one does, with variables of its own."""
        around = replace(self.around, variables={**self.around.variables, **variables})
        row = Row(self.f, around, self.facts)
        for key, cell in self._cells.items():
            if not mentions(key[0], variables):
                row._cells[key] = cell
                row._flags[key] = self._flags[key]
        row._flagged |= self._flagged
        return row
