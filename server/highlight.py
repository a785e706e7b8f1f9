"""The dialect's words, and a pygments lexer that knows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pygments.lexers.sql import SqlLexer  # pyright: ignore[reportMissingTypeStubs]
from pygments.token import Keyword, Name

CLAUSE_WORDS = (
    "ANALYZE VIDEO",
    "AT CONFIDENCE",
    "BOUNDS",
    "BUDGET",
    "CALLS",
    "CREATE PROXY",
    "CREATE VIDEO STREAM",
    "CREATE VIDEO TABLE",
    "DROP PROXY",
    "DROP VIDEO STREAM",
    "DROP VIDEO TABLE",
    "ERROR WITHIN",
    "EXPLAIN ANALYZE",
    "FCOUNT",
    "FNR WITHIN",
    "FPR WITHIN",
    "GAP",
    "REFRESH VIDEO STREAM",
    "REFRESH VIDEO TABLE",
    "SECONDS",
    "SHOW PROXIES",
    "SHOW foveal.",
    "SET foveal.",
)
"""foveal's own clauses and statements, as a person types them."""

SQL_WORDS = tuple(
    """ALL ALTER AND AS ASC BEGIN BETWEEN BY CASE CAST COMMIT COPY COUNT CREATE CROSS DELETE DESC
    DESCRIBE DISTINCT DROP ELSE END EXCEPT EXISTS EXPLAIN FALSE FROM FULL GROUP HAVING IN INNER
    INSERT INTERSECT INTO IS JOIN LEFT LIKE LIMIT NOT NULL OFFSET ON OR ORDER OUTER OVER PARTITION
    PIVOT QUALIFY RIGHT ROLLBACK SELECT SET SHOW SUMMARIZE TABLE THEN TO TRUE UNION UNPIVOT UPDATE
    USING VALUES VIEW WHEN WHERE WINDOW WITH""".split()  # noqa: SIM905
)

_OWN = frozenset(word.upper() for words in CLAUSE_WORDS for word in words.split()) - {"AT", "SET"}


class FovealLexer(SqlLexer):
    """pygments' SQL, with foveal's words as keywords."""

    name = "foveal SQL"

    def get_tokens_unprocessed(
        self, text: str, stack: Iterable[str] = ("root",)
    ) -> Iterator[tuple[int, Any, str]]:
        """Yield (offset, token type, text), names that are words of ours as keywords."""
        tokens: Iterator[tuple[int, Any, str]] = super().get_tokens_unprocessed(text, stack)  # pyright: ignore
        for at, kind, value in tokens:
            yield at, Keyword if kind is Name and value.upper() in _OWN else kind, value
