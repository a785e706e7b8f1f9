"""Where one block's rows come from: its tables as sources, its conditions, joins and semi-joins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from foveal.errors import Span
from foveal.planner.compiled.dictionary import Dictionaries
from foveal.planner.compiled.facts import ColumnFacts, TableFacts
from foveal.planner.compiled.joins import MAX_KEYS, SPARSE, Tree, columns_of
from foveal.planner.compiled.plan import EntryTable, Read
from foveal.planner.compiled.reading import Reading
from foveal.planner.compiled.refusal import NotCompilable
from foveal.planner.compiled.syntax import Syntax
from foveal.planner.compiled.tables import Facts, Tables, split, table_of
from foveal.planner.compiled.translate import Translator
from foveal.planner.ir import program, typing
from foveal.planner.ir.facts import ranged
from foveal.planner.ir.inference import Inference
from foveal.planner.ir.inference import TableFacts as EntryFacts
from foveal.planner.ir.nodes import (
    FALSE,
    Binary,
    Column,
    Expr,
    Lookup,
    children,
    rebuilt,
)
from foveal.planner.ir.program import (
    Append,
    Bitmap,
    Builder,
    Group,
    Loop,
    Program,
    Scatter,
    Source,
    Struct,
    TopK,
)
from foveal.planner.ir.types import BOOL, Decimal, Float, Int, Type
from foveal.planner.parse.statement import Block

See = Callable[[Expr], Expr]
MAX_SPAN = 1 << 30
"""Bounds of a key that lie farther apart count as not known."""


@dataclass
class Sourced:
    """One block's sources.

    `tables` says what names mean. `facts_by_source` are the tables that the program joins, by what
    it calls them, those of sub-queries in FROM included; `inner` those that semi-joins read;
    `names` the tables' names as written.
    """

    reading: Reading
    block: Block
    facts: Facts
    parameters: Mapping[str, object]
    dictionaries: Dictionaries
    users: frozenset[str]
    aliases: Mapping[str, Syntax]
    prefix: str = ""
    tables: Tables = field(init=False)
    translator: Translator = field(init=False)
    facts_by_source: dict[str, TableFacts] = field(default_factory=dict[str, TableFacts])
    names: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    where: list[Expr] = field(default_factory=list[Expr])
    semi: list[Loop] = field(default_factory=list[Loop])
    inner: dict[str, TableFacts] = field(default_factory=dict[str, TableFacts])
    below: list[Sourced] = field(default_factory=list["Sourced"])

    def __post_init__(self) -> None:
        """Read FROM and the conditions.

        Raises:
            NotCompilable: they are more than programs do.
        """
        relations = self.reading.relations(self.block)
        by_alias: dict[str, TableFacts] = {}
        inside: dict[str, str] = {}
        derived: dict[str, Mapping[str, Expr]] = {}
        for relation in relations:
            alias = relation.alias
            if relation.join not in ("comma", "inner", "cross"):
                raise NotCompilable(f"a {relation.join} join", relation.span)
            if alias in inside or alias in derived or "." in alias or "/" in alias:
                raise NotCompilable("two tables of one name", relation.span)
            if relation.query is not None:
                derived[alias] = self._flattened(relation.query, f"{self.prefix}{alias}/")
                continue
            table = table_of(relation, self.facts, self.reading.hidden)
            source = f"{self.prefix}{alias}"
            by_alias[alias], inside[alias] = table, source
            self.facts_by_source[source], self.names[source] = table, relation.table
        self.tables = Tables(by_alias, self.aliases, inside, derived)
        self.translator = Translator(
            self.tables.resolve, self.parameters, self.dictionaries, self._subquery, self.users,
            self.reading.functions,
        )  # fmt: skip
        for node in self.reading.conditions(self.block, relations):
            self.where += _conjuncts(self.translator.condition(node))

    def _flattened(self, span: Span, prefix: str) -> Mapping[str, Expr]:
        """Return the columns of a sub-query in FROM that only joins, filters and projects."""
        block = self.reading.inner(span)
        _plain_block(block)
        items = self.reading.items(block)
        aliases = {i.alias: i.expr for i in items if i.alias}
        made = Sourced(
            self.reading, block, self.facts, self.parameters, self.dictionaries, self.users,
            aliases, prefix,
        )  # fmt: skip
        self.below.append(made)
        self.facts_by_source |= made.facts_by_source
        self.names |= made.names
        self.where += made.where
        self.semi += made.semi
        self.inner |= made.inner
        columns: dict[str, Expr] = {}
        for item in items:
            bare = item.expr.text.split("\0")[-1] if item.expr.kind == "name" else ""
            name = item.alias or bare
            if name in columns:
                raise NotCompilable("two columns of one name", item.span)
            if name:
                columns[name] = made.translator.value(item.expr)
        return columns

    # --- semi-joins --------------------------------------------------------------------------

    def _subquery(self, query: Syntax, operand: Syntax | None) -> Expr:
        """Return EXISTS, or `operand` IN, of a sub-query over one table: a bit per key."""
        block = self.reading.inner(query.span)
        _plain_block(block)
        relations = self.reading.relations(block)
        if len(relations) != 1:
            raise NotCompilable("a sub-query over several tables", query.span)
        own = relations[0].alias
        table = table_of(relations[0], self.facts, self.reading.hidden)
        alias = f"{self.prefix}{own}@{len(self.inner) + 1}"
        mine = Tables({own: table}, {}, {own: alias})

        def resolve(node: Syntax) -> Expr | Syntax:
            return (mine if mine.find(node) is not None else self.tables).resolve(node)

        inner = Translator(
            resolve, self.parameters, self.dictionaries, None, self.users, self.reading.functions
        )
        where: list[Expr] = []
        keys: list[tuple[Expr, Expr]] = []
        for node in self.reading.conditions(block, relations):
            condition = inner.condition(node)
            seen = {split(c.name)[0] for c in columns_of(condition)}
            if seen <= {alias}:
                where.append(condition)
            else:
                keys.append(_correlation(condition, alias, node))
        if operand is not None:
            items = self.reading.items(block)
            if len(items) != 1:
                raise NotCompilable("a sub-query of this form", query.span)
            keys.append((inner.value(items[0].expr), self.translator.value(operand)))
        if len(keys) != 1:
            raise NotCompilable("a sub-query of this form", query.span)
        key, outer = keys[0]
        if not isinstance(key, Column) or not isinstance(key.type, Int):
            raise NotCompilable("a sub-query without an integer key", query.span)
        column = table.column(split(key.name)[1])
        assert column is not None
        if column.low is None or column.high is None:
            if column.resident:
                raise NotCompilable("a key without values", query.span)
        elif column.high - column.low + 1 > min(MAX_KEYS, SPARSE * table.rows + 4096):
            raise NotCompilable("a key that is not dense", query.span)
        name = f"{alias}: keys"
        low, high = column.low or 0, column.high or 0
        index = _plain(key, alias)
        test = typing.both(*(_plain(c, alias) for c in where)) if where else None
        self.inner[alias] = table
        self.names[alias] = relations[0].table
        self.semi.append(Loop(name, alias, Bitmap(index, low, high), test))
        return typing.coalesce(Lookup(name, outer, BOOL, low), FALSE)

    def independent(self, node: Syntax) -> None:
        """Check that a sub-query left to DuckDB does not look at this block's tables.

        Raises:
            NotCompilable: it may.
        """
        inside = [b for b in self.reading.blocks
                  if node.span.start < b.span.start and b.span.end < node.span.end]  # fmt: skip
        own: list[TableFacts] = []
        qualifiers: set[str] = set()
        for block in inside:
            relations = self.reading.relations(block)
            for relation in relations:
                table = self.facts.get(relation.table) if relation.table else None
                if table is None:
                    raise NotCompilable("a sub-query that may look outside", node.span)
                own.append(table)
                qualifiers.add(relation.alias)
        tokens = self.reading.tokens_in(node.span)
        for i, token in enumerate(tokens):
            if not token.name:
                continue
            name = token.name.lower()
            qualifies = i + 1 < len(tokens) and tokens[i + 1].text == "."
            if qualifies and name in self.tables.by_alias and name not in qualifiers:
                raise NotCompilable("a sub-query that looks outside", node.span)
            outer = any(t.column(name) is not None for t in self.tables.by_alias.values())
            if outer and not any(t.column(name) is not None for t in own):
                raise NotCompilable("a sub-query that may look outside", node.span)

    # --- the program -------------------------------------------------------------------------

    def program(
        self, name: str, how: Callable[[See], Builder]
    ) -> tuple[Program, dict[str, Read], tuple[EntryTable, ...]]:
        """Return the program, what it reads, its dictionary tables. `how` makes its builder."""
        for argument, call in self.dictionaries.beside:
            if self.can_raise(argument):  # DuckDB computes it where the body does not
                raise NotCompilable("a function's argument that may raise", call)
        tree = Tree(self.facts_by_source, self.names, self.where)
        loops = tree.loops(name, how, self.semi)
        facts = {**self.facts_by_source, **self.inner}
        sources: list[Source] = []
        reads: dict[str, Read] = {}
        for loop in loops:
            if loop.source in reads:
                continue
            wanted: dict[str, None] = {}
            for other in loops:
                if other.source == loop.source:
                    for expr in (*builder_exprs(other.builder), *filter(None, (other.where,))):
                        wanted.update((c.name, None) for c in columns_of(expr))
            columns = [_column(facts[loop.source], c) for c in wanted]
            sources.append(Source(loop.source, tuple(columns)))
            reads[loop.source] = Read(self.names[loop.source], tuple(wanted))
        used = {t for loop in loops for t in _looked_up(loop)}
        entries = tuple(
            EntryTable(
                t.name,
                self.reading.fragment(t.span),
                t.alias,
                t.column,
                *split(t.of),
                t.type,
            )
            for t in self.dictionaries.tables.values()
            if t.name in used
        )
        declared = tuple(t for t in self.dictionaries.declared(self.distinct) if t.name in used)
        made = Program(
            name, tuple(sources), loops, (name,), tables=declared,
            messages=tuple(self.dictionaries.messages),
        )  # fmt: skip
        return made, reads, entries

    def facts_of(self, name: str) -> ColumnFacts | None:
        """Return the facts of `alias.column`."""
        alias, column = split(name)
        table = self.facts_by_source.get(alias) or self.inner.get(alias)
        return table.column(column) if table is not None else None

    def distinct(self, name: str) -> int | None:
        """Return how many entries the dictionary of `alias.column` has."""
        found = self.facts_of(name)
        return found.distinct if found is not None else None

    @cached_property
    def _inference(self) -> Inference:
        """Return what is known of the block's expressions, columns being `alias.column`."""
        columns = {
            f"{alias}.{c.name}": ranged(c.type, c.low, c.high, nullable=c.nullable)
            for alias, table in {**self.facts_by_source, **self.inner}.items()
            for c in table.columns
            if c.type is not None
        }
        tables = {
            t.name: EntryFacts(ranged(t.type, t.low, t.high, nullable=t.nullable), t.size)
            for t in self.dictionaries.declared(self.distinct)
        }
        return Inference(columns, tables=tables)

    def range(self, expr: Expr) -> tuple[int | None, int | None, bool]:
        """Return bounds of an expression's stored integers, and whether it may be NULL."""
        found = self._inference.facts(expr)
        if found.low is None or found.high is None or found.high - found.low > MAX_SPAN:
            return None, None, found.nullable
        return found.low, found.high, found.nullable

    def nullable(self, expr: Expr) -> bool:
        """Say whether an expression may be NULL."""
        return self._inference.facts(expr).nullable

    def can_raise(self, expr: Expr) -> bool:
        """Say whether computing an expression may raise, for some row."""
        return self._inference.facts(expr).can_raise

    def averages_by_sum(self, operand: Expr) -> bool:
        """Say whether AVG is the sum as a DOUBLE over the count, to the last bit, as in DuckDB.

        Of BIGINT it divides in more than 64 bits, which differs where sums pass 2**53.
        """
        type_ = operand.type
        if isinstance(type_, Int) and type_.bits == 64:
            low, high, _ = self.range(operand)
            rows = max((t.rows for t in self.facts_by_source.values()), default=0)
            if low is None or high is None:
                return False
            return max(abs(low), abs(high)) * rows < 2**53
        return isinstance(type_, Int | Decimal | Float)

    def checks(self) -> tuple[tuple[str, tuple[Type, ...]], ...]:
        """Return queries of the typed parts of expressions, and their types here."""
        texts: list[str] = []
        types: list[Type] = []
        for node, type_ in self.translator.typed.items():
            if any(n.kind == "name" and self.tables.find(n) is None for n in node.walk()):
                continue
            texts.append(self.reading.fragment(node.span))
            types.append(type_)
        below = tuple(check for source in self.below for check in source.checks())
        assert self.block.from_ is not None
        source = self.reading.fragment(self.block.from_)
        if not texts:
            return below
        return (*below, (f"SELECT {', '.join(texts)} FROM {source}", tuple(types)))


def sourced(
    reading: Reading,
    block: Block,
    facts: Facts,
    parameters: Mapping[str, object],
    aliases: Mapping[str, Syntax],
    name: str,
    users: frozenset[str],
) -> Sourced:
    """Return a block's sources, its conditions translated.

    Raises:
        NotCompilable: FROM or a condition is more than programs do.
    """
    dictionaries = Dictionaries(f"{name} entries ", users)
    return Sourced(reading, block, facts, parameters, dictionaries, users, aliases)


def _plain_block(block: Block) -> None:
    """Check that a sub-query only joins, filters and projects.

    Raises:
        NotCompilable: it does more.
    """
    parts = (block.group_by, block.having, block.window, block.qualify, block.order_by,
             block.limit, block.offset)  # fmt: skip
    if block.distinct or any(part is not None for part in parts):
        raise NotCompilable("a sub-query of this form", block.span)


def _conjuncts(expr: Expr) -> list[Expr]:
    if isinstance(expr, Binary) and expr.op == "and":
        return [*_conjuncts(expr.left), *_conjuncts(expr.right)]
    return [expr]


def _correlation(condition: Expr, alias: str, node: Syntax) -> tuple[Expr, Expr]:
    """Return (inner, outer) of an equality between an inner column and the outer row."""
    if isinstance(condition, Binary) and condition.op == "eq":
        for mine, other in (
            (condition.left, condition.right),
            (condition.right, condition.left),
        ):
            outer = {split(c.name)[0] for c in columns_of(other)}
            if isinstance(mine, Column) and split(mine.name)[0] == alias and alias not in outer:
                return mine, other
    raise NotCompilable("a sub-query that looks outside in this way", node.span)


def _plain(expr: Expr, alias: str) -> Expr:
    """Return an expression over one table with the table's own column names."""
    if isinstance(expr, Column):
        own, name = split(expr.name)
        assert own == alias
        return Column(name, expr.type)
    parts = children(expr)
    return rebuilt(expr, tuple(_plain(p, alias) for p in parts)) if parts else expr


def _column(table: TableFacts, name: str) -> program.Column:
    facts = table.column(name)
    assert facts is not None
    assert facts.type is not None
    assert facts.storage is not None
    return program.Column(
        facts.name, facts.type, facts.storage, facts.nullable, facts.low, facts.high
    )


def builder_exprs(builder: Builder) -> list[Expr]:
    """Return the expressions that a builder takes of a row."""
    match builder:
        case Struct(fields):
            return [f.operand for _, f in fields if f.operand is not None]
        case Group(keys, fields):
            folds = [f.operand for _, f in fields if f.operand is not None]
            return [*(k.expr for k in keys), *folds]
        case Append(fields):
            return [expr for _, expr in fields]
        case Bitmap(index):
            return [index]
        case Scatter(index, value):
            return [index, value]
        case TopK(_, order, fields):
            return [*(o.expr for o in order), *(expr for _, expr in fields)]


def _looked_up(loop: Loop) -> set[str]:
    """Return the names of the tables that a loop looks up in."""
    found: set[str] = set()
    stack = [*builder_exprs(loop.builder), *filter(None, (loop.where,))]
    while stack:
        expr = stack.pop()
        if isinstance(expr, Lookup):
            found.add(expr.table)
        stack += children(expr)
    return found
