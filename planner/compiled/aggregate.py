"""A block with aggregates as one program: its keys and folds computed, the rest left to DuckDB.

The program replaces FROM, WHERE and GROUP BY. Items, HAVING, ORDER BY and LIMIT stay as they are
written, with keys and aggregates replaced in place by the program's columns: HAVING becomes a WHERE
over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from foveal.errors import Span
from foveal.planner.compiled.plan import Candidate, Output, Rewrite
from foveal.planner.compiled.reading import Reading
from foveal.planner.compiled.refusal import NotCompilable
from foveal.planner.compiled.sourcing import See, Sourced, sourced
from foveal.planner.compiled.syntax import Syntax
from foveal.planner.compiled.tables import Facts
from foveal.planner.ir import typing
from foveal.planner.ir.nodes import TRUE, Expr, Literal
from foveal.planner.ir.program import Builder, Fold, Group, Key, Struct
from foveal.planner.parse.parts import word_at
from foveal.planner.parse.statement import Block

AGGREGATES = {"sum": "sum", "min": "min", "max": "max", "count": "count", "avg": "avg",
              "mean": "avg", "any_value": "first"}  # fmt: skip
"""DuckDB's aggregates that programs compute, and which fold each is."""


@dataclass(slots=True)
class _Key:
    """A key: the text it stands for, and its name in the rewritten text."""

    syntax: Syntax
    name: str
    expr: Expr


@dataclass(slots=True)
class _Aggregate:
    """An aggregate's call, and the text over the program's columns that stands for it."""

    syntax: Syntax
    text: str


class Aggregation:
    """One block on its way to a candidate."""

    def __init__(
        self,
        reading: Reading,
        block: Block,
        facts: Facts,
        parameters: Mapping[str, object],
        name: str,
        users: frozenset[str],
    ) -> None:
        """Read the block.

        Raises:
            NotCompilable: it is no block that a program can stand for.
        """
        self.reading, self.block, self.name = reading, block, name
        if block.from_ is None or not block.items or block.items[0].start > block.from_.start:
            raise NotCompilable("a block of this form", block.span)
        for part, what in ((block.window, "WINDOW"), (block.qualify, "QUALIFY")):
            if part is not None:
                raise NotCompilable(what, part)
        self.items = reading.items(block)
        aliases = {i.alias: i.expr for i in self.items if i.alias}
        self.sourced: Sourced = sourced(reading, block, facts, parameters, aliases, name, users)
        self.tables, self.translator = self.sourced.tables, self.sourced.translator
        self.keys = [self._key(i, node) for i, node in enumerate(self._key_nodes())]
        self.folds: dict[Fold, Output] = {}
        self.aggregates: list[_Aggregate] = []
        for node in self._clauses():
            self._collect(node)
        if not self.keys and not self.aggregates:
            raise NotCompilable("no aggregate", block.span)

    # --- keys and folds ----------------------------------------------------------------------

    def _key_nodes(self) -> list[Syntax]:
        block = self.block
        if block.group_by is None:
            if block.distinct:
                raise NotCompilable("DISTINCT", block.span)
            return []
        if not block.group_keys:
            return [i.expr for i in self.items if not any(_folds(n) for n in i.expr.walk())]
        found: list[Syntax] = []
        for span in block.group_keys:
            node = self.reading.expression(span)
            if node.kind == "number" and node.text.isdigit():
                at = int(node.text) - 1
                if not 0 <= at < len(self.items):
                    raise NotCompilable("an ordinal out of range", span)
                node = self.items[at].expr
            elif node.kind == "name" and self.tables.find(node) is None:
                node = self.tables.aliases.get(node.text, node)
            found.append(node)
        return found

    def _key(self, at: int, node: Syntax) -> _Key:
        expr = self.translator.value(node)
        if isinstance(expr, Literal):
            raise NotCompilable("a constant as a key", node.span)
        return _Key(node, f"__{self.name}_k{at}", expr)

    def _clauses(self) -> list[Syntax]:
        """Return the expressions that may hold aggregates."""
        block = self.block
        found = [i.expr for i in self.items]
        if block.having is not None:
            found.append(self.reading.expression(block.having))
        return found + [node for node, _ in self._order_nodes()]

    def _order_nodes(self) -> list[tuple[Syntax, bool]]:
        """Return ORDER BY's expressions, and whether each is an alias or ordinal by itself."""
        if self.block.order_by is None or self.block.in_set:
            return []
        found: list[tuple[Syntax, bool]] = []
        for node in self.reading.ordered(self.block.order_by):
            bare = node.kind == "number" or (
                node.kind == "name" and node.text in self.tables.aliases
            )
            found.append((node, bare))
        return found

    def _is_key(self, node: Syntax) -> _Key | None:
        for key in self.keys:
            if key.syntax == node:
                return key
        if node.kind != "name":
            return None
        found = self.tables.find(node)
        if found is None:
            return None
        for key in self.keys:
            if key.syntax.kind == "name" and self.tables.find(key.syntax) == found:
                return key
        return None

    def _collect(self, node: Syntax) -> None:
        if self._is_key(node) is not None:
            return
        if _folds(node):
            if not any(made.syntax == node for made in self.aggregates):
                self.aggregates.append(_Aggregate(node, self._aggregate(node)))
            return
        for part in node.parts:
            self._collect(part)

    def _aggregate(self, node: Syntax) -> str:
        """Return the text that stands for an aggregate, its folds noted.

        AVG is a sum over a count where that gives DuckDB's very value: other aggregates share them.
        """
        operand = self._operand(node)
        op = AGGREGATES[node.text]
        written = self.reading.fragment(node.span)
        if op != "avg" or operand is None or not written.lower().startswith(node.text):
            return self._named(op, operand, written, node)
        rest = written[len(node.text) :]
        if not self.sourced.averages_by_sum(operand):
            return self._named(op, operand, written, node)
        total = self._named("sum", operand, "sum" + rest, node)
        count = self._named("count", operand, "count" + rest, node)
        return f"(CAST({total} AS DOUBLE) / {count})"

    def _named(self, op: str, operand: Expr | None, written: str, node: Syntax) -> str:
        """Return the column of a fold; equal folds have one."""
        known = self.sourced
        plain = operand is None or not (known.nullable(operand) or known.can_raise(operand))
        if op == "count" and plain:
            operand = None
        try:
            fold = typing.fold(op, operand)
        except typing.IrTypeError as error:
            raise NotCompilable(str(error), node.span) from None
        found = self.folds.get(fold)
        if found is None:
            name = f"__{self.name}_a{len(self.folds)}"
            found = self.folds[fold] = Output(name, written, fold.type)
        return found.name

    def _operand(self, node: Syntax) -> Expr | None:
        """Return what an aggregate takes of a row, NULL where its FILTER is not true."""
        if node.text in self.translator.hidden:
            raise NotCompilable(f"{node.text}() is the user's own", node.span)
        if node.distinct and AGGREGATES[node.text] not in ("min", "max"):
            raise NotCompilable("an aggregate of DISTINCT values", node.span)
        condition = None if node.filter is None else self.translator.condition(node.filter)
        if not node.parts or node.parts[0].kind == "star":
            if AGGREGATES[node.text] != "count":
                raise NotCompilable(f"{node.text}(*)", node.span)
            if condition is None:
                return None
            return typing.select(condition, TRUE, Literal(None, TRUE.type))
        if len(node.parts) != 1:
            raise NotCompilable(f"{node.text}() of {len(node.parts)} arguments", node.span)
        if any(_folds(n) for n in node.parts[0].walk()):
            raise NotCompilable("an aggregate of an aggregate", node.span)
        operand = self.translator.value(node.parts[0])
        if condition is None:
            return operand
        if self.sourced.can_raise(operand):  # DuckDB computes it for the other rows too
            raise NotCompilable("an operand that may raise beside a FILTER", node.span)
        return typing.select(condition, operand, Literal(None, operand.type))

    # --- the candidate -----------------------------------------------------------------------

    def candidate(self) -> Candidate:
        """Return the program and the edits around it."""
        program, reads, entries = self.sourced.program(self.name, self._builder)
        keys = [Output(k.name, self.reading.fragment(k.syntax.span), k.expr.type)
                for k in self.keys]  # fmt: skip
        outputs = (*keys, *self.folds.values())
        assert self.block.from_ is not None
        source = self.reading.fragment(self.block.from_)
        listed = ", ".join(o.text for o in outputs)
        grouped = ", ".join(str(i + 1) for i in range(len(self.keys)))
        probe = f"SELECT {listed} FROM {source}" + (f" GROUP BY {grouped}" if grouped else "")
        unnamed = tuple((i, item.span.end) for i, item in enumerate(self.items) if not item.alias)
        return Candidate(
            "aggregate",
            self.name,
            program,
            reads,
            entries,
            outputs,
            self.block.span,
            probe,
            naming=self.reading.fragment(self.block.span) if unnamed else "",
            checks=self.sourced.checks(),
            edits=tuple(self._edits()),
            unnamed=unnamed,
            what=self._what(),
        )

    def _builder(self, see: See) -> Builder:
        fields = tuple(
            (output.name, Fold(fold.op, None if fold.operand is None else see(fold.operand),
                               fold.type))
            for fold, output in self.folds.items()
        )  # fmt: skip
        if not self.keys:
            return Struct(fields)
        keys: list[Key] = []
        for key in self.keys:
            low, high, nullable = self.sourced.range(key.expr)
            keys.append(Key(key.name, see(key.expr), nullable, low, high))
        return Group(tuple(keys), fields)

    def _what(self) -> str:
        keys = f" by {_counted(len(self.keys), 'key')}" if self.keys else ""
        tables = ", ".join(self.sourced.facts_by_source)
        return f"{_counted(len(self.aggregates), 'aggregate')}{keys} of {tables}"

    def _edits(self) -> list[Rewrite]:
        """Return the edits of the block's text."""
        block = self.block
        assert block.from_ is not None
        last = block.group_by or block.where or block.from_
        edits = [Rewrite(Span(block.from_.start, last.end), "{relation}")]
        for item in self.items:
            self._replace(item.expr, edits)
        if block.having is not None:
            keyword = next(
                i
                for i, t in enumerate(self.reading.tokens)
                if t.end <= block.having.start
                and word_at(self.reading.tokens, i) == "HAVING"
                and self.reading.tokens[i + 1].start == block.having.start
            )
            token = self.reading.tokens[keyword]
            edits.append(Rewrite(Span(token.start, token.end), "WHERE"))
            self._replace(self.reading.expression(block.having), edits)
        for node, bare in self._order_nodes():
            if not bare:
                self._replace(node, edits)
        return edits

    def _replace(self, node: Syntax, edits: list[Rewrite]) -> None:
        """Put the program's columns in place of keys and aggregates."""
        key = self._is_key(node)
        made = next((a for a in self.aggregates if a.syntax == node), None)
        if key is not None or made is not None:
            text = key.name if key is not None else made.text if made is not None else ""
            edits.append(Rewrite(node.span, text))
            return
        if node.kind == "name":
            if self.tables.find(node) is not None:
                raise NotCompilable("a column that is no key", node.span)
            if "\0" in node.text or node.text not in self.tables.aliases:
                raise NotCompilable("a name that is none of this block", node.span)
        if node.kind in ("query", "exists"):
            self.sourced.independent(node)
            return
        for part in node.parts:
            self._replace(part, edits)


def _folds(node: Syntax) -> bool:
    return node.kind == "call" and node.text in AGGREGATES


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
