"""The tables of one block: what a name in it means, and what programs may read of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foveal.planner.compiled.facts import ColumnFacts, TableFacts
from foveal.planner.compiled.refusal import NotCompilable
from foveal.planner.compiled.sources import Relation
from foveal.planner.compiled.syntax import Syntax
from foveal.planner.ir.nodes import Column, Expr

Facts = Mapping[tuple[str, ...], TableFacts | None]
"""Facts by a table's dotted name as it is written, folded; None: no such base table."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of a block by alias, in the order of FROM."""

    by_alias: Mapping[str, TableFacts]
    aliases: Mapping[str, Syntax]

    def find(self, node: Syntax) -> tuple[str, ColumnFacts] | None:
        """Return the alias and column that a name means, or None where it is no column.

        Raises:
            NotCompilable: it is qualified in a way that is not looked into, or ambiguous.
        """
        words = node.text.split("\0")
        if len(words) > 2:
            raise NotCompilable("a name of three parts", node.span)
        if len(words) == 2:
            table = self.by_alias.get(words[0])
            column = table.column(words[1]) if table is not None else None
            return (words[0], column) if column is not None else None
        found = [(a, c) for a, t in self.by_alias.items() if (c := t.column(words[0])) is not None]
        if len(found) > 1:
            raise NotCompilable("an ambiguous name", node.span)
        return found[0] if found else None

    def resolve(self, node: Syntax) -> Expr | Syntax:
        """Return what a name means: a loop's column called `alias.column`, or an alias's text.

        Raises:
            NotCompilable: no program can read it.
        """
        found = self.find(node)
        if found is None:
            if node.text in self.aliases:
                return self.aliases[node.text]
            raise NotCompilable(f'"{node.text.replace(chr(0), ".")}" is no column here', node.span)
        alias, column = found
        if column.type is None or column.refused:
            why = column.refused or "a type that programs do not have"
            raise NotCompilable(f'column "{column.name}": {why}', node.span)
        return Column(f"{alias}.{column.name}", column.type)


def split(name: str) -> tuple[str, str]:
    """Return alias and column of a loop's column called `alias.column`."""
    alias, _, column = name.partition(".")
    return alias, column


def tables_of(
    relations: Sequence[Relation],
    facts: Facts,
    hidden: frozenset[str],
    aliases: Mapping[str, Syntax],
) -> Tables:
    """Return the tables of a block.

    Raises:
        NotCompilable: FROM has other things than base tables, or one alias twice.
    """
    found: dict[str, TableFacts] = {}
    for relation in relations:
        if not relation.table:
            raise NotCompilable("a sub-query in FROM", relation.span)
        if len(relation.table) == 1 and relation.table[0] in hidden:
            raise NotCompilable("a table of WITH", relation.span)
        table = facts.get(relation.table)
        if table is None:
            raise NotCompilable("no table that programs read", relation.span)
        if relation.alias in found or "." in relation.alias:
            raise NotCompilable("two tables of one name", relation.span)
        found[relation.alias] = table
    return Tables(found, aliases)
