"""The rest of a query, our clauses blanked → stock sqlglot's tree, with every place still true.

sqlglot's classes are never subclassed: with its compiled build installed that crashes. What its
tokenizer misreads (`$1,$2`, `0x1F`, back-quoted names, unusual blanks) is replaced beforehand by
text of the same length, and bind parameters come back as `exp.Placeholder` nodes with their key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from foveal.errors import ProgrammingError, Span
from foveal.planner.parse.grammar import syntax_error
from foveal.planner.parse.openers import FORMS
from foveal.planner.parse.parts import word_at
from foveal.planner.parse.statement import Token

ROOTS: tuple[type[exp.Expr], ...] = (
    exp.Select, exp.SetOperation, exp.Subquery, exp.Values, exp.Pivot, exp.Update, exp.Delete,
    exp.Merge,
)  # fmt: skip
"""What a query may be; anything else that sqlglot makes of it is a syntax error."""

_EXPECTING = re.compile(r"^Expect(?:ing|ed) (\S+)")


def parse_tree(
    tokens: Sequence[Token],
    start: int,
    end: int,
    base: int,
    keys: Mapping[int, str],
    holes: Sequence[Span] = (),
    prefix: str = "",
) -> exp.Expr:
    """Return sqlglot's tree of the tokens `[start, end)`; its places count from `base`.

    `holes` are the spans of our clauses, `keys` the parameters' keys by place; `prefix` is put
    before the text (and taken off the places), so that a mere name can be read as `FROM name`.

    Raises:
        ProgrammingError: 42601, sqlglot cannot read it; 54001, it nests too deeply.
    """
    text = prefix + _feed(tokens, start, end, base, holes)
    try:
        tree = sqlglot.parse_one(text, dialect="duckdb")
    except SqlglotError as error:
        place = _place(error, text)
        raise _syntax_error(tokens, start, end, place, base - len(prefix), error) from None
    except RecursionError:
        raise ProgrammingError(
            "the statement nests too deeply", sqlstate="54001", hint="split it into several views"
        ) from None
    except (IndexError, KeyError, ValueError, TypeError, AttributeError) as error:
        # sqlglot stumbles over some malformed texts with these instead of an error of its own.
        raise _syntax_error(tokens, start, end, None, base, error) from None
    if not isinstance(tree, ROOTS) or tree.find(exp.Command) is not None:
        raise syntax_error(tokens, start, "write a query here, beginning with SELECT or FROM")
    labels = {
        tokens[i].start: tokens[i].text for i in range(start + 1, end) if _is_label(tokens, i)
    }
    tree = _restore(tree, base - len(prefix), keys, labels)
    if prefix:
        _shift(tree, -len(prefix))
    return tree


def _feed(tokens: Sequence[Token], start: int, end: int, base: int, holes: Sequence[Span]) -> str:
    inside = {hole.start: hole.end for hole in holes}
    skip_to = -1
    parts: list[str] = []
    place = base
    for i in range(start, end):
        token = tokens[i]
        skip_to = max(skip_to, inside.get(token.start, -1))
        if token.start < skip_to:
            continue
        parts.append(" " * (token.start - place))
        parts.append(
            "_" * len(token.text) if i > start and _is_label(tokens, i) else _stand_in(token)
        )
        place = token.end
    return "".join(parts)


def _stand_in(token: Token) -> str:
    """Return text of the token's length that sqlglot reads as DuckDB reads the token."""
    text = token.text
    if token.kind == "param":
        return "_" + text[1:]
    if token.kind == "number" and ("_" in text or (len(text) > 2 and text[1].isalpha())):
        if text[1] in "xXbBoO":
            decimal = str(int(text.replace("_", ""), 0))
            return decimal.ljust(len(text)) if len(decimal) <= len(text) else text
        return text.replace("_", "").ljust(len(text))
    if token.kind == "quoted" and text[0] == "`" and '"' not in text and "``" not in text:
        return f'"{text[1:-1]}"'
    return text


def _is_label(tokens: Sequence[Token], index: int) -> bool:
    """Say whether the token is the label of `1 AS select`, which sqlglot takes for a query."""
    return word_at(tokens, index) == "SELECT" and word_at(tokens, index - 1) == "AS"


def _restore(
    tree: exp.Expr, offset: int, keys: Mapping[int, str], labels: Mapping[int, str]
) -> exp.Expr:
    """Put parameters and labels back where their stand-ins are, known by their places."""
    if not keys and not labels:
        return tree

    def restore(node: exp.Expr) -> exp.Expr:
        name = node
        if isinstance(node, exp.Column) and node.args.get("table") is None:
            name = node.this
        place = name.meta.get("start") if isinstance(name, exp.Identifier) else None
        if not isinstance(place, int):
            return node
        if place + offset in labels:
            return exp.Identifier(this=labels[place + offset], quoted=True).update_positions(name)
        if place + offset not in keys:
            return node
        return exp.Placeholder(this=keys[place + offset]).update_positions(name)

    return tree.transform(restore, copy=False)


def _shift(tree: exp.Expr, by: int) -> None:
    for node in tree.walk():
        for key in ("start", "end"):
            if key in node.meta:
                node.meta[key] += by


def _place(error: SqlglotError, text: str) -> int | None:
    """Return the offset in `text` of the character that sqlglot's error names, if it names one."""
    details = getattr(error, "errors", None)
    if not details or details[0].get("line") is None or details[0].get("col") is None:
        return None
    line, column = int(details[0]["line"]), int(details[0]["col"])
    # sqlglot counts a line's break as its column 1, but the first line from its first character.
    breaks = [m.end() - 1 for m in re.finditer(r"\r\n|\n|\r", text)]
    if line == 1:
        return column - 1
    return breaks[line - 2] + column - 1 if line - 2 < len(breaks) else None


def _syntax_error(
    tokens: Sequence[Token],
    start: int,
    end: int,
    place: int | None,
    base: int,
    error: BaseException,
) -> ProgrammingError:
    index = end
    if place is not None:
        index = next((i for i in range(start, end) if base + place < tokens[i].end), end)
        if word_at(tokens, index) == "BY" and word_at(tokens, index - 1) in ("GROUP", "ORDER"):
            index -= 1  # sqlglot reads the two as one token
    details = getattr(error, "errors", None)
    said = str(details[0].get("description", "")) if details else ""
    found = _EXPECTING.match(said)
    hint = f"{found.group(1)} is expected here" if found else None
    if said.startswith("Required keyword"):
        hint = "an expression is missing here"
    if index < end and tokens[index].text[:2].lower() in ("x'", "b'"):
        hint = r"write a blob as '\xAB'::BLOB"
    clause = word_at(tokens, index - 1)
    if word_at(tokens, index) == "WITHIN" and clause in FORMS:
        hint = f"write {FORMS[clause]} behind a complete FROM, WHERE, GROUP BY, ORDER BY or LIMIT"
    return syntax_error(tokens, index, hint)
