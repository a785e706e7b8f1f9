"""An expression as it is written: what the reader makes of tokens, every part with its place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from foveal.errors import Span


@dataclass(frozen=True, slots=True)
class Syntax:
    r"""One part of an expression. Equal parts are written alike, wherever they stand.

    `kind` and `text`, with the `parts`:
    number (its digits), string (its value), null, true, false, param (its key), star;
    name (folded, its dotted words joined by "\0"); call (folded name; the arguments);
    op (the operator; one or two operands), between, in (the operand, then the items; `text` is
    "not" where negated), case (operand or null, then WHEN and THEN in turn, ELSE last), cast and
    try_cast (`text` is the type), interval (`text` is the unit), query (a sub-query), exists.
    `distinct` and `filter` are those of an aggregate's call. `bracketed`: it stands in brackets,
    which its span holds too.
    """

    kind: str
    text: str = ""
    parts: tuple[Syntax, ...] = ()
    distinct: bool = False
    filter: Syntax | None = None
    span: Span = field(default=Span(0, 0), compare=False)
    bracketed: bool = field(default=False, compare=False)

    def walk(self) -> Iterator[Syntax]:
        """Yield this part and all below it, outer ones first; not what is in sub-queries."""
        yield self
        for part in self.parts:
            yield from part.walk()
        if self.filter is not None:
            yield from self.filter.walk()


def conjuncts(condition: Syntax) -> Iterator[Syntax]:
    """Yield the parts of a condition that all must be true.

    >>> [c.text for c in conjuncts(Syntax("op", "and", (Syntax("true", "a"), Syntax("null"))))]
    ['a', '']
    """
    if condition.kind == "op" and condition.text == "and":
        for part in condition.parts:
            yield from conjuncts(part)
    else:
        yield condition
