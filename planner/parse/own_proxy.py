"""CREATE PROXY, DROP PROXY and SHOW PROXIES: tokens in, statements out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlglot import exp

from foveal.errors import NotSupportedError, Span
from foveal.planner.parse.grammar import branches, leaves, read, syntax_error
from foveal.planner.parse.parts import at, is_op, span_of, word_at
from foveal.planner.parse.statement import (
    CreateProxy,
    DropProxy,
    Scalar,
    ShowProxies,
    Statement,
    Token,
)
from foveal.planner.parse.tree import parse_tree
from foveal.planner.parse.values import leaf_span, name_of, options_of, plain_name
from foveal.planner.parse.wrappers import behind_bracket

_FORM = (
    "CREATE [OR REPLACE] PROXY [IF NOT EXISTS] name ON table "
    "FOR COUNT(condition) | COUNT(*) | SUM(expression) [WHERE condition] [WITH (labels = 200, ..)]"
)
_AS_SELECT = "SELECT 1 WHERE "
"""What is put before a condition, so that sqlglot reads it as one."""


def parse_proxy(text: str, tokens: Sequence[Token]) -> Statement | None:
    """Return the statement if its first tokens make it one on proxies, else None.

    Raises:
        ProgrammingError: 42601, it is one and malformed.
        NotSupportedError: 0A000, a condition has a parameter.
    """
    words = [word_at(tokens, i) for i in range(4)]
    if words[0] == "CREATE" and "PROXY" in (words[1], words[3] if words[1] == "OR" else ""):
        return _create(text, tokens)
    if words[:2] == ["DROP", "PROXY"]:
        node = read("drop_proxy", tokens, 0, len(tokens), "DROP PROXY [IF EXISTS] name")
        return DropProxy(text, *name_of(node, tokens), bool(branches(node, "if_exists")))
    if words[:2] == ["SHOW", "PROXIES"] and len(tokens) == 2:
        return ShowProxies(text)
    return None


def _create(text: str, tokens: Sequence[Token]) -> CreateProxy:
    behind = next((i for i in range(3, len(tokens)) if word_at(tokens, i) == "FOR"), None)
    head = len(tokens) if behind is None else min(behind + 2, len(tokens))
    node = read("create_proxy", tokens, 0, head, _FORM)
    if not is_op(at(tokens, head), "("):
        raise syntax_error(tokens, head, f"write {_FORM}")
    kind = str(leaves(branches(node, "proxy_kind")[0])[0]).lower()
    after = behind_bracket(tokens, head)
    if not is_op(at(tokens, after - 1), ")"):
        raise syntax_error(tokens, len(tokens), "close the parenthesis")
    argument = None
    starred = after == head + 3 and is_op(tokens[head + 1], "*")
    if kind == "sum" or not (after == head + 2 or starred):
        argument = _condition(tokens, head + 1, after - 1)
    end = _options_from(tokens, after)
    where = None
    if word_at(tokens, after) == "WHERE":
        where = _condition(tokens, after + 1, end)
    elif after != end:
        raise syntax_error(tokens, after, f"write {_FORM}")
    options: Mapping[str, Scalar] = {}
    option_spans: Mapping[str, tuple[Span, Span]] = {}
    if end < len(tokens):
        held = read("proxy_options", tokens, end, len(tokens), _FORM)
        options, option_spans = options_of(held, tokens[end:])
    name, span = name_of(node, tokens)
    table = branches(node, "name")[1]
    quantity = span_of(tokens, head - 1, end)
    assert quantity is not None
    return CreateProxy(
        text, name, span, bool(branches(node, "or_replace")), bool(branches(node, "if_not_exists")),
        plain_name(table), leaf_span(leaves(table)[0], tokens[0].start), kind, argument, where,
        tuple(tokens), quantity, options, option_spans,
    )  # fmt: skip


def _options_from(tokens: Sequence[Token], start: int) -> int:
    """Return where the last top-level `WITH (` begins, or the end."""
    depth, found = 0, len(tokens)
    for i in range(start, len(tokens)):
        depth += tokens[i].text in ("(", "[", "{")
        depth -= tokens[i].text in (")", "]", "}")
        if depth == 0 and word_at(tokens, i) == "WITH" and is_op(at(tokens, i + 1), "("):
            found = i
    return found


def _condition(tokens: Sequence[Token], start: int, end: int) -> exp.Select:
    """Return the tree of `SELECT 1 WHERE` the tokens; places count from the first of them."""
    for i in range(start, end):
        if tokens[i].kind == "param":
            raise NotSupportedError(
                "a proxy's condition takes no parameter",
                span=Span(tokens[i].start, tokens[i].end),
                hint="write the value itself: it is part of what the proxy learns",
            )
    if start >= end:
        raise syntax_error(tokens, end, f"write {_FORM}")
    base = tokens[start].start
    tree = parse_tree(tokens, start, end, base, {}, (), _AS_SELECT)
    extra = [k for k, v in tree.args.items() if v and k not in ("expressions", "where")]
    if not isinstance(tree, exp.Select) or extra:
        raise syntax_error(tokens, start, "write one condition over the columns of an object")
    return tree
