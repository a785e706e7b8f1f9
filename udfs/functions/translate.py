"""Python's statements → one expression: assignments by substitution, branches by selection, loops.

A loop of few rounds that are known is written out; any other becomes an `Iterate`. What cannot be
said raises `Untranslatable` with its line, and the function runs as Python over batches.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

from foveal.planner.ir import typing as ir
from foveal.planner.ir.function import IrFunction
from foveal.planner.ir.nodes import (
    FALSE,
    TRUE,
    Expr,
    Iterate,
    Literal,
    Parameter,
    Unary,
    Variable,
    children,
)
from foveal.planner.ir.types import BOOL, I64, Type
from foveal.udfs.functions.arithmetic import Unsupported, binary, in_calendar
from foveal.udfs.functions.expressions import Expressions, Names, Unassigned
from foveal.udfs.functions.source import PythonSource, Untranslatable
from foveal.udfs.functions.sqltypes import SqlType
from foveal.udfs.functions.values import (
    TYPES,
    Value,
    and_,
    as_float,
    as_int,
    constant,
    not_,
    or_,
    plain,
    real,
    select,
)

_UNROLL = 16
"""Loops of so many rounds at most are written out."""
_LARGEST = 50_000
"""Nodes of an expression once written out; larger ones would take long to compile."""
_KINDS: dict[str, str] = {"BOOLEAN": "bool", "DOUBLE": "float", "FLOAT": "float", "DATE": "date",
                          "TIMESTAMP": "timestamp"}  # fmt: skip


@dataclass(slots=True)
class Flow:
    """How a run of statements ends: where it returned, broke or continued.

    `exits`: for each break and continue where it is reached, and the names' values there.
    """

    returned: Expr = FALSE
    value: Value | None = None
    broke: Expr = FALSE
    continued: Expr = FALSE
    exits: list[tuple[Expr, Names]] = field(default_factory=list["tuple[Expr, Names]"])

    @property
    def left(self) -> Expr:
        """Where the statements behind are not reached."""
        return or_(or_(self.returned, self.broke), self.continued)


@dataclass(frozen=True, slots=True)
class _Round:
    """One round of a loop as translated over the loop's variables."""

    flow: Flow
    names: Names = field(default_factory=dict[str, "Value | Unassigned"])


def translate(
    source: PythonSource,
    types: Sequence[SqlType],
    returns: SqlType,
    *,
    null_handling: str = "strict",
) -> IrFunction:
    """Return the function as an expression over its parameters.

    `null_handling` "strict": NULL in, NULL out, without a look at the function; "special": it sees
    None. Where Python would raise (or where the loop language might differ from it), the
    expression raises; who runs it then asks Python.

    Raises:
        Untranslatable: with the line and the reason.
    """
    parameters: list[tuple[str, Type]] = []
    names: Names = {}
    messages: list[str] = []
    statements = Statements(source, messages, (source.name,))
    special = null_handling == "special"
    for name, sql in zip(source.parameters, types, strict=True):
        if sql.ir is None or (sql.text not in _KINDS and not isinstance(sql.ir, type(I64))):
            raise Untranslatable(_line(source), f"{name} is {sql.text}")
        parameters.append((name, sql.ir))
        given = Parameter(name, sql.ir)
        kind = _KINDS.get(sql.text, "int")
        value = Value(ir.cast(given, TYPES[kind]), kind, nullable=special)
        names[name] = value
        if kind in ("date", "timestamp"):
            inside = in_calendar(value)
            if special:
                inside = or_(Unary("is_null", given, BOOL), inside)
            statements.need(source.body[0], inside, f"{name} is outside of the years 1 to 9999")
    statements.names = names
    value = statements.result(source.body)
    body = _returned(source, value, returns)
    for condition, message in reversed(statements.checks):
        body = ir.check(condition, body, message)
    if not special:
        nulls = [Unary("is_null", Parameter(name, type_), BOOL) for name, type_ in parameters]
        if nulls:
            body = ir.select(reduce(or_, nulls, FALSE), Literal(None, body.type), body)
    if _written_out(body) > _LARGEST:
        raise Untranslatable(_line(source), "the function is too large once it is written out")
    return IrFunction(source.name, tuple(parameters), body, body.type, tuple(messages))


class Statements(Expressions):
    """Translates the statements of one function."""

    def __init__(self, source: PythonSource, messages: list[str], calls: tuple[str, ...]) -> None:
        """Begin without any name."""
        super().__init__(source, messages, calls)
        self._count = len(calls) * 1000

    def body_of(self, source: PythonSource, values: Mapping[str, Value]) -> Value:
        """Return what another function returns for these values."""
        inner = Statements(source, self.messages, (*self.calls, source.name))
        inner._count = self._count
        inner.names = dict(values)
        value = inner.result(source.body)
        self._count = inner._count
        self.checks += inner.checks
        return value

    def result(self, body: Sequence[ast.stmt]) -> Value:
        """Return what the statements return, None where they end."""
        flow = self.run(body, frozenset())
        if flow.returned == TRUE and flow.value is not None:
            return flow.value
        nothing = constant(None)
        if flow.value is None:
            return nothing
        return self.joined(body[-1], flow.returned, flow.value, nothing)

    def run(self, body: Sequence[ast.stmt], wanted: frozenset[str]) -> Flow:
        """Run statements one after the other. `wanted`: names that are read after them."""
        flow = Flow()
        for i, node in enumerate(body):
            later = wanted | _read(body[i + 1 :])
            left = flow.left
            if left == TRUE:
                break
            if left == FALSE:
                self._sequence(flow, self._statement(node, later), FALSE)
                continue
            step = self.under(
                not_(left), lambda node=node, later=later: self._statement(node, later)
            )
            self._sequence(flow, step, left)
        return flow

    def _sequence(self, flow: Flow, step: Flow, left: Expr) -> None:
        """Add to a flow what a statement did where it was reached."""
        reached = not_(left)
        if step.value is not None:
            if flow.value is None:
                flow.value = step.value
            else:
                flow.value = self.joined(self.source.body[0], flow.returned, flow.value, step.value)
        flow.returned = or_(flow.returned, and_(reached, step.returned))
        flow.broke = or_(flow.broke, and_(reached, step.broke))
        flow.continued = or_(flow.continued, and_(reached, step.continued))
        flow.exits += [(and_(reached, condition), names) for condition, names in step.exits]

    def _leave(self, node: ast.AST, exits: Sequence[tuple[Expr, Names]]) -> None:
        """Let names have the values of the breaks and continues that were reached."""
        for condition, names in exits:
            self._merge_names(node, condition, names, self.names)

    def _merge_names(self, node: ast.AST, condition: Expr, yes: Names, no: Names) -> None:
        """Let every name have its value of one side or of the other."""
        out: Names = {}
        for name in {**yes, **no}:
            a, b = yes.get(name, Unassigned()), no.get(name, Unassigned())
            if isinstance(a, Unassigned) or isinstance(b, Unassigned):
                out[name] = Unassigned()
                continue
            try:
                out[name] = self.joined(node, condition, a, b)
            except Untranslatable:
                out[name] = Unassigned()
        self.names = out

    # --- one statement ---------------------------------------------------------------------------

    def _statement(self, node: ast.stmt, later: frozenset[str]) -> Flow:
        match node:
            case ast.Return():
                value = constant(None) if node.value is None else self.value(node.value)
                return Flow(returned=TRUE, value=value)
            case ast.Assign():
                self._assign(node)
            case ast.AnnAssign():
                if node.value is not None:
                    self._set(node.target, self.value(node.value))
            case ast.AugAssign():
                self._augment(node)
            case ast.If():
                return self._if(node, later)
            case ast.For() | ast.While():
                if node.orelse:
                    raise Untranslatable(node.lineno, "else of a loop")
                return (
                    self._for(node, later)
                    if isinstance(node, ast.For)
                    else self._while(node, later)
                )
            case ast.Break():
                return Flow(broke=TRUE, exits=[(TRUE, dict(self.names))])
            case ast.Continue():
                return Flow(continued=TRUE, exits=[(TRUE, dict(self.names))])
            case ast.Raise():
                self.need(node, FALSE, f"raise {'' if node.exc is None else ast.unparse(node.exc)}")
                return Flow(returned=TRUE)
            case ast.Assert():
                self.need(node, self.condition(node.test), "assert")
            case ast.Pass():
                pass
            case ast.Expr():
                if not isinstance(node.value, ast.Constant):
                    self.value(node.value)
            case ast.Import() | ast.ImportFrom():
                raise Untranslatable(node.lineno, "an import within the function")
            case _:
                word = type(node).__name__.lower()
                raise Untranslatable(node.lineno, f"the statement {word}")
        return Flow()

    def _assign(self, node: ast.Assign) -> None:
        if len(node.targets) == 1 and isinstance(node.targets[0], ast.Tuple):
            target = node.targets[0]
            if not isinstance(node.value, ast.Tuple) or len(node.value.elts) != len(target.elts):
                raise Untranslatable(node.lineno, "unpacking of what is not written as a tuple")
            values = [self.value(part) for part in node.value.elts]
            for part, value in zip(target.elts, values, strict=True):
                self._set(part, value)
            return
        value = self.value(node.value)
        for target in node.targets:
            self._set(target, value)

    def _set(self, target: ast.expr, value: Value) -> None:
        if not isinstance(target, ast.Name):
            raise Untranslatable(target.lineno, "an assignment to what is no plain name")
        self.names[target.id] = value

    def _augment(self, node: ast.AugAssign) -> None:
        if not isinstance(node.target, ast.Name):
            raise Untranslatable(node.lineno, "an assignment to what is no plain name")
        name = ast.copy_location(ast.Name(node.target.id, ast.Load()), node.target)
        left, right = self.operand(name), self.operand(node.value)
        try:
            made = binary(node.op, left, right, lambda c, m: self.need(node, c, m))
        except Unsupported as error:
            raise Untranslatable(node.lineno, str(error)) from error
        self.names[node.target.id] = made

    def _if(self, node: ast.If, later: frozenset[str]) -> Flow:
        test = self.condition(node.test)
        if isinstance(test, Literal):
            return self.run(node.body if test.value else node.orelse, later)
        before = dict(self.names)
        yes = self.under(test, lambda: self.run(node.body, later))
        names_yes, self.names = self.names, before
        no = self.under(not_(test), lambda: self.run(node.orelse, later))
        # A side that does not go on says nothing about the names behind it.
        if yes.left == TRUE and no.left != TRUE:
            pass
        elif no.left == TRUE and yes.left != TRUE:
            self.names = names_yes
        else:
            self._merge_names(node, test, names_yes, self.names)
        value = yes.value or no.value
        if yes.value is not None and no.value is not None:
            value = self.joined(node, test, yes.value, no.value)
        return Flow(
            select(test, yes.returned, no.returned),
            value,
            select(test, yes.broke, no.broke),
            select(test, yes.continued, no.continued),
            [(and_(test, condition), names) for condition, names in yes.exits]
            + [(and_(not_(test), condition), names) for condition, names in no.exits],
        )

    # --- loops -----------------------------------------------------------------------------------

    def _for(self, node: ast.For, later: frozenset[str]) -> Flow:
        call = node.iter
        if not isinstance(call, ast.Call) or not self._is_range(call):
            raise Untranslatable(node.lineno, "a loop over anything but range()")
        if not isinstance(node.target, ast.Name):
            raise Untranslatable(node.lineno, "a loop's target that is no plain name")
        bounds = [self.operand(part) for part in call.args]
        if not 1 <= len(bounds) <= 3 or any(b.kind not in ("int", "bool") for b in bounds):
            raise Untranslatable(node.lineno, "range() of what are no integers")
        start, stop, step = constant(0), bounds[0], constant(1)
        if len(bounds) > 1:
            start, stop = bounds[0], bounds[1]
        if len(bounds) == 3:
            step = bounds[2]
        if not step.known or step.constant == 0:
            raise Untranslatable(node.lineno, "range() with a step that is no constant above 0")
        if start.known and stop.known:
            rounds = range(int(start.constant), int(stop.constant), int(step.constant))
            if len(rounds) <= _UNROLL:
                return self._written_out(node, rounds, later)
        self._count += 1
        counter = f"{node.target.id} {self._count}"  # no name that Python could have
        name, upward = node.target.id, step.constant > 0

        def test() -> Expr:
            now = self.names[counter]
            assert isinstance(now, Value)
            return ir.binary("lt" if upward else "gt", now.expr, as_int(stop))

        def enter() -> None:
            now = self.names[counter]
            assert isinstance(now, Value)
            self.names[name] = now
            after = ir.binary("add", now.expr, as_int(step))
            self.names[counter] = Value(after, "int")

        self.names[counter] = Value(as_int(start), "int")
        flow = self._loop(node, test, enter, later, {counter, name})
        del self.names[counter]
        return flow

    def _is_range(self, call: ast.Call) -> bool:
        named = isinstance(call.func, ast.Name) and call.func.id == "range"
        return named and "range" not in self.names and not call.keywords

    def _while(self, node: ast.While, later: frozenset[str]) -> Flow:
        return self._loop(node, lambda: self.condition(node.test), lambda: None, later, set())

    def _written_out(self, node: ast.For, rounds: range, later: frozenset[str]) -> Flow:
        assert isinstance(node.target, ast.Name)
        inside = later | _read(node.body)
        out, ended = Flow(), FALSE
        breaks: list[tuple[Expr, Names]] = []
        for i in rounds:

            def one(i: int = i) -> Flow:
                assert isinstance(node.target, ast.Name)
                self.names[node.target.id] = constant(i)
                return self.run(node.body, inside)

            step = self.under(not_(ended), one)
            reached = not_(ended)
            # Who broke goes on behind the loop, who continued goes on with the next round.
            breaks += [
                (and_(and_(reached, step.broke), condition), names)
                for condition, names in step.exits
                if step.broke != FALSE
            ]
            self._leave(node, [(c, n) for c, n in step.exits if step.continued != FALSE])
            step.continued, step.exits = FALSE, []
            self._sequence(out, step, ended)
            ended = or_(out.returned, out.broke)
            if ended == TRUE:
                break
        self._leave(node, breaks)
        return Flow(out.returned, out.value)

    def _loop(
        self,
        node: ast.For | ast.While,
        test: Callable[[], Expr],
        enter: Callable[[], None],
        later: frozenset[str],
        own: set[str],
    ) -> Flow:
        """Return the flow of a loop whose number of rounds is known only per row."""
        outer = dict(self.names)
        stored = _stored(node.body) | own
        if isinstance(node, ast.While):
            stored |= _stored([ast.Expr(node.test)])
        carried = sorted(n for n in stored if isinstance(outer.get(n), Value))
        start: dict[str, Value] = {}
        for name in carried:
            value = outer[name]
            assert isinstance(value, Value)
            if value.kind not in TYPES or value.nullable:
                raise Untranslatable(node.lineno, f'"{name}" may be None in a loop')
            start[name] = plain(value)
        self._count += 1
        label, made, result = self._count, _Round(Flow()), None
        for _ in range(4):
            variables = {
                n: Variable(f"{n.replace(' ', '.round')}.{label}", TYPES[v.kind])
                for n, v in start.items()
            }
            made, condition, checks = self._round(node, test, enter, start, variables, later)
            result = made.flow.value
            changed = self._promoted(node, start, made.names)
            if not changed:
                break
        else:
            raise Untranslatable(node.lineno, "a loop whose variables change their types")
        flow = made.flow
        steps: dict[str, Expr] = {}
        for name in start:
            value = made.names[name]
            assert isinstance(value, Value)
            steps[name] = as_float(value) if start[name].kind == "float" else value.expr
        extra: list[tuple[Variable, Expr, Expr]] = []
        if flow.returned != FALSE:
            extra.append((Variable(f"returned.{label}", BOOL), FALSE, flow.returned))
            if result is not None:
                if result.kind not in TYPES or result.nullable:
                    raise Untranslatable(node.lineno, "None returned out of a loop")
                zero = _zero(result.kind)
                extra.append((Variable(f"result.{label}", zero.type), zero, result.expr))
        if flow.broke != FALSE:
            extra.append((Variable(f"broke.{label}", BOOL), FALSE, flow.broke))
        going: Expr = condition
        for variable, _, _ in extra:
            if variable.type == BOOL and not variable.name.startswith("result"):
                going = and_(not_(variable), going)
        every = [*(variables[n] for n in start), *(v for v, _, _ in extra)]
        initial = [*(_typed(start[n]) for n in start), *(i for _, i, _ in extra)]
        step = [*(steps[n] for n in start), *(s for _, _, s in extra)]
        if not every:
            raise Untranslatable(node.lineno, "a loop that changes nothing")
        for check, message in reversed(checks):
            step[0] = ir.check(check, step[0], message)

        def outcome(variable: Variable) -> Iterate:
            return ir.iterate(every, initial, going, step, variable)

        self.names = outer
        for name in stored:
            if name not in start:
                self.names[name] = Unassigned()
        used = [name for name in start if name in later]
        for name in used:
            self.names[name] = Value(outcome(variables[name]), start[name].kind)
        by_name = {v.name: v for v, _, _ in extra}
        out = Flow()
        if flow.returned != FALSE:
            out.returned = outcome(by_name[f"returned.{label}"])
            if result is not None:
                out.value = Value(outcome(by_name[f"result.{label}"]), result.kind)
        if checks:
            # It may raise, whether or not anybody reads what it made.
            ran = outcome(variables[used[0]] if used else every[-1])
            self.need(node, not_(Unary("is_null", ran, BOOL)), "a loop")
        return out

    def _round(
        self,
        node: ast.For | ast.While,
        test: Callable[[], Expr],
        enter: Callable[[], None],
        start: Mapping[str, Value],
        variables: Mapping[str, Variable],
        later: frozenset[str],
    ) -> tuple[_Round, Expr, list[tuple[Expr, int]]]:
        """Translate one round over the loop's variables; also its condition, and its checks."""
        held_names, held_checks = self.names, self.checks
        self.names = dict(held_names)
        for name in _stored(node.body):
            self.names[name] = Unassigned()
        for name, variable in variables.items():
            self.names[name] = Value(variable, start[name].kind)
        self.checks = []
        try:
            condition = test()
            for check, message in reversed(self.checks):
                condition = ir.check(check, condition, message)
            self.checks = []
            enter()
            inside = later | _read(node.body) | _read([ast.Expr(node.test)] if isinstance(
                node, ast.While) else [])  # fmt: skip
            flow = self.run(node.body, inside)
            self._leave(node, flow.exits)
            checks, names = self.checks, self.names
        finally:
            self.names, self.checks = held_names, held_checks
        return _Round(flow, names), condition, checks

    def _promoted(self, node: ast.AST, start: dict[str, Value], after: Names) -> bool:
        """Make floats of the integers that a round makes floats of; say whether any was."""
        changed = False
        for name, value in start.items():
            made = after[name]
            if isinstance(made, Unassigned) or made.nullable:
                raise Untranslatable(getattr(node, "lineno", 1), f'"{name}" in a loop')
            if made.kind == value.kind:
                continue
            if (value.kind, made.kind) == ("int", "float"):
                start[name] = Value(as_float(value), "float")
                changed = True
            elif (value.kind, made.kind) != ("float", "int"):
                kinds = f"a {value.kind} that becomes a {made.kind}"
                raise Untranslatable(getattr(node, "lineno", 1), f'"{name}": {kinds} in a loop')
            elif not isinstance(made.expr, Literal):
                raise Untranslatable(
                    getattr(node, "lineno", 1), f'"{name}": an integer and a float in a loop'
                )
        return changed


def _typed(value: Value) -> Expr:
    return as_int(value) if value.kind == "int" else value.expr


def _zero(kind: str) -> Literal:
    if kind == "bool":
        return FALSE
    return real(0.0) if kind == "float" else Literal(0, TYPES[kind])


def _returned(source: PythonSource, value: Value, returns: SqlType) -> Expr:
    """Return the function's value in the type that it is declared to return."""
    target = returns.ir
    if target is None:
        raise Untranslatable(_line(source), f"it returns {returns.text}")
    if value.kind == "none":
        return Literal(None, target)
    kind = _KINDS.get(returns.text, "int" if isinstance(target, type(I64)) else "")
    if kind == value.kind:
        return ir.cast(value.expr, target)
    if kind == "float" and value.kind in ("int", "bool", "big"):
        if value.nullable:
            return ir.cast(value.expr, target)
        return ir.cast(as_float(value), target)
    if kind == "int" and value.kind == "bool" and not value.nullable:
        return ir.cast(as_int(value), target)
    raise Untranslatable(_line(source), f"it returns a {value.kind}, declared {returns.text}")


def _line(source: PythonSource) -> int:
    return source.body[0].lineno


def _read(body: Sequence[ast.AST]) -> frozenset[str]:
    """Return the names that statements read."""
    found: set[str] = set()
    for node in body:
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Store):
                found.add(part.id)
            elif isinstance(part, ast.AugAssign) and isinstance(part.target, ast.Name):
                found.add(part.target.id)
    return frozenset(found)


def _stored(body: Sequence[ast.AST]) -> set[str]:
    """Return the names that statements assign."""
    return {
        part.id
        for node in body
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }


def _written_out(root: Expr) -> int:
    """Return how many nodes an expression has when shared parts are counted each time."""
    sizes: dict[int, int] = {}
    stack: list[tuple[Expr, bool]] = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if id(node) in sizes:
            continue
        parts = children(node)
        if ready:
            sizes[id(node)] = 1 + sum(sizes[id(part)] for part in parts)
        else:
            stack.append((node, True))
            stack.extend((part, False) for part in parts if id(part) not in sizes)
    return sizes[id(root)]
