"""What the planner hands over: programs, what they read, and the edits of text around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from foveal.errors import Span
from foveal.planner.compiled.refusal import NotCompilable
from foveal.planner.ir.program import Program
from foveal.planner.ir.types import Type


@dataclass(frozen=True, slots=True)
class Read:
    """A source of a program: the table it reads (its name as written) and the columns."""

    table: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EntryTable:
    """A table of a program that DuckDB fills by evaluating `text` over a dictionary's entries.

    `text` is an expression over the column `column` of the table `alias` ("": any name does);
    its parameters are numbered. `source`, `of`: the program's column whose dictionary it is.
    """

    name: str
    text: str
    alias: str
    column: str
    source: str
    of: str
    type: Type


@dataclass(frozen=True, slots=True)
class Output:
    """A column of a pipeline's result: its name in the rewritten text, and the text it stands for.

    `type` is what the program makes; DuckDB says (`Candidate.probe`) what the statement needs.
    """

    name: str
    text: str
    type: Type


@dataclass(frozen=True, slots=True)
class Rewrite:
    """An edit of the user's text around a pipeline's columns, made when their types are known.

    `{relation}` in `text` stands for the sub-query over the pipeline's result.
    """

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program that could stand for a part of a statement.

    `kind`: aggregate, filter or top. `name`: of its relation in the rewritten text. `probe` is a
    query whose columns are the outputs by DuckDB's own typing, to be described, never run;
    `naming` one whose columns are the block's items, "" where no item needs a name. `checks`:
    queries of parts of expressions, and their types here: DuckDB must say the same. `edits` need no
    types; items in `unnamed` want the name of their position appended. `scalars`: what the
    program's parameters stand for.
    """

    kind: str
    name: str
    program: Program
    reads: Mapping[str, Read]
    entries: tuple[EntryTable, ...]
    outputs: tuple[Output, ...]
    span: Span
    probe: str
    naming: str = ""
    checks: tuple[tuple[str, tuple[Type, ...]], ...] = ()
    edits: tuple[Rewrite, ...] = ()
    unnamed: tuple[tuple[int, int], ...] = ()
    what: str = ""
    scalars: Mapping[str, bool | int | float | None] = field(
        default_factory=dict[str, bool | int | float | None]
    )


@dataclass(frozen=True, slots=True)
class Considered:
    """The candidates of a statement, and what is not compiled and why."""

    candidates: tuple[Candidate, ...]
    refusals: tuple[NotCompilable, ...] = ()
    wanted_unique: frozenset[tuple[tuple[str, ...], str]] = frozenset()
