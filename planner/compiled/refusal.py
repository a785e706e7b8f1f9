"""What no program computes: raised while a statement is read, and told by EXPLAIN (COMPILED)."""

from __future__ import annotations

from foveal.errors import Span


class NotCompilable(Exception):
    """A part of a statement that stays DuckDB's. `span` is its place in the user's text.

    `wanted_unique`: columns of tables (by their names as written) that it needs to be unique, where
    nobody asked yet.
    """

    wanted_unique: frozenset[tuple[tuple[str, ...], str]] = frozenset()

    def __init__(self, reason: str, span: Span | None = None) -> None:
        """Keep why, as words that follow "not compiled: "."""
        super().__init__(reason)
        self.reason = reason
        self.span = span
