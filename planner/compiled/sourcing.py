"""Where one block's rows come from: its tables as sources, its conditions, joins and semi-joins."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from foveal.planner.compiled.dictionary import Dictionaries
from foveal.planner.compiled.facts import ColumnFacts, TableFacts
from foveal.planner.compiled.joins import MAX_KEYS, SPARSE, Tree, columns_of
from foveal.planner.compiled.plan import EntryTable, Read
from foveal.planner.compiled.reading import Reading
from foveal.planner.compiled.refusal import NotCompilable
from foveal.planner.compiled.sources import Relation
from foveal.planner.compiled.syntax import Syntax
from foveal.planner.compiled.tables import Facts, Tables, split, tables_of
from foveal.planner.compiled.translate import Translator
from foveal.planner.ir import program, typing
from foveal.planner.ir.nodes import (
    FALSE,
    Binary,
    Cast,
    Coalesce,
    Column,
    Expr,
    Literal,
    Lookup,
    Select,
    Unary,
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
from foveal.planner.ir.types import BOOL, Bool, Code, Decimal, Float, Int, Type
from foveal.planner.parse.statement import Block

See = Callable[[Expr], Expr]


@dataclass(slots=True)
class Sourced:
    """One block's sources. `relations` are its FROM's items, each with its table in `names`."""

    reading: Reading
    block: Block
    relations: tuple[Relation, ...]
    tables: Tables
    names: dict[str, tuple[str, ...]]
    facts: Facts
    parameters: Mapping[str, object]
    dictionaries: Dictionaries
    users: frozenset[str]
    translator: Translator = field(init=False)
    where: list[Expr] = field(default_factory=list[Expr])
    semi: list[Loop] = field(default_factory=list[Loop])
    inner: dict[str, TableFacts] = field(default_factory=dict[str, TableFacts])

    def __post_init__(self) -> None:
        """Make the translator of the block's expressions."""
        self.translator = Translator(
            self.tables.resolve, self.parameters, self.dictionaries, self._subquery, self.users
        )

    # --- semi-joins --------------------------------------------------------------------------

    def _subquery(self, query: Syntax, operand: Syntax | None) -> Expr:
        """Return EXISTS, or `operand` IN, of a sub-query over one table: a bit per key."""
        block = self.reading.inner(query.span)
        for part in (block.group_by, block.having, block.window, block.qualify, block.limit,
                     block.offset):  # fmt: skip
            if part is not None:
                raise NotCompilable("a sub-query of this form", query.span)
        relations = self.reading.relations(block)
        if len(relations) != 1:
            raise NotCompilable("a sub-query over several tables", query.span)
        found = tables_of(relations, self.facts, self.reading.hidden, {})
        (own,) = found.by_alias
        alias = f"{own}@{len(self.inner) + 1}"
        both = Tables({own: found.by_alias[own]}, {})

        def resolve(node: Syntax) -> Expr | Syntax:
            if both.find(node) is not None:
                column = both.resolve(node)
                assert isinstance(column, Column)
                return Column(f"{alias}.{split(column.name)[1]}", column.type)
            return self.tables.resolve(node)

        inner = Translator(resolve, self.parameters, self.dictionaries, None, self.users)
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
        (key, outer), table = keys[0], found.by_alias[own]
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
        tree = Tree(self.tables.by_alias, self.where)
        loops = tree.loops(name, how, self.semi)
        facts = {**self.tables.by_alias, **self.inner}
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
        made = Program(name, tuple(sources), loops, (name,), tables=declared)
        return made, reads, entries

    def facts_of(self, name: str) -> ColumnFacts | None:
        """Return the facts of `alias.column`."""
        alias, column = split(name)
        table = self.tables.by_alias.get(alias) or self.inner.get(alias)
        return table.column(column) if table is not None else None

    def distinct(self, name: str) -> int | None:
        """Return how many entries the dictionary of `alias.column` has."""
        found = self.facts_of(name)
        return found.distinct if found is not None else None

    def range(self, expr: Expr) -> tuple[int | None, int | None, bool]:
        """Return bounds of an expression's stored integers, and whether it may be NULL."""
        match expr:
            case Column(name, _):
                facts = self.facts_of(name)
                assert facts is not None
                return facts.low, facts.high, facts.nullable
            case Lookup(table, index, Code(), _) if table in self.dictionaries.tables:
                del index
                size = self.distinct(self.dictionaries.tables[table].of)
                return (0, max(0, size - 1), True) if size is not None else (None, None, True)
            case _:
                return (0, 1, True) if isinstance(expr.type, Bool) else (None, None, True)

    def nullable(self, expr: Expr) -> bool:
        """Say whether an expression may be NULL."""
        match expr:
            case Column(name, _):
                facts = self.facts_of(name)
                return facts is None or facts.nullable
            case Literal(value, _):
                return value is None
            case Unary("is_null"):
                return False
            case Coalesce(operands):
                return all(self.nullable(o) for o in operands)
            case Select(_, yes, no):
                return self.nullable(yes) or self.nullable(no)
            case Cast() | Unary() | Binary():
                return any(self.nullable(part) for part in children(expr))
            case _:
                return True

    def averages_by_sum(self, operand: Expr) -> bool:
        """Say whether AVG is the sum as a DOUBLE over the count, to the last bit, as in DuckDB.

        Of BIGINT it divides in more than 64 bits, which differs where sums pass 2**53.
        """
        type_ = operand.type
        if isinstance(type_, Int) and type_.bits == 64:
            low, high, _ = self.range(operand)
            rows = max((t.rows for t in self.tables.by_alias.values()), default=0)
            known = low is not None and high is not None
            return known and max(abs(low or 0), abs(high or 0)) * rows < 2**53
        return isinstance(type_, Int | Decimal | Float)

    def checks(self, source: str) -> tuple[str, tuple[Type, ...]]:
        """Return a query of the typed parts of expressions, and their types."""
        texts: list[str] = []
        types: list[Type] = []
        for node, type_ in self.translator.typed.items():
            if any(n.kind == "name" and self.tables.find(n) is None for n in node.walk()):
                continue
            texts.append(self.reading.fragment(node.span))
            types.append(type_)
        return (f"SELECT {', '.join(texts)} FROM {source}" if texts else "", tuple(types))


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
    relations = reading.relations(block)
    for relation in relations:
        if relation.join not in ("comma", "inner", "cross"):
            raise NotCompilable(f"a {relation.join} join", relation.span)
    tables = tables_of(relations, facts, reading.hidden, aliases)
    names = {r.alias: r.table for r in relations}
    made = Sourced(
        reading, block, relations, tables, names, facts, parameters,
        Dictionaries(f"{name} entries ", users), users,
    )  # fmt: skip
    for node in reading.conditions(block, relations):
        made.where += _conjuncts(made.translator.condition(node))
    return made


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
