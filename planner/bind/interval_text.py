"""SQL of intervals: the bounds of an affine expression from those of the values it holds.

For an expression e that is affine in the values v of several independent columns, with v_k known
to lie in [l_k, h_k], e lies in [e + S_k min(e(l_k) - e, e(h_k) - e), e + S_k max(..)], where e(x_k)
has x_k in place of v_k: interval arithmetic, exact for affine expressions. Its confidence is that
of all its parts together, by the union bound (Bonferroni).
Source: Moore, Kearfott, Cloud, "Introduction to Interval Analysis" (2009), section 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from foveal.errors import Span
from foveal.planner.parse.statement import Token
from foveal.planner.text import Edit, Mapped, apply

INTERVAL = "__fvi"
"""What the names of hidden columns begin with."""

Path = tuple[int, ...]
Parts = frozenset[frozenset[Path]]
"""The block values that a column may be made of: one set per arm of a UNION ALL that it comes from.

A path is the block's index, then the mentions in FROM through which its row was chosen: the rows of
two mentions are different ones.
"""
EXACT: Parts = frozenset([frozenset[Path]()])
_MOST_ARMS = 64


def read_through(parts: Parts, mention: int) -> Parts:
    """Return the parts of a column as one mention of its query in FROM gives it."""
    return frozenset(frozenset((*path, mention) for path in arm) for arm in parts)


def combined(several: Sequence[Parts]) -> Parts:
    """Return the parts of an expression over several columns."""
    if not several:
        return EXACT
    count = 1
    for parts in several:
        count *= len(parts)
    if count > _MOST_ARMS:
        return frozenset([frozenset(p for parts in several for arm in parts for p in arm)])
    return frozenset(frozenset[Path]().union(*arms) for arms in product(*several))


def confidences(
    asked: Mapping[int, float], columns: Sequence[Parts], *, joint: bool
) -> tuple[dict[int, float], list[float]]:
    """Return each block's confidence, and that of each column's intervals.

    `asked`: the blocks' own confidences, by index. Where g blocks are combined into one value each
    gets 1/g of its error probability. `joint`: a block's rows hold together; otherwise two rows of
    one block count like two blocks.
    """
    shares = dict.fromkeys(asked, 1)
    for parts in columns:
        for arm in parts:
            size = len({path[0] for path in arm} if joint else arm)
            for path in arm:
                shares[path[0]] = max(shares[path[0]], size)
    each = {i: (1 - confidence) / shares[i] for i, confidence in asked.items()}
    sure: list[float] = []
    for parts in columns:
        spent = [
            sum(each[i] for i in ({p[0] for p in arm} if joint else [p[0] for p in arm]))
            for arm in parts
        ]
        sure.append(round(1 - max(spent, default=0.0), 12))
    return {
        i: round(1 - delta, 12) if shares[i] > 1 else asked[i] for i, delta in each.items()
    }, sure


@dataclass(frozen=True, slots=True)
class Group:
    """One approximate value in an expression: all the places that name it.

    `value`: SQL of its struct of bounds. `nested`: places of an alias of the same select list, each
    with the span of the expression that it stands for and the value's places in that. `body`: SQL
    that goes to the places instead, with `{field}` for the bound's name.
    """

    key: tuple[str, str]
    value: str
    parts: Parts
    places: tuple[Span, ...] = ()
    nested: tuple[tuple[Span, Span, Group], ...] = ()
    body: str = ""

    def read(self, field: str) -> str:
        """Return SQL of one bound: lo, hi, samples or met."""
        return (
            "(" + self.body.replace("{field}", field) + ")"
            if self.body
            else f"{self.value}.{field}"
        )


class ShadowText:
    """The statement's text with hidden columns: the edits that it needs beside the binder's own."""

    def __init__(self, blanked: str, clean: Sequence[Edit]) -> None:
        """Take the text and the edits that lead to what DuckDB reads without intervals."""
        self._blanked = blanked
        self._clean = clean
        self._replaced: list[Edit] = []
        self._inserted: list[Edit] = []

    def fork(self) -> ShadowText:
        """Return a copy whose further edits do not reach this one."""
        other = ShadowText(self._blanked, self._clean)
        other._replaced, other._inserted = list(self._replaced), list(self._inserted)
        return other

    def replace(self, span: Span, text: str) -> None:
        """Put `text` in place of `span`, before any other edit of it."""
        self._replaced.append(Edit(span, text))

    def insert(self, at: int, text: str) -> None:
        """Put `text` after what else is inserted there."""
        self._inserted.append(Edit(Span(at, at), text))

    def exclude(self, tokens: Sequence[Token], span: Span, names: Sequence[str]) -> None:
        """Let the star in `span` leave out hidden columns."""
        inside = [t for t in tokens if span.start <= t.start and t.end <= span.end]
        at = next(i for i, t in enumerate(inside) if t.text == "*")
        listed = ", ".join(names)
        rest = inside[at + 1 :]
        if not rest or rest[0].text.lower() not in ("exclude", "except"):
            self.insert(inside[at].end, f" EXCLUDE ({listed})")
        elif rest[1].text == "(":
            self.insert(rest[1].end, f"{listed}, ")
        else:
            self.insert(rest[1].start, f"({listed}, ")
            self.insert(rest[1].end, ")")

    def whole(self) -> Mapped:
        """Return the statement's text."""
        return apply(self._blanked, [*self._replaced, *self._clean, *self._inserted])

    def part(self, span: Span) -> str:
        """Return the text of `span`."""
        return apply(self._blanked, [*self._replaced, *self._clean, *self._inserted], span).text

    def struct(self, span: Span, groups: Sequence[Group], base: Sequence[Edit]) -> str:
        """Return SQL of the struct of bounds of the expression in `span`.

        `base` are the edits that the expression needs anyway.
        """
        value = self._value(span, base)
        if not groups:
            return self.exact(value)
        if len(groups) == 1 and groups[0].places == (span,) and groups[0].value:
            return groups[0].value
        low: list[str] = []
        high: list[str] = []
        for group in groups:
            ends = [
                self._value(span, [*self._edits(group, field, base), *base])
                for field in ("lo", "hi")
            ]
            alone = len(groups) == 1
            moved = [end if alone else f"{end} - {value}" for end in ends]
            low.append(f"least({', '.join(moved)})")
            high.append(f"greatest({', '.join(moved)})")
        if len(groups) > 1:
            low, high = [value, *low], [value, *high]
        samples = " + ".join(g.read("samples") for g in groups)
        met = " AND ".join(g.read("met") for g in groups)
        return (
            f"{{'lo': {' + '.join(low)}, 'hi': {' + '.join(high)}, "
            f"'samples': ({samples})::BIGINT, 'met': ({met})}}"
        )

    @staticmethod
    def exact(value: str) -> str:
        """Return SQL of the struct of bounds of an exact value."""
        number = f"TRY_CAST({value} AS DOUBLE)"
        return f"{{'lo': {number}, 'hi': {number}, 'samples': 0::BIGINT, 'met': true}}"

    def _value(self, span: Span, edits: Sequence[Edit]) -> str:
        return f"({self._inner(span, edits)})::DOUBLE"

    def _inner(self, span: Span, edits: Sequence[Edit]) -> str:
        """Return the text of an expression, without the name that is put behind an item."""
        clean = [e for e in self._clean if e.span != Span(span.end, span.end)]
        return apply(self._blanked, [*edits, *self._replaced, *clean], span).text.strip()

    def _edits(self, group: Group, field: str, base: Sequence[Edit]) -> list[Edit]:
        """Return the edits that put a bound in the value's place."""
        text = group.body.replace("{field}", field) if group.body else group.read(field)
        found = [Edit(place, text) for place in group.places]
        for place, meant, there in group.nested:
            inner = self._inner(meant, [*self._edits(there, field, base), *base])
            found.append(Edit(place, f"({inner})"))
        return found
