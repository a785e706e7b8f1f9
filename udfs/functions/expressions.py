"""Python's expressions → values of the loop language, with the checks that guard them."""

from __future__ import annotations

import ast
import datetime
from collections.abc import Callable, Mapping
from types import FunctionType, ModuleType
from typing import TypeVar

from foveal.planner.ir.nodes import FALSE, TRUE, Expr, Literal, Unary
from foveal.udfs.functions.arithmetic import (
    Unsupported,
    binary,
    compare,
    exact,
    negative,
    truth,
)
from foveal.udfs.functions.maths import attribute, call_of, method, timedelta_of
from foveal.udfs.functions.source import (
    MODULES,
    Opaque,
    PythonSource,
    Untranslatable,
    from_callable,
)
from foveal.udfs.functions.values import (
    Value,
    and_,
    as_float,
    constant,
    merged,
    not_,
    or_,
    select,
)

T = TypeVar("T")
Names = dict[str, "Value | Unassigned"]

_DEPTH = 16
"""Functions that call functions; deeper is taken for recursion."""


class Unassigned:
    """A local name that may have no value here."""


class Expressions:
    """Translates expressions of one function; statements add the names' values.

    `checks`: conditions without which Python would raise (or might), each with a message number, in
    the order in which Python meets them.
    """

    def __init__(self, source: PythonSource, messages: list[str], calls: tuple[str, ...]) -> None:
        """Begin without any name. `calls`: the functions that are being inlined around this one."""
        self.source = source
        self.names: Names = {}
        self.checks: list[tuple[Expr, int]] = []
        self.messages = messages
        self.calls = calls

    # --- checks ----------------------------------------------------------------------------------

    def need(self, node: ast.AST, condition: Expr, text: str) -> None:
        """Require a condition for the rest of the row to mean anything."""
        if condition == TRUE:
            return
        line = getattr(node, "lineno", 1)
        message = f"{self.source.name}, line {line}: {text}"
        if message not in self.messages:
            self.messages.append(message)
        self.checks.append((condition, self.messages.index(message)))

    def under(self, condition: Expr, work: Callable[[], T]) -> T:
        """Do work whose checks matter only where the condition holds."""
        outer, self.checks = self.checks, []
        try:
            made = work()
        finally:
            inner, self.checks = self.checks, outer
        for check, message in inner:
            self.checks.append((select(condition, check, TRUE), message))
        return made

    def present(self, node: ast.AST, value: Value) -> Value:
        """Return a value that is no None here."""
        if value.kind == "none":
            raise Untranslatable(getattr(node, "lineno", 1), "None as an operand")
        if value.nullable:
            self.need(node, not_(Unary("is_null", value.expr, TRUE.type)), "an operand is None")
            return Value(value.expr, value.kind, value.numpy)
        return value

    # --- expressions -----------------------------------------------------------------------------

    def operand(self, node: ast.expr) -> Value:
        """Return the value of an expression whose None would raise."""
        return self.present(node, self.value(node))

    def value(self, node: ast.expr) -> Value:
        """Return the value of an expression.

        Raises:
            Untranslatable: the loop language cannot say it.
        """
        try:
            return self._value(node)
        except Unsupported as error:
            raise Untranslatable(node.lineno, str(error)) from error

    def condition(self, node: ast.expr) -> Expr:
        """Return whether an expression is true."""
        match node:
            case ast.BoolOp():
                return self._conditions(node)
            case ast.UnaryOp(op=ast.Not()):
                return not_(self.condition(node.operand))
            case _:
                value = self.value(node)
        if value.nullable and value.kind in ("date", "timestamp", "none") and value.kind != "none":
            return not_(Unary("is_null", value.expr, TRUE.type))
        if value.nullable and not value.known:
            valid = not_(Unary("is_null", value.expr, TRUE.type))
            return and_(valid, truth(value))
        try:
            return truth(value)
        except Unsupported as error:
            raise Untranslatable(node.lineno, str(error)) from error

    def _value(self, node: ast.expr) -> Value:
        match node:
            case ast.Constant():
                return constant(node.value)
            case ast.Name():
                return self._name(node)
            case ast.BinOp():
                left, right = self.operand(node.left), self.operand(node.right)
                return binary(node.op, left, right, lambda c, m: self.need(node, c, m))
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BoolOp():
                return self._bool(node)
            case ast.Compare():
                return Value(self._compare(node), "bool")
            case ast.IfExp():
                return self._either(node)
            case ast.Call():
                return self._call(node)
            case ast.Attribute():
                return self._attribute(node)
            case _:
                raise Untranslatable(node.lineno, _WORDS.get(type(node), type(node).__name__))

    def _name(self, node: ast.Name) -> Value:
        found = self.names.get(node.id)
        if isinstance(found, Unassigned):
            raise Untranslatable(node.lineno, f'"{node.id}" may have no value here')
        if found is not None:
            return found
        made = constant(self._object(node))
        if made.kind == "object":
            raise Untranslatable(node.lineno, f'"{node.id}" is neither a number nor a date')
        return made

    def _unary(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return Value(not_(self.condition(node.operand)), "bool")
        value = self.operand(node.operand)
        if isinstance(node.op, ast.USub):
            return negative(value)
        if isinstance(node.op, ast.UAdd) and value.kind in ("int", "float", "days", "micros"):
            return value
        if isinstance(node.op, ast.Invert) and value.kind == "int":
            return binary(ast.Sub(), negative(value), constant(1), lambda c, m: None)
        raise Unsupported("this operator here")

    def _conditions(self, node: ast.BoolOp) -> Expr:
        """Return AND or OR as a condition; what stands right is reached only where left allows."""
        is_and = isinstance(node.op, ast.And)
        out = self.condition(node.values[0])
        for part in node.values[1:]:
            reached = out if is_and else not_(out)
            if reached == FALSE:
                break
            right = self.under(reached, lambda part=part: self.condition(part))
            out = (and_ if is_and else or_)(out, right)
        return out

    def _bool(self, node: ast.BoolOp) -> Value:
        """Return AND or OR as Python does: one of the operands."""
        is_and = isinstance(node.op, ast.And)
        out = self.value(node.values[0])
        for part in node.values[1:]:
            out = self.present(node, out)
            decided = truth(out)
            reached = decided if is_and else not_(decided)
            right = self.under(reached, lambda part=part: self.value(part))
            made = merged(reached, right, out)
            if made is None:
                raise Unsupported(f"a {out.kind} or a {right.kind}, as it may be")
            out = made
        return out

    def _either(self, node: ast.IfExp) -> Value:
        test = self.condition(node.test)
        if isinstance(test, Literal):
            return self.value(node.body if test.value else node.orelse)
        yes = self.under(test, lambda: self.value(node.body))
        no = self.under(not_(test), lambda: self.value(node.orelse))
        return self.joined(node, test, yes, no)

    def joined(self, node: ast.AST, condition: Expr, yes: Value, no: Value) -> Value:
        """Return what is one of two values.

        Raises:
            Untranslatable: they are of kinds that no one type holds.
        """
        made = merged(condition, yes, no)
        if made is None and {yes.kind, no.kind} == {"int", "float"}:
            # The integer goes on as a float: right as long as it is one exactly.
            whole, when = (yes, condition) if yes.kind == "int" else (no, not_(condition))
            self.under(when, lambda: exact(whole, lambda c, m: self.need(node, c, m)))
            if not (yes.nullable or no.nullable):
                made = Value(select(condition, as_float(yes), as_float(no)), "float")
        if made is None:
            line = getattr(node, "lineno", 1)
            raise Untranslatable(line, f"a value of two kinds, {yes.kind} and {no.kind}")
        return made

    def _compare(self, node: ast.Compare) -> Expr:
        out: Expr = TRUE
        left = self.value(node.left)
        for op, part in zip(node.ops, node.comparators, strict=True):
            if out == FALSE:
                break

            def one(
                op: ast.cmpop = op, part: ast.expr = part, a: Value = left
            ) -> tuple[Expr, Value]:
                return self._compared(node, op, a, part)

            result, left = self.under(out, one)
            out = and_(out, result)
        return out

    def _compared(
        self, node: ast.Compare, op: ast.cmpop, left: Value, part: ast.expr
    ) -> tuple[Expr, Value]:
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(part, ast.Tuple | ast.List | ast.Set):
                raise Unsupported("`in` of what is no written list")
            left = self.present(node, left)
            found: Expr = FALSE
            for each in part.elts:
                equal = compare(ast.Eq(), left, self.operand(each), lambda c, m: None)
                found = or_(found, equal)
            return (found if isinstance(op, ast.In) else not_(found)), left
        right = self.value(part)
        if isinstance(op, ast.Is | ast.IsNot):
            if right.kind != "none":
                raise Unsupported("`is` of anything but None")
            if left.kind == "none":
                same: Expr = TRUE
            else:
                same = Unary("is_null", left.expr, TRUE.type) if left.nullable else FALSE
            return (same if isinstance(op, ast.Is) else not_(same)), right
        left, right = self.present(node, left), self.present(part, right)
        return compare(op, left, right, lambda c, m: self.need(node, c, m)), right

    # --- names beyond the function, calls --------------------------------------------------------

    def _object(self, node: ast.expr) -> object:
        """Return the object that a global name or a module's attribute is.

        Raises:
            Untranslatable: nothing is known of it without running code.
        """
        if isinstance(node, ast.Attribute):
            home = self._object(node.value)
            within = isinstance(home, ModuleType) and home.__name__ in MODULES
            if within and hasattr(home, node.attr):
                return getattr(home, node.attr)
            raise Untranslatable(node.lineno, f'"{ast.unparse(node)}" is not known')
        if not isinstance(node, ast.Name):
            raise Untranslatable(node.lineno, f'"{ast.unparse(node)}" is no plain name')
        try:
            found = self.source.lookup(node.id)
        except KeyError:
            raise Untranslatable(node.lineno, f'"{node.id}" is not known') from None
        if isinstance(found, Opaque):
            raise Untranslatable(node.lineno, f'"{node.id}": {found.reason}')
        return found

    def _is_local(self, node: ast.expr) -> bool:
        while isinstance(node, ast.Attribute):
            node = node.value
        return not isinstance(node, ast.Name) or node.id in self.names

    def _attribute(self, node: ast.Attribute) -> Value:
        if not self._is_local(node):
            made = constant(self._object(node))
            if made.kind != "object":
                return made
            raise Untranslatable(node.lineno, f'"{ast.unparse(node)}" is no number')
        value = self.operand(node.value)
        found = attribute(value, node.attr)
        if found is None:
            raise Untranslatable(node.lineno, f"the attribute {node.attr} of a {value.kind}")
        return found

    def _call(self, node: ast.Call) -> Value:
        if any(isinstance(a, ast.Starred) for a in node.args):
            raise Untranslatable(node.lineno, "a call with * arguments")
        called = node.func
        if isinstance(called, ast.Attribute) and self._is_local(called):
            value = self.operand(called.value)
            found = method(value, called.attr, [self.operand(a) for a in node.args])
            if found is None or node.keywords:
                raise Untranslatable(node.lineno, f"the method {called.attr} of a {value.kind}")
            return found
        if self._is_local(called):
            raise Untranslatable(node.lineno, f'a call of "{ast.unparse(called)}"')
        target = self._object(called)
        if target is datetime.timedelta:
            return self._timedelta(node)
        translated = call_of(target)
        if translated is not None:
            if node.keywords:
                raise Untranslatable(node.lineno, "keyword arguments of a built-in function")
            arguments = [self.operand(a) for a in node.args]
            return translated(arguments, lambda c, m: self.need(node, c, m))
        source = _source_of(target)
        if source is None:
            raise Untranslatable(node.lineno, f'"{ast.unparse(called)}" is not known')
        return self.inlined(node, source)

    def _timedelta(self, node: ast.Call) -> Value:
        order = ("days", "seconds", "microseconds", "milliseconds", "minutes", "hours", "weeks")
        names = [*order[: len(node.args)], *(k.arg or "**" for k in node.keywords)]
        if not set(names) <= set(order):
            raise Untranslatable(node.lineno, "these arguments of timedelta()")
        values = [self.operand(a) for a in (*node.args, *(k.value for k in node.keywords))]
        return timedelta_of(values, names, lambda c, m: self.need(node, c, m))

    def inlined(self, node: ast.Call, source: PythonSource) -> Value:
        """Return what a call of another function gives, its body in the call's place."""
        if source.name in self.calls or len(self.calls) >= _DEPTH:
            raise Untranslatable(node.lineno, f"{source.name} calls itself")
        given: dict[str, ast.expr] = dict(zip(source.parameters, node.args, strict=False))
        if len(node.args) > len(source.parameters):
            raise Untranslatable(node.lineno, f"too many arguments of {source.name}")
        for keyword in node.keywords:
            if keyword.arg not in source.parameters or keyword.arg in given:
                raise Untranslatable(node.lineno, f"the keyword arguments of {source.name}")
            given[keyword.arg] = keyword.value
        values: dict[str, Value] = {name: self.value(part) for name, part in given.items()}
        defaults = dict(zip(reversed(source.parameters), reversed(source.defaults), strict=False))
        for name in source.parameters:
            if name not in values:
                if name not in defaults:
                    raise Untranslatable(node.lineno, f"{source.name} lacks {name}")
                if not isinstance(defaults[name], ast.Constant):
                    raise Untranslatable(node.lineno, f"the default of {name}")
                values[name] = self.value(defaults[name])
        return self.body_of(source, values)

    def body_of(self, source: PythonSource, values: Mapping[str, Value]) -> Value:
        """Return what a function returns for these values; its checks become this one's."""
        raise NotImplementedError


def _source_of(target: object) -> PythonSource | None:
    """Return the source of a function of the user's."""
    if isinstance(target, PythonSource):
        return target
    source = getattr(target, "source", None)
    if isinstance(source, PythonSource):
        return source
    return from_callable(target) if isinstance(target, FunctionType) else None


_WORDS: dict[type[ast.expr], str] = {
    ast.Lambda: "a function within the function", ast.ListComp: "a list", ast.List: "a list",
    ast.Dict: "a dict", ast.Set: "a set", ast.Tuple: "a tuple", ast.Subscript: "an index",
    ast.JoinedStr: "text", ast.GeneratorExp: "a generator", ast.Yield: "a generator",
    ast.NamedExpr: "an assignment within an expression",
}  # fmt: skip
