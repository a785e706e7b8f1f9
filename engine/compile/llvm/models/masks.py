"""The kernel of forests whose trees' leaves fit a mask (QuickScorer, vectorised).

Source: Lucchese et al., "QuickScorer" (SIGIR 2015) and "Exploiting CPU SIMD extensions to speed-up
document scoring with tree ensembles" (SIGIR 2016). Nodes come sorted by how they are asked, so no
row ever takes a branch: see `foveal.udfs.scoring.forest_layout`.
"""

from __future__ import annotations

from collections.abc import Callable

from foveal.engine.compile.llvm.models.forest import finish_sums, start_sums
from foveal.engine.compile.llvm.models.scorer import BLOCK, Scorer, full_mask
from foveal.engine.compile.llvm.models.vectors import (
    LANES,
    choose,
    compare,
    counted,
    gather,
    ints,
    lane,
    load,
    spread,
    store,
    vector,
)
from foveal.engine.compile.llvm.text import TRUE, Value, integer
from foveal.udfs.scoring.forest_layout import GROUPS, LOWEST, TREES
from foveal.udfs.scoring.kinds import ForestKind

(_STARTS, _THRESHOLDS, _FEATURES, _MASKS, _LEAVES, _OUTPUTS, _MEMBERS, _SETS, _NUMBERS,
 _SHIFTS) = range(10)  # fmt: skip
TOGETHER = 4
"""Vectors of rows that share one pass over a tree's nodes."""
assert BLOCK % (TOGETHER * LANES) == 0

Ask = Callable[[Value, list[Value]], list[Value]]


def write_masks(scorer: Scorer, kind: ForestKind) -> None:
    """Write the kernel."""
    f = scorer.f
    scorer.shift(_SHIFTS)
    start_sums(scorer, _NUMBERS)
    trees = f.convert("fptosi", scorer.number(_NUMBERS, TREES), "i64")

    def tree(t: Value, _: list[Value]) -> list[Value]:
        first = f.op("mul", t, integer(GROUPS))
        bounds = [
            f.load("i64", f.at(scorer.array(_STARTS), "i64", f.op("add", first, integer(g))))
            for g in range(GROUPS + 1)
        ]
        each = kind.masks * (kind.raw if kind.wide else 1)
        leaves = f.at(scorer.array(_LEAVES), scorer.sum, f.op("mul", t, integer(each)))
        output = f.resize(f.load("i32", f.at(scorer.array(_OUTPUTS), "i32", t)), "i64")

        def rows(row: Value, _: list[Value]) -> list[Value]:
            live = [full_mask(f"i{kind.masks}")] * TOGETHER
            for group in range(GROUPS):
                if (group in (2, 3) and not kind.equals) or (group == 4 and not kind.members):
                    continue
                ask = _member(scorer, row) if group == 4 else _number(scorer, row, group)
                live = counted(f, bounds[group], bounds[group + 1], live, ask, name="node")
            for u, mask in enumerate(live):
                at = f.op("add", row, integer(u * LANES))
                _add_leaves(scorer, kind, mask, leaves, output, at)
            return []

        counted(f, integer(0), scorer.rows, [], rows, step=LANES * TOGETHER, name="rows")
        return []

    counted(f, integer(0), trees, [], tree, name="tree")
    finish_sums(scorer, _NUMBERS)


def _node(scorer: Scorer, n: Value, mask_type: str) -> tuple[Value, Value]:
    """Return a node's feature and its mask in every lane."""
    f = scorer.f
    feature = f.resize(f.load("i32", f.at(scorer.array(_FEATURES), "i32", n)), "i64")
    mask = f.load(mask_type, f.at(scorer.array(_MASKS), mask_type, n))
    return feature, spread(f, mask)


def _cleared(scorer: Scorer, live: Value, goes_right: Value, mask: Value) -> Value:
    """Return the leaves left over after a node."""
    f = scorer.f
    return f.op("and", live, choose(f, goes_right, mask, full_mask(_mask_type(scorer))))


def _mask_type(scorer: Scorer) -> str:
    assert isinstance(scorer.kind, ForestKind)
    return f"i{scorer.kind.masks}"


def _number(scorer: Scorer, row: Value, group: int) -> Ask:
    """Return the turn of nodes that compare with a number; NaN goes where the group says.

    The first `equal` group is that of missing left: `one` is false of NaN.
    """
    f = scorer.f
    predicate = ("ogt", "ugt", "one", "une")[group]

    def ask(n: Value, live: list[Value]) -> list[Value]:
        feature, mask = _node(scorer, n, _mask_type(scorer))
        threshold = f.at(scorer.array(_THRESHOLDS), scorer.input, n)
        limit = spread(f, f.load(scorer.input, threshold))
        block = scorer.feature(feature, row)
        out: list[Value] = []
        for u, leaves in enumerate(live):
            where = f.at(block, scorer.input, integer(u * LANES))
            x = load(f, vector(scorer.input), where)
            out.append(_cleared(scorer, leaves, compare(f, predicate, x, limit), mask))
        return out

    return ask


def _member(scorer: Scorer, row: Value) -> Ask:
    """Return the turn of nodes that look a category up in a set."""
    f = scorer.f

    def ask(n: Value, live: list[Value]) -> list[Value]:
        feature, mask = _node(scorer, n, _mask_type(scorer))
        first, size, member_right, missing_right = (
            f.load("i32", f.at(scorer.array(_MEMBERS), "i32", place))
            for place in (f.op("add", f.op("shl", n, integer(2)), integer(k)) for k in range(4))
        )
        words = f.at(scorer.array(_SETS), "i32", f.resize(first, "i64"))
        lowest = scorer.number(_NUMBERS, LOWEST)
        lowest = spread(f, f.convert("fptrunc", lowest, scorer.input))
        limit = spread(f, f.emit(scorer.input, f"sitofp {size} to {scorer.input}"))
        inverted = spread(f, f.compare("eq", member_right, integer(0, "i32")))
        missing = spread(f, f.compare("ne", missing_right, integer(0, "i32")))
        block = scorer.feature(feature, row)
        out: list[Value] = []
        for u, leaves in enumerate(live):
            x = load(f, vector(scorer.input), f.at(block, scorer.input, integer(u * LANES)))
            inside = contained(scorer, x, lowest, limit, words)
            right = choose(f, compare(f, "uno", x, x), missing, f.op("xor", inside, inverted))
            out.append(_cleared(scorer, leaves, right, mask))
        return out

    return ask


def contained(scorer: Scorer, x: Value, lowest: Value, limit: Value, words: Value) -> Value:
    """Return whether values (lanes) are categories in a set of bits.

    A category is above `lowest` and below `limit`; its fraction is cut off.
    """
    f = scorer.f
    possible = f.op("and", compare(f, "ogt", x, lowest), compare(f, "olt", x, limit))
    zero = Value("zeroinitializer", x.type)
    place = f.emit(vector("i32"), f"fptosi {choose(f, possible, x, zero)} to {vector('i32')}")
    word = f.op("lshr", place, ints(5, "i32"))
    zero_word = Value("zeroinitializer", word.type)
    # A set without any word is never read: its limit is 0, and word 0 is always there.
    word = choose(f, possible, word, zero_word)

    def read(at: int) -> Value:
        index = f.resize(lane(f, word, at), "i64", signed=False)
        return f.load("i32", f.at(words, "i32", index))

    bits = gather(f, vector("i32"), read)
    bit = f.op("and", f.op("lshr", bits, f.op("and", place, ints(31, "i32"))), ints(1, "i32"))
    return f.op("and", possible, compare(f, "ne", bit, ints(0, "i32")))


def _add_leaves(
    scorer: Scorer, kind: ForestKind, live: Value, leaves: Value, output: Value, row: Value
) -> None:
    """Add the value of each row's leaf, the lowest bit left over."""
    f, bits, type_ = scorer.f, kind.masks, vector(scorer.sum)
    exits = f.call(live.type, f"llvm.cttz.v{LANES}i{bits}", live, TRUE)
    places = [f.resize(lane(f, exits, k), "i64", signed=False) for k in range(LANES)]

    def add(k: Value, at: Callable[[int], Value]) -> None:
        where = scorer.raw_at(k, row)
        value = gather(
            f, type_, lambda place: f.load(scorer.sum, f.at(leaves, scorer.sum, at(place)))
        )
        store(f, f.op("fadd", load(f, type_, where), value), where)

    if not kind.wide:
        add(output, lambda place: places[place])
        return
    starts = [f.op("mul", place, integer(kind.raw)) for place in places]

    def each(k: Value, _: list[Value]) -> list[Value]:
        add(k, lambda place: f.op("add", starts[place], k))
        return []

    counted(f, integer(0), integer(kind.raw), [], each, name="value")
