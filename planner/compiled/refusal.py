"""What no program computes: raised while a statement is read, and told by EXPLAIN (COMPILED)."""

from __future__ import annotations

from foveal.errors import Span


class NotCompilable(Exception):
    """A part of a statement that stays DuckDB's. `span` is its place in the user's text.

    `wanted_unique`: columns, as `alias.column`, that it may be compiled with if they are unique.
    """

    wanted_unique: frozenset[str] = frozenset()

    def __init__(self, reason: str, span: Span | None = None) -> None:
        """Keep why, as words that follow "not compiled: "."""
        super().__init__(reason)
        self.reason = reason
        self.span = span
