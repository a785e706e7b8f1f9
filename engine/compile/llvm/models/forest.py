"""What both kernels of forests share: where sums start, what is done to them at the end."""

from __future__ import annotations

from foveal.engine.compile.llvm.models.scorer import Scorer
from foveal.engine.compile.llvm.models.vectors import LANES, counted, load, spread, store, vector
from foveal.engine.compile.llvm.text import Function, Value, integer
from foveal.udfs.scoring.forest_layout import BASE, DIVISOR, SCALE


def start_sums(scorer: Scorer, numbers: int) -> None:
    """Let every sum start from the base."""
    f = scorer.f

    def output(k: Value, _: list[Value]) -> list[Value]:
        start = spread(f, _sum_number(scorer, numbers, f.op("add", k, integer(BASE))))

        def rows(row: Value, _: list[Value]) -> list[Value]:
            store(f, start, scorer.raw_at(k, row))
            return []

        counted(f, integer(0), scorer.rows, [], rows, step=LANES, name="start")
        return []

    counted(f, integer(0), integer(scorer.kind.raw), [], output, name="base")


def finish_sums(scorer: Scorer, numbers: int) -> None:
    """Add what is added last, divide, and link."""
    f, raw = scorer.f, scorer.kind.raw
    divisor = spread(f, _sum_number(scorer, numbers, integer(DIVISOR)))

    def output(k: Value, _: list[Value]) -> list[Value]:
        last = spread(f, _sum_number(scorer, numbers, f.op("add", k, integer(BASE + raw))))

        def rows(row: Value, _: list[Value]) -> list[Value]:
            where = scorer.raw_at(k, row)
            total = f.op("fadd", load(f, vector(scorer.sum), where), last)
            store(f, f.op("fdiv", total, divisor), where)
            return []

        counted(f, integer(0), scorer.rows, [], rows, step=LANES, name="finish")
        return []

    counted(f, integer(0), integer(raw), [], output, name="last")
    scorer.link(scorer.number(numbers, SCALE))


def _sum_number(scorer: Scorer, numbers: int, place: Value) -> Value:
    """Load one of the forest's numbers in the type of its sums."""
    f: Function = scorer.f
    value = f.load("double", f.at(scorer.array(numbers), "double", place))
    return f.convert("fptrunc", value, scorer.sum)
