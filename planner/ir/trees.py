"""Texts of the loop language as lark's trees; errors give their place by line and column."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from foveal.errors import ProgrammingError, Span

if TYPE_CHECKING:
    from lark import Lark, Tree
    from lark import Token as Leaf

    Node = Tree[Leaf]


@cache
def _grammar() -> Lark:
    from lark import Lark

    text = (Path(__file__).parent / "ir.lark").read_text(encoding="utf-8")
    return Lark(
        text,
        start=["program", "function"],
        parser="lalr",
        lexer="contextual",
        maybe_placeholders=False,
        propagate_positions=True,
    )


def tree(rule: str, text: str, form: str) -> Node:
    """Return the tree of a text by a rule; `form` is the hint.

    Raises:
        ProgrammingError: 42601, at the first token that does not fit.
    """
    from lark.exceptions import UnexpectedCharacters, UnexpectedInput

    try:
        return _grammar().parse(text, start=rule)  # pyright: ignore[reportUnknownMemberType]
    except UnexpectedCharacters as error:
        start = cast(int, error.pos_in_stream)
    except UnexpectedInput as error:
        is_short = getattr(getattr(error, "token", None), "type", "") == "$END"
        start = len(text) if is_short else error.pos_in_stream or 0
    rest = text[start:].split()
    near = f'at "{rest[0]}"' if rest else "at the end"
    fail(text, start, start + (len(rest[0]) if rest else 0), f"syntax error {near}", form)


def fail(
    text: str, start: int, end: int, message: str, hint: str | None, sqlstate: str = "42601"
) -> NoReturn:
    """Raise with the place."""
    line = text.count("\n", 0, start) + 1
    column = start - (text.rfind("\n", 0, start) + 1) + 1
    raise ProgrammingError(
        f"{message} (line {line}, column {column})",
        sqlstate=sqlstate,
        span=Span(start, end),
        hint=hint,
    )


def trees(node: Node, *names: str) -> list[Node]:
    """Return the children that are rules of these names; of none: all that are rules."""
    found: list[Any] = [c for c in node.children if not isinstance(c, str)]
    return [c for c in found if not names or c.data in names]


def one(node: Node, name: str) -> Node | None:
    """Return the child of a name, or None."""
    return next(iter(trees(node, name)), None)


def leaf(node: Node) -> str:
    """Return the text of a rule's only token."""
    return str(node.children[-1])


def name_of(node: Node) -> str:
    """Return a name, without its quotes."""
    text = leaf(node)
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def string_of(token: object) -> str:
    """Return a text, without its quotes."""
    return str(token)[1:-1].replace("''", "'")


def integer_of(node: Node) -> int:
    """Return an integer with its sign."""
    return int("".join(map(str, node.children)))
