"""The kernel of forests with more leaves than a mask holds: rows walk from node to node.

Several rows walk at once, so that each one's next load does not wait for the others'. Children
stand side by side and a leaf leads to itself: a step is a load, a comparison and an addition, and a
tree is done when no row has moved.
"""

from __future__ import annotations

from foveal.engine.compile.llvm.models.forest import finish_sums, start_sums
from foveal.engine.compile.llvm.models.scorer import Scorer
from foveal.engine.compile.llvm.models.vectors import LANES, counted
from foveal.engine.compile.llvm.text import Value, integer
from foveal.udfs.scoring.forest_layout import IS_EQUAL, IS_MEMBER, LOWEST, MISSING_RIGHT, TREES
from foveal.udfs.scoring.kinds import ForestKind

(_NODES, _NUMBER, _ROOTS, _LEAVES, _OUTPUTS, _MEMBERS, _SETS, _NUMBERS, _SHIFTS) = range(9)
_NODE = "{ double, i32, i16, i16 }"


def write_walk(scorer: Scorer, kind: ForestKind) -> None:
    """Write the kernel."""
    f = scorer.f
    scorer.shift(_SHIFTS)
    start_sums(scorer, _NUMBERS)
    trees = f.convert("fptosi", scorer.number(_NUMBERS, TREES), "i64")
    lowest = scorer.number(_NUMBERS, LOWEST)

    def tree(t: Value, _: list[Value]) -> list[Value]:
        root = f.load("i32", f.at(scorer.array(_ROOTS), "i32", t))
        output = f.resize(f.load("i32", f.at(scorer.array(_OUTPUTS), "i32", t)), "i64")

        def rows(row: Value, _: list[Value]) -> list[Value]:
            places = [f.op("add", row, integer(u)) for u in range(LANES)]
            turn, done = f.label("step"), f.label("arrived")
            before = f.block
            f.branch(turn)
            f.open(turn)
            at = [f.phi("i32") for _ in range(LANES)]
            for phi in at:
                phi.add(root, before)
            after = [
                _step(scorer, kind, phi.value, place, lowest)
                for phi, place in zip(at, places, strict=True)
            ]
            moved: Value | None = None
            for phi, following in zip(at, after, strict=True):
                change = f.op("xor", phi.value, following)
                moved = change if moved is None else f.op("or", moved, change)
            assert moved is not None
            end = f.block
            for phi, following in zip(at, after, strict=True):
                phi.add(following, end)
            f.branch_if(f.compare("ne", moved, integer(0, "i32")), turn, done)
            f.open(done)
            for place, node in zip(places, after, strict=True):
                _add_leaf(scorer, kind, node, output, place)
            return []

        counted(f, integer(0), scorer.rows, [], rows, step=LANES, name="rows")
        return []

    counted(f, integer(0), trees, [], tree, name="tree")
    finish_sums(scorer, _NUMBERS)


def _step(scorer: Scorer, kind: ForestKind, at: Value, row: Value, lowest: Value) -> Value:
    """Return the node that a row comes to after a node."""
    f = scorer.f
    place = f.resize(at, "i64", signed=False)
    node = f.at(scorer.array(_NODES), _NODE, place)
    threshold = f.load("double", node)
    left = f.load("i32", f.at(node, "i8", integer(8)))
    feature = f.resize(f.load("i16", f.at(node, "i8", integer(12))), "i64", signed=False)
    flags = f.load("i16", f.at(node, "i8", integer(14)))
    x = f.convert("fpext", f.load(scorer.input, scorer.feature(feature, row)), "double")

    def has(flag: int) -> Value:
        return f.compare("ne", f.op("and", flags, integer(flag, "i16")), integer(0, "i16"))

    right = f.compare("ogt", x, threshold)
    if kind.equals:
        right = f.select(has(IS_EQUAL), f.compare("one", x, threshold), right)
    if kind.members:
        right = _asked_member(scorer, has(IS_MEMBER), x, place, lowest, right)
    missing = f.both(f.compare("uno", x, x), has(MISSING_RIGHT))
    return f.op("add", left, f.resize(f.either(right, missing), "i32", signed=False))


def _asked_member(
    scorer: Scorer, asks: Value, x: Value, node: Value, lowest: Value, otherwise: Value
) -> Value:
    """Return whether a row goes right at a node that may look a category up in a set."""
    f = scorer.f
    lookup, bit, done = f.label("set"), f.label("bit"), f.label("asked")
    before = f.block
    f.branch_if(asks, lookup, done)
    f.open(lookup)
    member = f.at(scorer.array(_MEMBERS), "i32", f.op("shl", node, integer(2)))
    first, size, member_right = (f.load("i32", f.at(member, "i32", integer(k))) for k in range(3))
    limit = f.emit("double", f"sitofp {size} to double")
    possible = f.both(f.compare("ogt", x, lowest), f.compare("olt", x, limit))
    inverted = f.compare("eq", member_right, integer(0, "i32"))
    # What is no category is in no set; a missing value goes left here, right by its flag.
    outside = f.both(inverted, f.compare("ord", x, x))
    f.branch_if(possible, bit, done)
    f.open(bit)
    place = f.emit("i32", f"fptosi {x} to i32")
    index = f.op("add", first, f.op("lshr", place, integer(5, "i32")))
    word = f.load("i32", f.at(scorer.array(_SETS), "i32", f.resize(index, "i64")))
    shifted = f.op("lshr", word, f.op("and", place, integer(31, "i32")))
    inside = f.op("xor", f.resize(shifted, "i1"), inverted)
    f.branch(done)
    f.open(done)
    out = f.phi("i1")
    out.add(otherwise, before)
    out.add(outside, lookup)
    out.add(inside, bit)
    return out.value


def _add_leaf(scorer: Scorer, kind: ForestKind, node: Value, output: Value, row: Value) -> None:
    """Add a leaf's values to a row's sums."""
    f = scorer.f
    place = f.at(scorer.array(_NUMBER), "i32", f.resize(node, "i64", signed=False))
    leaf = f.resize(f.load("i32", place), "i64", signed=False)

    def add(k: Value, index: Value) -> None:
        where = scorer.raw_at(k, row)
        value = f.load(scorer.sum, f.at(scorer.array(_LEAVES), scorer.sum, index))
        f.store(f.op("fadd", f.load(scorer.sum, where), value), where)

    if not kind.wide:
        add(output, leaf)
        return
    start = f.op("mul", leaf, integer(kind.raw))

    def each(k: Value, _: list[Value]) -> list[Value]:
        add(k, f.op("add", start, k))
        return []

    counted(f, integer(0), integer(kind.raw), [], each, name="value")
