"""Names, literals and WITH options in a tree of clauses.lark → their meanings and spans."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from foveal.errors import ProgrammingError, Span
from foveal.planner.parse.grammar import branches, leaves
from foveal.planner.parse.lexer import fold, number_value, string_value, tokenize
from foveal.planner.parse.statement import Scalar, Token

if TYPE_CHECKING:
    from foveal.planner.parse.grammar import Node


def plain_name(node: Node) -> str:
    """Return the meaning of a `name` node: quotes undone, case kept."""
    return tokenize(str(leaves(node)[0]))[0].name


def name_of(node: Node, tokens: Sequence[Token]) -> tuple[str, Span]:
    """Return the first name that the node holds, and where it stands."""
    held = branches(node, "name")[0]
    return plain_name(held), leaf_span(leaves(held)[0], tokens[0].start)


def leaf_span(leaf: object, base: int) -> Span:
    """Return where a leaf stands in a statement whose tree counts from `base`."""
    return Span(
        base + (getattr(leaf, "start_pos", 0) or 0), base + (getattr(leaf, "end_pos", 0) or 0)
    )


def options_of(
    node: Node, tokens: Sequence[Token]
) -> tuple[Mapping[str, Scalar], Mapping[str, tuple[Span, Span]]]:
    """Return WITH (k = v, ..) by folded name, and the spans of each name and value.

    Raises:
        ProgrammingError: 42601, an option is given twice.
    """
    options: dict[str, Scalar] = {}
    spans: dict[str, tuple[Span, Span]] = {}
    for held in branches(node, "options"):
        for option in branches(held, "option"):
            key, key_span = name_of(option, tokens)
            key = fold(key)
            if key in options:
                raise ProgrammingError(
                    f'option "{key}" is given twice', span=key_span, hint="give each option once"
                )
            options[key], value_span = value_of(branches(option, "value")[0], tokens[0].start)
            spans[key] = key_span, value_span
    return options, spans


def value_of(node: Node, base: int) -> tuple[Scalar, Span]:
    """Return the meaning of a `value` node, and where it stands."""
    parts = leaves(node)
    last = parts[-1]
    span = Span(leaf_span(parts[0], base).start, leaf_span(last, base).end)
    readers: dict[str, Callable[[str], Scalar]] = {
        "STRING": lambda text: string_value(tokenize(text)[0]),
        "QUOTED": lambda text: tokenize(text)[0].name,
        "NUMBER": _number,
        "WORD": lambda text: {"true": True, "false": False}.get(text.lower(), text),
    }
    value = readers[last.type](str(last))
    if parts[0] == "-" and isinstance(value, int | float):
        value = -value
    return value, span


def _number(text: str) -> int | float:
    value = number_value(text)
    is_whole = not any(mark in text.lower() for mark in ".e") or text.lower().startswith("0x")
    return (
        int(text.replace("_", ""), 0)
        if text[:2].lower() in ("0x", "0b", "0o")
        else (int(text.replace("_", "")) if is_whole else value)
    )
