"""A statement as programs see it: its SELECT blocks, their items, tables and sub-queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from foveal.errors import FovealError, Span
from foveal.planner.compiled.reader import Reader, read
from foveal.planner.compiled.refusal import NotCompilable
from foveal.planner.compiled.sources import Relation, read_from, table_expressions
from foveal.planner.compiled.syntax import Syntax, conjuncts
from foveal.planner.ir.function import IrFunction
from foveal.planner.parse.blocks import ClauseRun, scan_blocks
from foveal.planner.parse.clauses import parameter_keys
from foveal.planner.parse.lexer import tokenize
from foveal.planner.parse.parts import is_op
from foveal.planner.parse.statement import Block, Clauses, Token
from foveal.planner.parse.wrappers import unwrap
from foveal.planner.text import Edit, apply

_WHOLE_REFUSALS = frozenset({"SAMPLE", "TABLESAMPLE", "RECURSIVE", "PIVOT", "UNPIVOT", "ASOF"})


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a select list. `alias` is folded, "" where the text gives none."""

    expr: Syntax
    alias: str
    span: Span


@dataclass(frozen=True)
class Reading:
    """A SELECT statement read lexically. `hidden`: names that WITH gives.

    `functions`: the user's functions that calls are replaced by, by folded name.
    """

    text: str
    tokens: tuple[Token, ...]
    keys: Mapping[int, str]
    blocks: tuple[Block, ...]
    hidden: frozenset[str]
    functions: Mapping[str, IrFunction] = field(default_factory=dict[str, IrFunction])

    def expression(self, span: Span) -> Syntax:
        """Return the expression at a place. Raises NotCompilable."""
        return read(self.tokens, self.keys, span)

    @cached_property
    def _numbered(self) -> list[Edit]:
        return [
            Edit(Span(t.start, t.end), f"${self.keys[t.start]}")
            for t in self.tokens
            if t.kind == "param"
        ]

    def fragment(self, span: Span, edits: Sequence[Edit] = ()) -> str:
        """Return the text at a place, its parameters by number or name, with further edits."""
        return apply(self.text, [*self._numbered, *edits], span).text

    @property
    def parameter_edits(self) -> list[Edit]:
        """Return the edits that number the parameters."""
        return self._numbered

    def items(self, block: Block) -> tuple[Item, ...]:
        """Return the items of a block. Raises NotCompilable: a star, a window or the like."""
        return tuple(self._item(span) for span in block.items)

    def _item(self, span: Span) -> Item:
        inside = [t for t in self.tokens if span.start <= t.start and t.end <= span.end]
        reader = Reader(inside, self.keys)
        expr = reader.expression(0)
        alias = ""
        if reader.word() == "AS":
            reader.at += 1
            if reader.kind() not in ("word", "quoted"):
                raise reader.refused()
        if reader.kind() in ("word", "quoted"):
            alias = reader.tokens[reader.at].name.lower()
            reader.at += 1
        if reader.at < len(inside):
            raise reader.refused()
        return Item(expr, alias, span)

    def relations(self, block: Block) -> tuple[Relation, ...]:
        """Return the items of a block's FROM. Raises NotCompilable."""
        if block.from_ is None:
            raise NotCompilable("no FROM", block.span)
        return read_from(self.tokens, self.keys, block.from_)

    def conditions(self, block: Block, relations: Sequence[Relation]) -> list[Syntax]:
        """Return the conjuncts of WHERE and of the joins' ON. Raises NotCompilable."""
        found: list[Syntax] = []
        for relation in relations:
            if relation.on is not None:
                found += conjuncts(relation.on)
        if block.where is not None:
            found += conjuncts(self.expression(block.where))
        return found

    def ordered(self, span: Span) -> list[Syntax]:
        """Return the expressions of ORDER BY, without their directions. Raises NotCompilable."""
        reader = Reader(self.tokens_in(span), self.keys)
        if reader.word() == "ALL":  # the items, in order
            reader.at += 1
            found = list[Syntax]()
        else:
            found = [reader.expression(0)]
        while True:
            if reader.word() in ("ASC", "DESC"):
                reader.at += 1
            if reader.word() == "NULLS":
                reader.at += 2
            if reader.op() != ",":
                break
            reader.at += 1
            found.append(reader.expression(0))
        if reader.at < len(reader.tokens):
            raise reader.refused()
        return found

    def inner(self, span: Span) -> Block:
        """Return the block of a sub-query in brackets at `span`.

        Raises:
            NotCompilable: it is more than one SELECT.
        """
        inside = [b for b in self.blocks if span.start < b.span.start and b.span.end < span.end]
        outermost = [b for b in inside if not any(_holds(o, b) for o in inside if o is not b)]
        if len(outermost) != 1 or outermost[0].in_set:
            raise NotCompilable("a sub-query of this form", span)
        block = outermost[0]
        between = self.text[span.start + 1 : block.span.start]
        if between.strip():
            raise NotCompilable("a sub-query of this form", span)
        return block

    def tokens_in(self, span: Span) -> list[Token]:
        """Return the tokens at a place."""
        return [t for t in self.tokens if span.start <= t.start and t.end <= span.end]


def _holds(outer: Block, inner: Block) -> bool:
    return outer.span.start <= inner.span.start and inner.span.end <= outer.span.end


def read_statement(text: str) -> Reading:
    """Return a statement's reading.

    Raises:
        NotCompilable: it is no SELECT that could hold a program.
    """
    try:
        tokens = tokenize(text)
        while tokens and is_op(tokens[-1], ";"):
            tokens = tokens[:-1]
        wrapped = unwrap(tokens)
        if wrapped is None or wrapped.kind != "select":
            raise NotCompilable("no SELECT")
        for token in tokens:
            if token.kind == "word" and token.text.upper() in _WHOLE_REFUSALS:
                raise NotCompilable(token.text.upper(), Span(token.start, token.end))
        keys = parameter_keys(tokens)
        blocks = scan_blocks(tokens, wrapped.start, wrapped.end, _no_clauses)
    except FovealError as error:  # DuckDB reads it, and words the error
        raise NotCompilable(error.message, error.span) from None
    return Reading(text, tokens, keys, blocks, table_expressions(tokens))


def _no_clauses(runs: Sequence[ClauseRun], limited: bool) -> Clauses:
    del limited
    if runs:
        raise NotCompilable("a clause of foveal's")
    return Clauses()
