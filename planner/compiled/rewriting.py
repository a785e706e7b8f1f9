"""The user's text over the rows of programs: edits in place, every column of DuckDB's own type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foveal.errors import Span
from foveal.planner.compiled.plan import Candidate
from foveal.planner.compiled.reading import Reading
from foveal.planner.text import Edit, quote


@dataclass(frozen=True, slots=True)
class Typed:
    """A candidate with DuckDB's type of each output, and the names of the block's items."""

    candidate: Candidate
    types: tuple[str, ...]
    names: tuple[str, ...]


def relation_name(candidate: Candidate) -> str:
    """Return the name under which DuckDB reads a program's rows."""
    return f"__foveal_{candidate.name}"


def rewritten(reading: Reading, typed: Sequence[Typed]) -> list[Edit]:
    """Return the edits of a statement whose candidates are typed."""
    edits: list[Edit] = list(reading.parameter_edits)
    for one in typed:
        candidate = one.candidate
        columns = ", ".join(
            f"{_as(o.name, type_)} AS {quote(o.name)}"
            for o, type_ in zip(candidate.outputs, one.types, strict=True)
        )
        name = relation_name(candidate)
        relation = f"(SELECT {columns} FROM {name}) AS {name}_rows"
        edits += [Edit(e.span, e.text.replace("{relation}", relation)) for e in candidate.edits]
        edits += [
            Edit(Span(end, end), f" AS {quote(one.names[at])}") for at, end in candidate.unnamed
        ]
    return edits


def _as(name: str, sql_type: str) -> str:
    """Return a program's column as DuckDB's type, whatever the rows came as."""
    return f"CAST({quote(name)} AS {sql_type})"
