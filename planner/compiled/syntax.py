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

    What all arms of an OR share comes out of it: `a AND x OR a AND y` is `a AND (x OR y)`.

    >>> [c.text for c in conjuncts(Syntax("op", "and", (Syntax("true", "a"), Syntax("null"))))]
    ['a', '']
    """
    if condition.kind == "op" and condition.text == "and":
        for part in condition.parts:
            yield from conjuncts(part)
    elif condition.kind == "op" and condition.text == "or":
        yield from _factored(condition)
    else:
        yield condition


def _factored(condition: Syntax) -> Iterator[Syntax]:
    """Yield what all arms of an OR share, then the OR of what is left of them."""
    arms = [list(conjuncts(arm)) for arm in _arms(condition)]
    shared = [part for part in arms[0] if all(part in arm for arm in arms[1:])]
    yield from shared
    rests = [[part for part in arm if part not in shared] for arm in arms]
    if not shared:
        yield condition
    elif all(rests):
        joined = [_joined("and", rest, condition) for rest in rests]
        yield _joined("or", joined, condition)


def _arms(condition: Syntax) -> Iterator[Syntax]:
    for part in condition.parts:
        if part.kind == "op" and part.text == "or":
            yield from _arms(part)
        else:
            yield part


def _joined(op: str, parts: list[Syntax], whole: Syntax) -> Syntax:
    """Return AND or OR of parts; its place is that of the condition that they come from."""
    made = parts[0]
    for part in parts[1:]:
        made = Syntax("op", op, (made, part), span=whole.span)
    return made
