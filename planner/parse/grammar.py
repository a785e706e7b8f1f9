"""Tokens → lark's tree by a rule of clauses.lark; errors point at the offending token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.errors import ProgrammingError, Span
from foveal.planner.parse.statement import Token

if TYPE_CHECKING:
    from lark import Lark, Tree
    from lark import Token as Leaf

    Node = Tree[Leaf]

_RULES = (
    "error", "fnr", "fpr", "confidence", "gap", "budget", "bounds", "create_video", "drop_video",
    "refresh_video", "create_stream", "drop_stream", "refresh_stream",
    "analyze_video", "create_proxy", "drop_proxy", "proxy_options", "drop_stored", "drop_function",
    "create_view", "create_macro", "set_setting", "reset_setting", "show_setting", "explain",
    "prepare", "execute", "deallocate",
)  # fmt: skip


@cache
def _grammar() -> Lark:
    from lark import Lark

    text = (Path(__file__).parent / "clauses.lark").read_text(encoding="utf-8")
    return Lark(
        text, start=list(_RULES), parser="lalr", lexer="contextual", maybe_placeholders=False
    )


def read(
    rule: str, tokens: Sequence[Token], start: int, end: int, form: str, ended: str = ""
) -> Node:
    """Return the tree of the tokens `[start, end)` by `rule`; leaves count from the first token.

    `form` is how the clause or statement is written, for the hint; `ended` is added to the hint
    where a token stands behind a complete one.

    Raises:
        ProgrammingError: 42601, at the first token that does not fit.
    """
    from lark.exceptions import UnexpectedCharacters, UnexpectedInput

    base = tokens[start].start
    try:
        text = lay_out(tokens[start:end], base, tokens[end - 1].end)
        return _grammar().parse(text, start=rule)  # pyright: ignore[reportUnknownMemberType]
    except UnexpectedCharacters as error:
        place = base + error.pos_in_stream
    except UnexpectedInput as error:
        # lark gives the end of the input the place of the last token, so its type tells.
        is_short = getattr(getattr(error, "token", None), "type", "") == "$END"
        place = tokens[end - 1].end if is_short else base + (error.pos_in_stream or 0)
        if ended and "$END" in (getattr(error, "accepts", None) or ()):
            form += ended
    # An open end lies in no token of the run, and is reported at what follows the run.
    index = next((i for i in range(start, end) if place < tokens[i].end), end)
    raise syntax_error(tokens, index, f"write {form}")


def lay_out(tokens: Sequence[Token], start: int, end: int) -> str:
    """Return the tokens at their places in `[start, end)`, blanks and comments made spaces."""
    parts: list[str] = []
    place = start
    for token in tokens:
        parts.append(" " * (token.start - place))
        parts.append(token.text)
        place = token.end
    parts.append(" " * (end - place))
    return "".join(parts)


def syntax_error(tokens: Sequence[Token], index: int, hint: str | None = None) -> ProgrammingError:
    """Return the 42601 that points at the token `index`, or behind the last one."""
    if index < len(tokens):
        token = tokens[index]
        shown = token.text if len(token.text) <= 40 else token.text[:37] + "..."
        return ProgrammingError(
            f'syntax error at or near "{shown}"', span=Span(token.start, token.end), hint=hint
        )
    behind = tokens[-1].end if tokens else 0
    return ProgrammingError("syntax error at end of input", span=Span(behind, behind), hint=hint)


def leaves(node: Node) -> list[Leaf]:
    """Return the node's own leaves."""
    return [child for child in node.children if not _is_tree(child)]  # pyright: ignore[reportReturnType]


def branches(node: Node, rule: str) -> list[Node]:
    """Return the node's children that are trees of `rule`."""
    return [child for child in node.children if getattr(child, "data", None) == rule]  # pyright: ignore[reportReturnType]


def _is_tree(child: object) -> bool:
    return hasattr(child, "data")
