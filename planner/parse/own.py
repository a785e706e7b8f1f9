"""The statements that are foveal's own: recognised by their first tokens, read by clauses.lark."""

from __future__ import annotations

from collections.abc import Sequence

from foveal.errors import NotSupportedError, Span
from foveal.planner.parse.clauses import parameter_keys, parse_clauses
from foveal.planner.parse.grammar import branches, leaves, read, syntax_error
from foveal.planner.parse.lexer import fold, string_value, tokenize
from foveal.planner.parse.mentions import SYSTEM_SCHEMA
from foveal.planner.parse.own_function import parse_function
from foveal.planner.parse.own_proxy import parse_proxy
from foveal.planner.parse.own_stream import parse_stream
from foveal.planner.parse.parts import at, is_op, split_list, word_at
from foveal.planner.parse.statement import (
    AnalyzeVideo,
    CreateStored,
    CreateVideoTable,
    Deallocate,
    DropStored,
    DropVideoTable,
    Execute,
    RefreshVideoTable,
    SetSetting,
    ShowSetting,
    Statement,
    Token,
)
from foveal.planner.parse.values import leaf_span, name_of, options_of, plain_name, value_of
from foveal.planner.parse.wrappers import behind_bracket, find_word

_CREATE_VIDEO = (
    "CREATE [OR REPLACE] VIDEO TABLE [IF NOT EXISTS] name FROM 'cams/*.mp4' [, ..] "
    "[WITH (detector = 'yolox_nano', ..)]"
)


def parse_own(
    text: str, tokens: Sequence[Token], names: frozenset[str], prepared: frozenset[str]
) -> Statement | None:
    """Return the statement if its first tokens make it foveal's own, else None.

    EXPLAIN, PREPARE, and CREATE VIEW and MACRO depend on what they hold; the parser reads those.

    Raises:
        ProgrammingError: 42601, it is ours and malformed.
    """
    words = [word_at(tokens, i) for i in range(5)]
    first, second = words[0], words[1]
    stream = parse_stream(text, tokens)
    if stream is not None:
        return stream
    if first == "CREATE" and "VIDEO" in (second, words[3] if second == "OR" else ""):
        return _create_video(text, tokens)
    if first == "DROP" and second == "VIDEO":
        node = read("drop_video", tokens, 0, len(tokens), "DROP VIDEO TABLE [IF EXISTS] name")
        name, span = name_of(node, tokens)
        return DropVideoTable(text, name, span, bool(branches(node, "if_exists")))
    if first == "REFRESH":
        node = read("refresh_video", tokens, 0, len(tokens), "REFRESH VIDEO TABLE name")
        return RefreshVideoTable(text, *name_of(node, tokens))
    if first == "ANALYZE" and second == "VIDEO":
        return _analyze_video(text, tokens)
    proxy = parse_proxy(text, tokens)
    if proxy is not None:
        return proxy
    if first in ("SET", "RESET", "SHOW"):
        return _setting(text, tokens)
    if first == "DROP" and second in ("VIEW", "MACRO", "FUNCTION"):
        stored = _drop_stored(text, tokens, names)
        return parse_function(text, tokens) if stored is None else stored
    function = parse_function(text, tokens)
    if function is not None:
        return function
    if first == "EXECUTE":
        return _execute(text, tokens, prepared)
    if first == "DEALLOCATE":
        return _deallocate(text, tokens, prepared)
    return None


def stored_header(tokens: Sequence[Token]) -> int | None:
    """Return the index behind the AS of CREATE VIEW or CREATE MACRO, or None if it is neither."""
    if word_at(tokens, 0) != "CREATE":
        return None
    skipped = {"OR", "REPLACE", "TEMP", "TEMPORARY", "RECURSIVE"}
    kind = next((i for i in range(1, len(tokens)) if word_at(tokens, i) not in skipped), 0)
    if word_at(tokens, kind) not in ("VIEW", "MACRO", "FUNCTION"):
        return None
    as_ = find_word(tokens, kind + 1, frozenset({"AS"}))
    return None if as_ is None else as_ + 1


def create_stored(text: str, tokens: Sequence[Token], behind_as: int) -> CreateStored:
    """Return the view or macro whose header is the tokens before `behind_as`.

    Raises:
        ProgrammingError: 42601, the header is malformed or the body missing.
        NotSupportedError: 0A000, the name has a schema.
    """
    is_view = any(word_at(tokens, i) == "VIEW" for i in range(1, 6))
    form = (
        "CREATE [OR REPLACE] VIEW name [(columns)] AS SELECT .."
        if is_view
        else "CREATE [OR REPLACE] MACRO name(parameters) AS [TABLE SELECT ..]"
    )
    body = behind_as
    if not is_view and word_at(tokens, body) == "TABLE":
        body += 1
    kind = "view" if is_view else "table_macro" if body > behind_as else "scalar_macro"
    _refuse_schema(tokens, behind_as)
    node = read("create_view" if is_view else "create_macro", tokens, 0, behind_as, form)
    if body >= len(tokens):
        raise syntax_error(tokens, len(tokens), f"write {form}")
    name, span = name_of(node, tokens)
    lists = {rule: branches(node, rule) for rule in ("columns", "macro_parameters")}
    columns, parameters = (
        tuple(plain_name(part) for held in lists[rule] for part in branches(held, "name"))
        for rule in ("columns", "macro_parameters")
    )
    return CreateStored(
        text,
        name,
        span,
        kind,
        bool(branches(node, "or_replace")),
        bool(branches(node, "if_not_exists")),
        parameters,
        columns,
        Span(tokens[body].start, tokens[-1].end),
        temporary=bool(branches(node, "temporary")),
    )


def _create_video(text: str, tokens: Sequence[Token]) -> CreateVideoTable:
    node = read("create_video", tokens, 0, len(tokens), _CREATE_VIDEO)
    base = tokens[0].start
    name, span = name_of(node, tokens)
    sources = [leaves(source)[0] for source in branches(node, "source")]
    options, option_spans = options_of(node, tokens)
    return CreateVideoTable(
        text,
        name,
        span,
        bool(branches(node, "or_replace")),
        bool(branches(node, "if_not_exists")),
        tuple(string_value(tokenize(str(source))[0]) for source in sources),
        tuple(leaf_span(source, base) for source in sources),
        options,
        option_spans,
    )


def _analyze_video(text: str, tokens: Sequence[Token]) -> AnalyzeVideo | None:
    """Return the statement; None for DuckDB's `ANALYZE video` of a table called video."""
    named = at(tokens, 2)
    if named is None or named.kind not in ("word", "quoted"):
        return None
    form = "ANALYZE VIDEO name [BUDGET 60 SECONDS | BUDGET 2000 CALLS]"
    if word_at(tokens, 2) == "BUDGET" and word_at(tokens, 3) != "BUDGET" and len(tokens) > 3:
        raise syntax_error(tokens, 2, f"name the table: write {form}")
    name, span = name_of(read("analyze_video", tokens, 0, 3, form), tokens)
    if at(tokens, 3) is None:
        return AnalyzeVideo(text, name, span, None)
    if word_at(tokens, 3) != "BUDGET":
        raise syntax_error(tokens, 3, f"write {form}")
    run = ("BUDGET", 3, len(tokens))
    clauses = parse_clauses(tokens, [run], False, parameter_keys(tokens))
    return AnalyzeVideo(text, name, span, clauses.budget)


def _setting(text: str, tokens: Sequence[Token]) -> Statement | None:
    first = word_at(tokens, 0)
    at_name = 2 if word_at(tokens, 1) in ("SESSION", "LOCAL", "GLOBAL") and first != "SHOW" else 1
    schema = at(tokens, at_name)
    if schema is None or fold(schema.name) != SYSTEM_SCHEMA:
        return None
    if not is_op(at(tokens, at_name + 1), "."):
        return None
    rules: dict[str, tuple[str, str]] = {
        "SET": ("set_setting", "SET foveal.name = value"),
        "RESET": ("reset_setting", "RESET foveal.name"),
        "SHOW": ("show_setting", "SHOW foveal.name or SHOW foveal.ALL"),
    }
    rule, form = rules[first]
    node = read(rule, tokens, 0, len(tokens), form)
    setting = branches(branches(node, "setting")[0], "name")[1]
    base = tokens[0].start
    name, span = fold(plain_name(setting)), leaf_span(leaves(setting)[0], base)
    if rule == "show_setting":
        return ShowSetting(text, name, span)
    values = branches(node, "value")
    if not values or str(leaves(values[0])[0]).upper() == "DEFAULT":
        return SetSetting(text, name, span, None, None)
    return SetSetting(text, name, span, *value_of(values[0], base))


def _drop_stored(text: str, tokens: Sequence[Token], names: frozenset[str]) -> DropStored | None:
    last = len(tokens) - 1
    if word_at(tokens, last) in ("CASCADE", "RESTRICT"):
        last -= 1
    token = tokens[last]
    if fold(token.name) not in names or is_op(at(tokens, last - 1), "."):
        return None
    node = read("drop_stored", tokens, 0, len(tokens), "DROP VIEW | MACRO [TABLE] [IF EXISTS] name")
    kinds = [str(leaf).upper() for leaf in leaves(branches(node, "stored_kind")[0])]
    kind = "view" if kinds[0] == "VIEW" else "table_macro" if len(kinds) > 1 else "scalar_macro"
    name, span = name_of(node, tokens)
    return DropStored(text, name, span, kind, bool(branches(node, "if_exists")))


def _execute(text: str, tokens: Sequence[Token], prepared: frozenset[str]) -> Execute | None:
    token = at(tokens, 1)
    if token is None or fold(token.name) not in prepared:
        return None
    form = "EXECUTE name [(argument, ..)]"
    arguments: list[tuple[str, Span]] = []
    if len(tokens) > 2:
        if not is_op(tokens[2], "("):
            raise syntax_error(tokens, 2, f"write {form}")
        if behind_bracket(tokens, 2) != len(tokens) or not is_op(tokens[-1], ")"):
            raise syntax_error(tokens, behind_bracket(tokens, 2), f"write {form}")
        for i, span in enumerate(split_list(tokens, 3, len(tokens) - 1), start=1):
            start = next(k for k in range(3, len(tokens)) if tokens[k].start == span.start)
            following = at(tokens, start + 1)
            if is_op(following, ":=") or is_op(following, "=>") or is_op(following, "="):
                value = tokens[start + 2].start
                arguments.append((tokens[start].name, Span(value, span.end)))
            else:
                arguments.append((str(i), span))
    return Execute(text, token.name, Span(token.start, token.end), tuple(arguments))


def _deallocate(text: str, tokens: Sequence[Token], prepared: frozenset[str]) -> Deallocate | None:
    if fold(tokens[-1].name) not in prepared or len(tokens) > 3:
        return None
    node = read("deallocate", tokens, 0, len(tokens), "DEALLOCATE [PREPARE] name")
    return Deallocate(text, *name_of(node, tokens))


def _refuse_schema(tokens: Sequence[Token], end: int) -> None:
    for i in range(1, end):
        if is_op(tokens[i], "("):
            return
        if is_op(tokens[i], "."):
            raise NotSupportedError(
                "a view or macro over video tables lives in no schema",
                span=Span(tokens[i - 1].start, tokens[min(i + 1, end - 1)].end),
                hint="leave the schema out of its name",
            )
