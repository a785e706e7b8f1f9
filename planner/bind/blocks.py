"""One aggregate block over a video relation: its source, keys, aggregate calls and outer text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlglot import exp

from foveal.errors import NotSupportedError, ProgrammingError, Span
from foveal.planner.bind.references import Reference, enclosing_select, visible_ctes
from foveal.planner.logical import (
    FRAME_LEVEL,
    RELATION_COLUMNS,
    Aggregate,
    Conjunct,
    Key,
    Source,
)
from foveal.planner.parse.statement import Block, Query, Token
from foveal.planner.text import Edit, quote

AGGREGATES = frozenset(
    [
        "any_value",
        "approx_count_distinct",
        "approx_quantile",
        "approx_top_k",
        "arbitrary",
        "arg_max",
        "arg_max_null",
        "arg_min",
        "arg_min_null",
        "argmax",
        "argmin",
        "array_agg",
        "avg",
        "bit_and",
        "bit_or",
        "bit_xor",
        "bitstring_agg",
        "bool_and",
        "bool_or",
        "corr",
        "count",
        "count_if",
        "countif",
        "count_star",
        "covar_pop",
        "covar_samp",
        "entropy",
        "favg",
        "fcount",
        "first",
        "fsum",
        "geomean",
        "geometric_mean",
        "group_concat",
        "histogram",
        "kahan_sum",
        "kurtosis",
        "kurtosis_pop",
        "last",
        "list",
        "listagg",
        "mad",
        "max",
        "max_by",
        "mean",
        "median",
        "min",
        "min_by",
        "mode",
        "product",
        "quantile",
        "quantile_cont",
        "quantile_disc",
        "regr_avgx",
        "regr_avgy",
        "regr_count",
        "regr_intercept",
        "regr_r2",
        "regr_slope",
        "regr_sxx",
        "regr_sxy",
        "regr_syy",
        "reservoir_quantile",
        "sem",
        "skewness",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "string_agg",
        "sum",
        "sum_no_overflow",
        "sumkahan",
        "var_pop",
        "var_samp",
        "variance",
    ]
)
"""DuckDB's aggregate functions, and FCOUNT."""

SAMPLED_KINDS = ("fcount", "count_star", "count", "sum", "avg")
"""Aggregates that a sample of frames can bound."""


class Render(Protocol):
    """Gives a span's text with the binder's edits made, and `extra` ones, which go first."""

    def __call__(self, span: Span, extra: Sequence[Edit] = ()) -> str:
        """Return the edited text of `span`."""
        ...


def from_clause(select: exp.Select) -> exp.Expr | None:
    """Return the thing after FROM, or None."""
    held = select.args.get("from_") or select.args.get("from")
    return held.this if held is not None else None


def has_joins(select: exp.Select) -> bool:
    """Whether more than one relation stands in FROM."""
    held = from_clause(select)
    return bool(
        select.args.get("joins")
        or select.args.get("laterals")
        or (held is not None and (held.args.get("joins") or held.args.get("laterals")))
    )


def block_tokens(tokens: tuple[Token, ...], span: Span) -> tuple[Token, ...]:
    """Return the tokens inside `span`."""
    return tuple(t for t in tokens if t.start >= span.start and t.end <= span.end)


def close_of(tokens: tuple[Token, ...], i: int) -> int:
    """Return the index of the parenthesis that closes the one at `i`."""
    depth = 0
    for j in range(i, len(tokens)):
        depth += tokens[j].text in ("(", "[", "{")
        depth -= tokens[j].text in (")", "]", "}")
        if depth == 0:
            return j
    return len(tokens) - 1


@dataclass(frozen=True, slots=True)
class Base:
    """Where a block's rows come from, followed through simple sub-queries down to the relation.

    `levels` pairs each level's alias with its WHERE parts, innermost first, without the block's
    own; `texts` are the FROM items' source texts with `{rows}` for the relation's name.
    """

    ref: Reference
    alias: str
    sql: str
    levels: tuple[tuple[str, tuple[Conjunct, ...]], ...]


def follow(
    select: exp.Select,
    query: Query,
    refs: tuple[Reference, ...],
    conjuncts_of: Callable[[exp.Select, str, str], tuple[Conjunct, ...]],
) -> Base | None:
    """Return the one video relation under `select`, or None when its FROM is anything else.

    Sub-queries and common table expressions are followed where they only choose rows: a plain
    `SELECT *` or a list of bare columns with WHERE over one relation.
    """
    if has_joins(select):
        return None
    item = from_clause(select)
    if isinstance(item, exp.Table):
        if item.args.get("sample") or item.args.get("pivots"):
            return None
        for ref in refs:
            if ref.node is item:
                if ref.relation == "system":
                    return None
                return Base(ref, ref.alias, "{rows} AS " + quote(ref.alias), ())
        if item.args.get("db") is None:
            cte = visible_ctes(item).get(item.name.lower())
            if cte is not None and not _recursive(cte):
                if cte.args.get("alias") is not None and cte.args["alias"].args.get("columns"):
                    return None
                return _through(cte.this, item.alias or item.name, query, refs, conjuncts_of)
        return None
    if isinstance(item, exp.Subquery) and isinstance(item.this, exp.Select):
        alias_node = item.args.get("alias")
        if alias_node is not None and alias_node.args.get("columns"):
            return None
        if item.args.get("pivots") or item.args.get("sample"):
            return None
        return _through(item.this, item.alias or "__rows", query, refs, conjuncts_of)
    return None


def _recursive(cte: exp.CTE) -> bool:
    return bool(cte.parent is not None and cte.parent.args.get("recursive"))


def _through(
    inner: exp.Expr,
    alias: str,
    query: Query,
    refs: tuple[Reference, ...],
    conjuncts_of: Callable[[exp.Select, str, str], tuple[Conjunct, ...]],
) -> Base | None:
    if not isinstance(inner, exp.Select) or not only_chooses(inner):
        return None
    base = follow(inner, query, refs, conjuncts_of)
    if base is None:
        return None
    bare = [e for e in inner.expressions if isinstance(e, exp.Column) and not e.is_star]
    columns = {e.name.lower() for e in bare}
    if len(bare) != len(inner.expressions):
        if len(inner.expressions) != 1 or not inner.expressions[0].is_star:
            return None
        star = inner.expressions[0]
        star = star.this if isinstance(star, exp.Column) else star
        if any(star.args.get(key) for key in ("except_", "except", "replace", "rename")):
            return None
        items = "*"
    else:
        if not {"video", "frame"} <= columns:
            return None
        items = ", ".join(quote(e.name) for e in bare)
    conjuncts = conjuncts_of(inner, base.alias, base.ref.relation)
    where = " AND ".join(f"({c.text})" for c in conjuncts)
    sql = f"(SELECT {items} FROM {base.sql}" + (f" WHERE {where}" if where else "") + ")"
    return Base(
        base.ref, alias, f"{sql} AS {quote(alias)}", (*base.levels, (base.alias, conjuncts))
    )


def only_chooses(select: exp.Select) -> bool:
    """Whether a SELECT has nothing but items, FROM and WHERE."""
    allowed = {"expressions", "from_", "from", "where", "kind", "hint"}
    return all(not value or key in allowed for key, value in select.args.items())


def source_of(base: Base, own: tuple[Conjunct, ...]) -> Source:
    """Return the block's source with the frame-only conjuncts of every level."""
    levels = [(alias, tuple(c for c in cs if c.frame_only)) for alias, cs in base.levels]
    levels.append((base.alias, tuple(c for c in own if c.frame_only)))
    return Source(base.sql, tuple(levels))


def mixes_frames_and_objects(node: exp.Expr, alias: str, relation: str) -> bool:
    """Whether an OR has a branch that speaks of frames only and one that speaks of objects."""
    for either in node.find_all(exp.Or):
        branches = [relation_columns(b, alias, relation) for b in either.flatten()]
        frame = any(b and b <= FRAME_LEVEL for b in branches)
        if frame and any(b - FRAME_LEVEL for b in branches):
            return True
    return False


def relation_columns(node: exp.Expr, alias: str, relation: str) -> frozenset[str]:
    """Return the relation's columns that an expression reads (names inside sub-queries count)."""
    known = set(RELATION_COLUMNS[relation])
    return frozenset(
        column.name.lower()
        for column in node.find_all(exp.Column)
        if column.name.lower() in known and column.table.lower() in ("", alias.lower())
    )


class BlockText:
    """Finds keys and aggregate calls in a block and writes its outer text over their result."""

    def __init__(
        self, query: Query, block: Block, select: exp.Select, base: Base, render: Render
    ) -> None:
        """Take the block, its sqlglot SELECT and what it reads from."""
        self.query = query
        self.block = block
        self.select = select
        self.base = base
        self.render = render
        self.edits: list[Edit] = []
        self.keys: list[Key] = []
        self.aggregates: list[Aggregate] = []
        self._calls: dict[str, Aggregate] = {}

    # --- aggregate calls ---------------------------------------------------------------------

    def find_aggregates(self) -> tuple[Aggregate, ...]:
        """Collect the aggregate calls of the select list, HAVING and ORDER BY."""
        parts = [*self.block.items, self.block.having, self.block.order_by]
        for part in parts:
            if part is not None:
                self._find_in(part)
        return tuple(self.aggregates)

    def _find_in(self, part: Span) -> None:
        tokens = block_tokens(self.query.tokens, part)
        i = 0
        while i < len(tokens):
            token = tokens[i]
            called = i + 1 < len(tokens) and tokens[i + 1].text == "("
            if (
                token.text == "("
                and i + 1 < len(tokens)
                and tokens[i + 1].text.lower() in ("select", "from", "with")
            ):
                i = close_of(tokens, i) + 1  # a sub-query's aggregates are its own
                continue
            if token.kind == "word" and called and token.text.lower() in AGGREGATES:
                i = self._call(tokens, i)
                continue
            i += 1

    def _call(self, tokens: tuple[Token, ...], i: int) -> int:
        name = tokens[i].text.lower()
        close = close_of(tokens, i + 1)
        end, filter_text = close, ""
        if close + 1 < len(tokens) and tokens[close + 1].text.lower() == "filter":
            end = close_of(tokens, close + 2)
            filter_text = self.render(Span(tokens[close + 1].start, tokens[end].end))
        if end + 1 < len(tokens) and tokens[end + 1].text.lower() == "over":
            raise NotSupportedError(
                "a window function cannot stand in a block that has FCOUNT or ERROR WITHIN",
                span=Span(tokens[i].start, tokens[end + 1].end),
                hint="compute the aggregate in a sub-query and put the window around it",
            )
        span = Span(tokens[i].start, tokens[end].end)
        argument_span = Span(tokens[i + 1].end, tokens[close].start)
        argument = self.render(argument_span).strip()
        inside = [t.text.lower() for t in tokens[i + 2 : close]]
        source = self.query.text[span.start : span.end]
        plain = not inside or inside[0] != "distinct"
        plain = plain and "order" not in inside
        if name == "fcount":
            kind, call = "fcount", f"count(*) {filter_text}".strip()
        elif name == "count" and argument in ("*", ""):
            kind, call = "count_star", f"count(*) {filter_text}".strip()
        elif name in ("count", "sum", "avg", "mean") and plain:
            kind = "avg" if name == "mean" else name
            call = f"{kind}({argument}) {filter_text}".strip()
        else:
            kind, call = "other", self.render(span)
        known = self._calls.get(kind + "\0" + call)
        if known is None:
            known = Aggregate(
                kind, call, argument, filter_text, f"__a{len(self.aggregates)}", span, source
            )
            self._calls[kind + "\0" + call] = known
            self.aggregates.append(known)
        self.edits.append(Edit(span, known.column))
        return end + 1

    # --- keys --------------------------------------------------------------------------------

    def find_keys(self) -> tuple[Key, ...]:
        """Collect the grouping keys; GROUP BY ALL, positions and item aliases are resolved."""
        if self.block.group_by is None:
            return ()
        spans = list(self.block.group_keys)
        whole = self.query.text[self.block.group_by.start : self.block.group_by.end].strip().lower()
        if not spans or whole == "all":
            calls = [edit.span for edit in self.edits]
            spans = [
                self._expression(i)
                for i, item in enumerate(self.block.items)
                if not any(item.start <= c.start and c.end <= item.end for c in calls)
            ]
        for span in spans:
            resolved = self._resolve_key(span)
            first = block_tokens(self.query.tokens, span)
            word = first[0].text.lower() if first else ""
            if word in ("grouping", "rollup", "cube") and len(first) > 1:
                raise NotSupportedError(
                    "GROUPING SETS, ROLLUP and CUBE cannot group frames",
                    span=span,
                    hint="write one block per grouping and UNION ALL them",
                )
            columns = self._columns_in(resolved)
            self.keys.append(
                Key(
                    self.render(resolved),
                    f"__k{len(self.keys)}",
                    columns <= FRAME_LEVEL,
                    self.query.text[resolved.start : resolved.end],
                )
            )
            self._mark_key(resolved, self.keys[-1].column)
        return tuple(self.keys)

    def _columns_in(self, span: Span) -> frozenset[str]:
        known = set(RELATION_COLUMNS[self.base.ref.relation])
        return frozenset(
            t.name.lower()
            for t in block_tokens(self.query.tokens, span)
            if t.kind in ("word", "quoted") and t.name.lower() in known
        )

    def _resolve_key(self, span: Span) -> Span:
        text = self.query.text[span.start : span.end].strip()
        if text.isdigit() and 1 <= int(text) <= len(self.block.items):
            return self._expression(int(text) - 1)
        tokens = block_tokens(self.query.tokens, span)
        if len(tokens) == 1 and tokens[0].kind in ("word", "quoted"):
            name = tokens[0].name.lower()
            if name not in RELATION_COLUMNS[self.base.ref.relation]:
                for i, item in enumerate(self._items()):
                    if isinstance(item, exp.Alias) and item.alias.lower() == name:
                        return self._expression(i)
        return span

    def _items(self) -> list[exp.Expr]:
        items = list(self.select.expressions)
        return items if len(items) == len(self.block.items) else []

    def _expression(self, i: int) -> Span:
        """Return the span of item i without its alias."""
        span = self.block.items[i]
        tokens = block_tokens(self.query.tokens, span)
        items = self._items()
        if not items or not isinstance(items[i], exp.Alias) or len(tokens) < 2:
            return span
        if len(tokens) > 2 and tokens[1].text == ":" and tokens[0].kind in ("word", "quoted"):
            return Span(tokens[2].start, span.end)
        if len(tokens) > 2 and tokens[-2].text.lower() == "as":
            return Span(span.start, tokens[-3].end)
        return Span(span.start, tokens[-2].end)

    def _mark_key(self, key: Span, column: str) -> None:
        wanted = self._normal(block_tokens(self.query.tokens, key))
        for part in (*self.block.items, self.block.having, self.block.order_by):
            if part is None:
                continue
            tokens = block_tokens(self.query.tokens, part)
            for i in range(len(tokens)):
                for j in range(i + 1, min(len(tokens), i + 2 * len(wanted) + 1) + 1):
                    run = tokens[i:j]
                    if self._normal(run) != wanted:
                        continue
                    if (i and tokens[i - 1].text == ".") or (
                        i and tokens[i - 1].text.lower() == "as"
                    ):
                        continue
                    if j < len(tokens) and tokens[j].text in (".", "(", ":"):
                        continue
                    span = Span(run[0].start, run[-1].end)
                    if not any(
                        e.span.start <= span.start and span.end <= e.span.end for e in self.edits
                    ):
                        self.edits.append(Edit(span, column))
                    break

    def _normal(self, tokens: tuple[Token, ...]) -> tuple[str, ...]:
        parts: list[str] = []
        i = 0
        while i < len(tokens):
            token = tokens[i]
            qualified = (
                token.kind in ("word", "quoted")
                and token.name.lower() == self.base.alias.lower()
                and i + 2 < len(tokens)
                and tokens[i + 1].text == "."
            )
            if qualified:
                i += 2
                continue
            is_name = token.kind in ("word", "quoted")
            parts.append(token.name.lower() if is_name else token.text)
            i += 1
        return tuple(parts)

    # --- the outer text ------------------------------------------------------------------------

    def outer(self, result: str) -> str:
        """Return the block's text over its aggregates' result, known as `result`.

        Raises:
            ProgrammingError: 42803, a column is neither grouped nor aggregated.
        """
        self._check_grouped()
        items = [self._item(i) for i in range(len(self.block.items))]
        distinct = "DISTINCT " if self.block.distinct else ""
        parts = [f"SELECT {distinct}{', '.join(items)} FROM {result}"]
        for words, span in (
            ("WHERE", self.block.having),
            ("ORDER BY", self.block.order_by),
            ("LIMIT", self.block.limit),
            ("OFFSET", self.block.offset),
        ):
            if span is not None:
                parts.append(f"{words} {self._edited(span)}")
        return " ".join(parts)

    def _edited(self, span: Span) -> str:
        return self.render(span, self.edits)

    def _item(self, i: int) -> str:
        span = self.block.items[i]
        text = self._edited(span)
        items = self._items()
        if items and isinstance(items[i], exp.Alias):
            return text
        if text == self.query.text[span.start : span.end]:
            return text
        return f"{text} AS {quote(self._default_name(span))}"

    def _default_name(self, span: Span) -> str:
        source = self.query.text[span.start : span.end].strip()
        for call in self.aggregates:
            if source == call.source and not call.filter:
                if call.kind == "count_star":
                    return "count_star()"
                return source.lower() if call.kind == "fcount" else source
        tokens = block_tokens(self.query.tokens, span)
        if len(tokens) in (1, 3) and tokens[-1].kind in ("word", "quoted"):
            return tokens[-1].name
        return source

    def _check_grouped(self) -> None:
        known = set(RELATION_COLUMNS[self.base.ref.relation])
        aliases = {i.alias.lower() for i in self._items() if isinstance(i, exp.Alias)}
        for span, item in zip(self.block.items, self._items(), strict=False):
            if item.is_star:
                raise ProgrammingError(
                    "a star beside an aggregate reads columns that are not grouped",
                    sqlstate="42803",
                    span=span,
                    hint="name the columns of GROUP BY",
                )
        for part in (*self.block.items, self.block.having, self.block.order_by):
            if part is None:
                continue
            tokens = block_tokens(self.query.tokens, part)
            i = 0
            while i < len(tokens):
                token = tokens[i]
                if (
                    token.text == "("
                    and i + 1 < len(tokens)
                    and tokens[i + 1].text.lower() in ("select", "from", "with")
                ):
                    i = close_of(tokens, i) + 1
                    continue
                i += 1
                if token.kind not in ("word", "quoted") or token.name.lower() not in known:
                    continue
                before = tokens[i - 2].text if i >= 2 else ""
                after = tokens[i].text if i < len(tokens) else ""
                if before.lower() == "as" or after in ("(", ".") or token.name.lower() in aliases:
                    continue
                inside = any(
                    e.span.start <= token.start and token.end <= e.span.end for e in self.edits
                )
                if not inside:
                    raise ProgrammingError(
                        f'column "{token.name}" must appear in the GROUP BY clause or be used in '
                        "an aggregate function",
                        sqlstate="42803",
                        span=Span(token.start, token.end),
                    )


def local_aliases(select: exp.Select) -> frozenset[str]:
    """Return the names that qualify columns within `select` and below it."""
    names: set[str] = set()
    for node in select.find_all(exp.Table, exp.Subquery, exp.CTE, exp.Lateral):
        names.add(node.alias_or_name.lower())
    return frozenset(names)


def outer_qualifier(select: exp.Select) -> exp.Column | None:
    """Return a column that belongs to an enclosing query, or None: is the block correlated?"""
    local = local_aliases(select)
    outside: set[str] = set()
    parent = enclosing_select(select)
    while parent is not None:
        outside |= set(local_aliases(parent))
        parent = enclosing_select(parent)
    for column in select.find_all(exp.Column):
        if column.table and column.table.lower() not in local and column.table.lower() in outside:
            return column
    return None
