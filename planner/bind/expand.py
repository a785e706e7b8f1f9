"""Views and macros over extension objects, written out in place before anything is bound.

A stored view stands as `(body) AS name`, a table macro as the same with its arguments put in, a
scalar macro or a function of ours as `(body)`. The result is text again, parsed anew, so the
binder never meets a view.
"""

from __future__ import annotations

from collections.abc import Mapping

from foveal.errors import ProgrammingError, Span
from foveal.planner.parse.lexer import tokenize
from foveal.planner.parse.statement import Query, Token
from foveal.planner.protocols import StoredText
from foveal.planner.text import Edit, Mapped, apply, quote

_TABLE_POSITION = frozenset(
    {"from", "join", ",", "using", "into", "summarize", "describe", "pivot"}
)
_AFTER_NAME = frozenset(
    [
        "where",
        "group",
        "having",
        "window",
        "qualify",
        "order",
        "limit",
        "offset",
        "union",
        "intersect",
        "except",
        "on",
        "using",
        "join",
        "left",
        "right",
        "full",
        "inner",
        "cross",
        "natural",
        "semi",
        "anti",
        "asof",
        "positional",
        "select",
        "tablesample",
        "at",
        "error",
        "fnr",
        "fpr",
        "gap",
        "budget",
        "bounds",
        "set",
        "when",
        "pivot",
        "unpivot",
        "outer",
        "lateral",
    ]
)


def expand(
    query: Query, stored: Mapping[str, StoredText], functions: Mapping[str, StoredText]
) -> Mapped | None:
    """Return the text with one layer of views and macros written out, or None if there is none.

    Raises:
        ProgrammingError: 42883, a macro is called with the wrong number of arguments.
    """
    edits: list[Edit] = []
    shadowed = _cte_names(query)
    tokens = [t for t in query.tokens if query.query.start <= t.start < query.query.end]
    for i, token in enumerate(tokens):
        if token.kind not in ("word", "quoted"):
            continue
        name = token.name.lower()
        before = tokens[i - 1].text.lower() if i else ""
        after = tokens[i + 1].text if i + 1 < len(tokens) else ""
        if before == ".":
            continue
        if after == "(":
            known = stored.get(name) or functions.get(name)
            if known is None or known.kind == "view":
                continue
            edits.append(_call(query.text, tokens, i, known))
        elif name in stored and name not in shadowed and after != ".":
            known = stored[name]
            if known.kind == "view" and _in_table_position(tokens, i):
                edits.append(_view(tokens, i, known))
    outer: list[Edit] = []
    for edit in edits:
        if not any(o.span.start <= edit.span.start and edit.span.end <= o.span.end for o in outer):
            outer.append(edit)
    if not outer:
        return None
    return apply(query.text, [*outer, *keep_names(query, outer)])


def keep_names(query: Query, edits: list[Edit]) -> list[Edit]:
    """Return edits that name select items as the user wrote them, where `edits` change them.

    Without it a result column would be called by the text that a call was replaced with.
    """
    from sqlglot import exp

    selects = [s for s in query.tree.find_all(exp.Select)]
    added: list[Edit] = []
    for block in query.blocks:
        for i, item in enumerate(block.items):
            inside = [e for e in edits if item.start <= e.span.start and e.span.end <= item.end]
            if not inside:
                continue
            source = query.text[item.start : item.end].strip()
            aliased = any(
                len(s.expressions) == len(block.items)
                and isinstance(s.expressions[i], exp.Alias)
                and s.expressions[i].alias.lower() in source.lower()
                and _ends_with_name(query, item, s.expressions[i].alias)
                for s in selects
            )
            if not aliased and block.group_by != item:
                at = item.start + len(query.text[item.start : item.end].rstrip())
                added.append(Edit(Span(at, at), f" AS {quote(source)}"))
    return added


def _ends_with_name(query: Query, item: Span, name: str) -> bool:
    tokens = [t for t in query.tokens if item.start <= t.start and t.end <= item.end]
    if len(tokens) > 1 and tokens[1].text == ":":
        return True
    return (
        bool(tokens)
        and tokens[-1].kind in ("word", "quoted")
        and (tokens[-1].name.lower() == name.lower())
    )


def _cte_names(query: Query) -> frozenset[str]:
    from sqlglot import exp

    return frozenset(cte.alias.lower() for cte in query.tree.find_all(exp.CTE))


def _in_table_position(tokens: list[Token], i: int) -> bool:
    if i == 0:
        return True  # DESCRIBE name, SUMMARIZE name
    before = tokens[i - 1].text.lower()
    if before == ",":
        # A comma of a FROM list: walk back to the clause keyword at this depth.
        depth = 0
        for token in reversed(tokens[:i]):
            text = token.text.lower()
            depth += text == ")"
            depth -= text == "("
            if depth < 0:
                return False
            if (
                depth == 0
                and token.kind == "word"
                and text in ("from", "select", "where", "by", "having", "set", "values", "join")
            ):
                return text in ("from", "join")
        return False
    return before in _TABLE_POSITION


def _has_alias(tokens: list[Token], i: int) -> bool:
    if i >= len(tokens):
        return False
    token = tokens[i]
    if token.kind == "quoted":
        return True
    return token.kind == "word" and (
        token.text.lower() == "as" or token.text.lower() not in _AFTER_NAME
    )


def _view(tokens: list[Token], i: int, view: StoredText) -> Edit:
    token = tokens[i]
    columns = f"({', '.join(map(quote, view.columns))})" if view.columns else ""
    if not _has_alias(tokens, i + 1):
        text = f"({view.body}) AS {quote(token.name)}{columns}"
    elif columns:
        text = f"(SELECT * FROM ({view.body}) AS {quote(view.name)}{columns})"
    else:
        text = f"({view.body})"
    return Edit(Span(token.start, token.end), text)


def _call(text: str, tokens: list[Token], i: int, macro: StoredText) -> Edit:
    arguments: list[Span] = []
    depth, start, end = 0, tokens[i + 1].end, tokens[i + 1].end
    last = i + 1
    for j in range(i + 1, len(tokens)):
        symbol = tokens[j].text
        depth += symbol in ("(", "[", "{")
        depth -= symbol in (")", "]", "}")
        if (symbol == "," and depth == 1) or depth == 0:
            if j > i + 2 or symbol == ",":
                arguments.append(Span(start, tokens[j].start))
            start = tokens[j].end
        if depth == 0:
            end, last = tokens[j].end, j
            break
    if len(arguments) != len(macro.parameters):
        raise ProgrammingError(
            f"{macro.name}() takes {len(macro.parameters)} argument(s), {len(arguments)} given",
            sqlstate="42883",
            span=Span(tokens[i].start, end),
            hint=f"call it as {macro.name}({', '.join(macro.parameters)})",
        )
    values = {
        name.lower(): text[span.start : span.end].strip()
        for name, span in zip(macro.parameters, arguments, strict=True)
    }
    body = substitute(macro.body, values)
    if macro.kind == "table_macro" and not _has_alias(tokens, last + 1):
        body = f"({body}) AS {quote(tokens[i].name)}"
    else:
        body = f"({body})"
    return Edit(Span(tokens[i].start, end), body)


def substitute(body: str, values: Mapping[str, str]) -> str:
    """Return the macro's body with its parameters replaced by argument texts.

    >>> substitute("a + t.a", {"a": "x * 2"})
    '(x * 2) + t.a'
    """
    tokens = tokenize(body)
    edits: list[Edit] = []
    for i, token in enumerate(tokens):
        if token.kind not in ("word", "quoted") or token.name.lower() not in values:
            continue
        before = tokens[i - 1].text if i else ""
        after = tokens[i + 1].text if i + 1 < len(tokens) else ""
        if before == "." or after in ("(", ":=", "=>"):
            continue
        edits.append(Edit(Span(token.start, token.end), f"({values[token.name.lower()]})"))
    return apply(body, edits).text
