"""Functions of one string column: computed once per entry of its dictionary, then looked up.

Where a part of an expression reads one column of strings and constants only, DuckDB evaluates the
user's own text over the entries, and the program looks the answers up. Only strict parts count
(NULL in, NULL out): an entry's answer is the row's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from foveal.errors import Span
from foveal.planner.compiled.syntax import Syntax
from foveal.planner.ir import program, typing
from foveal.planner.ir.nodes import Column, Expr
from foveal.planner.ir.types import BOOL, I32, I64, Code, Type

_TESTS = frozenset({"=", "<>", "<", "<=", ">", ">=", "like", "ilike", "glob", "not like",
                    "not ilike", "not glob"})  # fmt: skip
_STRICT: dict[str, Type | None] = {
    "lower": None, "upper": None, "lcase": None, "ucase": None, "substring": None, "substr": None,
    "left": None, "right": None, "trim": None, "ltrim": None, "rtrim": None, "replace": None,
    "reverse": None, "lpad": None, "rpad": None, "split_part": None, "regexp_extract": None,
    "regexp_replace": None, "strip_accents": None, "translate": None,
    "length": I64, "len": I64, "strlen": I64, "strpos": I64, "instr": I64, "position": I64,
    "ascii": I32, "unicode": I32, "ord": I32,
    "contains": BOOL, "starts_with": BOOL, "prefix": BOOL, "suffix": BOOL, "ends_with": BOOL,
    "regexp_matches": BOOL, "regexp_full_match": BOOL,
}  # fmt: skip
"""Deterministic, strict functions of strings and their types; None: a string."""
_CONSTANT = frozenset({"number", "string", "true", "false", "param"})


@dataclass(frozen=True, slots=True)
class DictionaryTable:
    """A table that DuckDB fills: `span` of the user's text, evaluated over a column's entries.

    `alias`, `column`: what the text calls the table and the column. `of`: the loop's column, as
    `alias.column`. `code`: the name of the dictionary that it makes, where its entries are strings.
    """

    name: str
    alias: str
    column: str
    of: str
    span: Span
    type: Type
    written: Syntax


class Dictionaries:
    """The dictionary tables of one program, equal ones once."""

    def __init__(self, prefix: str, hidden: frozenset[str] = frozenset()) -> None:
        """Take what begins the tables' names, and names that are the user's own functions."""
        self.prefix = prefix
        self.hidden = hidden
        self.messages: list[str] = []
        """What the `Check`s of functions put in the place of calls say, by number."""
        self.beside: list[tuple[Expr, Span]] = []
        """Arguments of such functions that may not be computed in every row, and their calls."""
        self.tables: dict[str, DictionaryTable] = {}
        self._by_text: dict[tuple[str, Syntax], DictionaryTable] = {}

    def lookup(self, node: Syntax, column: Callable[[Syntax], Expr | None]) -> Expr | None:
        """Return the lookup that `node` is, or None where it is no function of one column.

        `column`: what a name is where it is a column of codes.
        """
        if node.kind not in ("op", "in", "between", "call", "cast"):
            return None
        result = self._type(node)
        if isinstance(result, bool):
            return None
        names = self._names(node)
        if names is None or not names:
            return None
        found = column(names[0])
        if not isinstance(found, Column):
            return None
        if any(column(name) != found for name in names[1:]):
            return None
        key = (found.name, node)
        table = self._by_text.get(key)
        if table is None:
            name = f"{self.prefix}{len(self.tables)}"
            type_ = Code(name) if result is None else result
            words = names[0].text.split("\0")
            alias = words[-2] if len(words) > 1 else ""
            table = DictionaryTable(name, alias, words[-1], found.name, node.span, type_, node)
            self.tables[name] = self._by_text[key] = table
        return typing.lookup_named(table.name, table.type, found)

    def declared(self, sizes: Callable[[str], int | None]) -> tuple[program.Table, ...]:
        """Return the program's tables. `sizes`: how many entries a column's dictionary has."""
        made: list[program.Table] = []
        for table in self.tables.values():
            size = sizes(table.of)
            is_code = isinstance(table.type, Code)
            made.append(
                program.Table(
                    table.name,
                    table.type,
                    None,
                    low=0 if is_code else None,
                    high=max(0, (size or 1) - 1) if is_code and size else None,
                )
            )
        return tuple(made)

    def _type(self, node: Syntax) -> Type | bool | None:
        """Return the type of a strict part, None for a string, False where it is none."""
        match node.kind:
            case "op":
                if node.text in _TESTS:
                    return BOOL
                return None if node.text == "||" else False
            case "in" | "between":
                return False if any(p.kind == "query" for p in node.parts) else BOOL
            case "call":
                if node.text in self.hidden or node.distinct or node.filter is not None:
                    return False
                return _STRICT.get(node.text, False)
            case _:
                return False

    def _names(self, node: Syntax) -> list[Syntax] | None:
        """Return the names in a strict part, or None where it has other things than constants."""
        found: list[Syntax] = []
        for part in node.parts:
            if part.kind == "name":
                found.append(part)
            elif part.kind not in _CONSTANT:
                below = None if self._type(part) is False else self._names(part)
                if below is None:
                    return None
                found += below
        return found
