"""The tables of one block: what a name in it means, and what programs may read of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from foveal.planner.compiled.facts import TableFacts
from foveal.planner.compiled.refusal import NotCompilable
from foveal.planner.compiled.sources import Relation
from foveal.planner.compiled.syntax import Syntax
from foveal.planner.ir.nodes import Column, Expr

Facts = Mapping[tuple[str, ...], TableFacts | None]
"""Facts by a table's dotted name as it is written, folded; None: no such base table."""


@dataclass(frozen=True, slots=True)
class Tables:
    """What names mean in one block.

    `by_alias`: its tables by alias, in the order of FROM. `inside`: what programs call a table, by
    alias. `derived`: the columns of sub-queries in FROM by alias: expressions over their tables.
    `aliases`: the block's own items by alias.
    """

    by_alias: Mapping[str, TableFacts]
    aliases: Mapping[str, Syntax]
    inside: Mapping[str, str]
    derived: Mapping[str, Mapping[str, Expr]] = field(default_factory=dict[str, Any])

    def find(self, node: Syntax) -> tuple[str, str] | None:
        """Return the alias and folded column that a name means, or None where it is no column.

        Raises:
            NotCompilable: it is qualified in a way that is not looked into, or ambiguous.
        """
        words = node.text.split("\0")
        if len(words) > 2:
            raise NotCompilable("a name of three parts", node.span)
        scopes = [words[0]] if len(words) == 2 else [*self.by_alias, *self.derived]
        found = [(alias, words[-1]) for alias in scopes if self._has(alias, words[-1])]
        if len(found) > 1:
            raise NotCompilable("an ambiguous name", node.span)
        return found[0] if found else None

    def _has(self, alias: str, column: str) -> bool:
        if alias in self.derived:
            return column in self.derived[alias]
        return alias in self.by_alias and self.by_alias[alias].column(column) is not None

    def resolve(self, node: Syntax) -> Expr | Syntax:
        """Return what a name means: a loop's column called `table.column`, or an alias's text.

        Raises:
            NotCompilable: no program can read it.
        """
        found = self.find(node)
        if found is None:
            if node.text in self.aliases:
                return self.aliases[node.text]
            raise NotCompilable(f'"{node.text.replace(chr(0), ".")}" is no column here', node.span)
        alias, name = found
        if alias in self.derived:
            return self.derived[alias][name]
        column = self.by_alias[alias].column(name)
        assert column is not None
        if column.type is None or column.refused:
            why = column.refused or "a type that programs do not have"
            raise NotCompilable(f'column "{column.name}": {why}', node.span)
        return Column(f"{self.inside[alias]}.{column.name}", column.type)


def split(name: str) -> tuple[str, str]:
    """Return alias and column of a loop's column called `alias.column`."""
    alias, _, column = name.partition(".")
    return alias, column


def table_of(relation: Relation, facts: Facts, hidden: frozenset[str]) -> TableFacts:
    """Return the facts of an item of FROM.

    Raises:
        NotCompilable: it is no base table that programs read.
    """
    if not relation.table:
        raise NotCompilable("a sub-query in FROM", relation.span)
    if len(relation.table) == 1 and relation.table[0] in hidden:
        raise NotCompilable("a table of WITH", relation.span)
    table = facts.get(relation.table)
    if table is None:
        raise NotCompilable("no table that programs read", relation.span)
    return table
