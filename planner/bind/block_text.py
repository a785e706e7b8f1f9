"""One aggregate block: its aggregate calls and keys, and its outer text over their result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sqlglot import exp

from foveal.errors import NotSupportedError, ProgrammingError, Span
from foveal.planner.bind.source import Base, close_of
from foveal.planner.logical import FRAME_LEVEL, RELATION_COLUMNS, Aggregate, Key
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


def block_tokens(tokens: tuple[Token, ...], span: Span) -> tuple[Token, ...]:
    """Return the tokens inside `span`."""
    return tuple(t for t in tokens if t.start >= span.start and t.end <= span.end)


def without_alias(tokens: tuple[Token, ...], span: Span, item: exp.Expr) -> Span:
    """Return the part of a select item's span that is its expression."""
    inside = block_tokens(tokens, span)
    if not isinstance(item, exp.Alias) or len(inside) < 2:
        return span
    if len(inside) > 2 and inside[1].text == ":" and inside[0].kind in ("word", "quoted"):
        return Span(inside[2].start, span.end)
    if len(inside) > 2 and inside[-2].text.lower() == "as":
        return Span(span.start, inside[-3].end)
    return Span(span.start, inside[-2].end)


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
        elif name == "count" and not filter_text and self._names_tracks(inside):
            kind, call = "count_tracks", self.render(span)
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

    def _names_tracks(self, inside: list[str]) -> bool:
        """Whether an argument is DISTINCT trackid."""
        if inside[:1] != ["distinct"]:
            return False
        name = [word for word in inside[1:] if word not in ("(", ")")]
        return name in (["trackid"], [self.base.alias.lower(), ".", "trackid"])

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
        items = self._items()
        span = self.block.items[i]
        return without_alias(self.query.tokens, span, items[i]) if items else span

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

    def outer(self, result: str, beside: Sequence[str] = ()) -> str:
        """Return the block's text over its aggregates' result, known as `result`.

        `beside`: further items of the select list, as SQL over that result.

        Raises:
            ProgrammingError: 42803, a column is neither grouped nor aggregated.
        """
        self._check_grouped()
        items = [*(self._item(i) for i in range(len(self.block.items))), *beside]
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
        return f"{text} AS {quote(self.default_name(span))}"

    def default_name(self, span: Span) -> str:
        """Return the name of an item that is given none."""
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
