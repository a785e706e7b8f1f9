"""Statements that PREPARE keeps: those of foveal's own, which DuckDB cannot keep."""

from __future__ import annotations

from foveal.engine.context import QueryContext
from foveal.engine.planning import Planning
from foveal.engine.substrate import Substrate, bindings
from foveal.errors import ProgrammingError, Span
from foveal.planner.parse.lexer import tokenize
from foveal.planner.parse.statement import Deallocate, Execute, Prepare, Query
from foveal.planner.text import Edit, apply


class PreparedStatements:
    """The prepared statements of one session."""

    def __init__(self, substrate: Substrate, planning: Planning) -> None:
        """Keep none yet. `substrate` evaluates the arguments of EXECUTE."""
        self._substrate = substrate
        self._planning = planning
        self._texts: dict[str, str] = {}

    @property
    def names(self) -> frozenset[str]:
        """Return the folded names of those kept."""
        return frozenset(self._texts)

    def keep(self, statement: Prepare) -> str:
        """Keep a statement; return the tag.

        Raises:
            ProgrammingError: it is no query.
        """
        body = statement.text[statement.body.start : statement.body.end].strip().rstrip(";")
        if not isinstance(self._planning.parse(body), Query):
            raise ProgrammingError("PREPARE takes a query", span=statement.body)
        self._texts[statement.name.lower()] = body
        return "PREPARE"

    def forget(self, statement: Deallocate) -> str:
        """Forget a statement; return the tag."""
        del self._texts[statement.name.lower()]
        return "DEALLOCATE"

    def bound(self, statement: Execute, context: QueryContext) -> Query:
        """Return the prepared query; its arguments become the context's parameters."""
        query = self._planning.parse(self._texts[statement.name.lower()])
        assert isinstance(query, Query)
        values: dict[str, object] = {}
        marks = [t for t in tokenize(statement.text) if t.text == "?"]
        numbered = [Edit(Span(t.start, t.end), f"${i}") for i, t in enumerate(marks, 1)]
        for key, span in statement.arguments:
            text = f"SELECT ({apply(statement.text, numbered, span).text})"
            values[key] = self._substrate.rows(text, bindings(text, context.parameters))[0][0]
        wanted = {key for _, key in query.parameters}
        if set(values) != wanted:
            raise ProgrammingError(
                f'prepared statement "{statement.name}" takes {len(wanted)} parameter(s), '
                f"{len(values)} given",
                sqlstate="08P01",
                span=statement.name_span,
            )
        context.parameters = values
        return query
