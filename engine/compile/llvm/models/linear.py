"""The kernel of linear models: for each output, features times weights in their order."""

from __future__ import annotations

from foveal.engine.compile.llvm.models.scorer import Scorer
from foveal.engine.compile.llvm.models.vectors import LANES, counted, load, spread, store, vector
from foveal.engine.compile.llvm.text import Value, integer

_WEIGHTS, _INTERCEPTS, _NUMBERS, _SHIFTS = range(4)
_TOGETHER = 2
"""Vectors of rows per turn: their sums wait for each other less."""


def write_linear(scorer: Scorer) -> None:
    """Write the kernel. Products are rounded before they are added, as in the reference."""
    f, type_ = scorer.f, vector(scorer.input)
    scorer.shift(_SHIFTS)

    def output(k: Value, _: list[Value]) -> list[Value]:
        weights = f.at(
            scorer.array(_WEIGHTS), scorer.input, f.op("mul", k, integer(scorer.features))
        )
        place = f.at(scorer.array(_INTERCEPTS), scorer.input, k)
        start = spread(f, f.load(scorer.input, place))

        def rows(row: Value, _: list[Value]) -> list[Value]:
            places = [f.op("add", row, integer(u * LANES)) for u in range(_TOGETHER)]

            def feature(j: Value, sums: list[Value]) -> list[Value]:
                weight = spread(f, f.load(scorer.input, f.at(weights, scorer.input, j)))
                return [
                    f.op("fadd", total, f.op("fmul", load(f, type_, scorer.feature(j, at)), weight))
                    for total, at in zip(sums, places, strict=True)
                ]

            sums = counted(
                f,
                integer(0),
                integer(scorer.features),
                [start] * _TOGETHER,
                feature,
                name="feature",
            )
            for total, at in zip(sums, places, strict=True):
                store(f, total, scorer.raw_at(k, at))
            return []

        counted(f, integer(0), scorer.rows, [], rows, step=LANES * _TOGETHER, name="rows")
        return []

    counted(f, integer(0), integer(scorer.kind.raw), [], output, name="output")
    scorer.link(scorer.number(_NUMBERS, 0))
