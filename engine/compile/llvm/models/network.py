"""The kernel of small networks: a few rows at a time go through all layers within the cache.

Each turn computes a few neurons of a vector of rows; layers, widths and activations are data.
"""

from __future__ import annotations

from typing import get_args

from foveal.engine.compile.llvm.models.exponential import logistic, tanh
from foveal.engine.compile.llvm.models.scorer import BLOCK, Scorer
from foveal.engine.compile.llvm.models.vectors import (
    LANES,
    choose,
    compare,
    counted,
    floats,
    intrinsic,
    load,
    narrow,
    spread,
    store,
    vector,
    wide,
)
from foveal.engine.compile.llvm.text import Value, integer
from foveal.udfs.scoring.network import FIELDS, MAX_WIDTH, TOGETHER, Activation

_LAYERS, _WEIGHTS, _BIASES, _NUMBERS, _SHIFTS = range(5)
_COUNT, _SCALE, _SLOPE = range(3)
_BUFFER = MAX_WIDTH * LANES


def write_network(scorer: Scorer) -> None:
    """Write the kernel."""
    f, type_ = scorer.f, vector(scorer.input)
    scorer.shift(_SHIFTS)
    layers = f.convert("fptosi", scorer.number(_NUMBERS, _COUNT), "i64")
    slope = scorer.number(_NUMBERS, _SLOPE)
    buffers = f.alloca(f"[{2 * _BUFFER} x {scorer.input}]")

    def place(buffer: Value, neuron: Value) -> Value:
        index = f.op("add", buffer, f.op("mul", neuron, integer(LANES)))
        return f.at(buffers, scorer.input, index)

    def rows(row: Value, _: list[Value]) -> list[Value]:
        def fill(j: Value, _: list[Value]) -> list[Value]:
            store(f, load(f, type_, scorer.feature(j, row)), place(integer(0), j))
            return []

        counted(f, integer(0), integer(scorer.features), [], fill, name="fill")

        def layer(number: Value, running: list[Value]) -> list[Value]:
            here = running[0]
            there = f.op("sub", integer(_BUFFER), here)
            first = f.op("mul", number, integer(FIELDS))
            inputs, outputs, weight, bias, activation = (
                f.load("i64", f.at(scorer.array(_LAYERS), "i64", f.op("add", first, integer(k))))
                for k in range(FIELDS)
            )

            def neurons(n: Value, _: list[Value]) -> list[Value]:
                starts: list[Value] = []
                lines: list[Value] = []
                for k in range(TOGETHER):
                    neuron = f.op("add", n, integer(k))
                    at = f.at(scorer.array(_BIASES), scorer.input, f.op("add", bias, neuron))
                    starts.append(spread(f, f.load(scorer.input, at)))
                    line = f.op("add", weight, f.op("mul", neuron, inputs))
                    lines.append(f.at(scorer.array(_WEIGHTS), scorer.input, line))

                def value(j: Value, sums: list[Value]) -> list[Value]:
                    x = load(f, type_, place(here, j))
                    return [
                        intrinsic(
                            f, "fmuladd", x,
                            spread(f, f.load(scorer.input, f.at(line, scorer.input, j))), total,
                        )
                        for line, total in zip(lines, sums, strict=True)
                    ]  # fmt: skip

                sums = counted(f, integer(0), inputs, starts, value, name="value")
                for k, total in enumerate(_activated(scorer, activation, slope, sums)):
                    store(f, total, place(there, f.op("add", n, integer(k))))
                return []

            counted(f, integer(0), outputs, [], neurons, step=TOGETHER, name="neurons")
            return [there]

        (last,) = counted(f, integer(0), layers, [integer(0)], layer, name="layer")

        def out(k: Value, _: list[Value]) -> list[Value]:
            store(f, load(f, type_, place(last, k)), scorer.raw_at(k, row))
            return []

        counted(f, integer(0), integer(scorer.kind.raw), [], out, name="out")
        return []

    assert BLOCK % LANES == 0
    counted(f, integer(0), scorer.rows, [], rows, step=LANES, name="rows")
    scorer.link(scorer.number(_NUMBERS, _SCALE))


def _activated(scorer: Scorer, activation: Value, slope: Value, sums: list[Value]) -> list[Value]:
    """Return sums through the activation of their layer."""
    f, names = scorer.f, get_args(Activation)
    labels = [f.label(name) for name in names]
    joined = f.label("activated")
    cases = " ".join(f"i64 {k}, label %{label}" for k, label in enumerate(labels))
    f.line(f"switch {activation}, label %{labels[0]} [ {cases} ]")
    made: list[tuple[list[Value], str]] = []
    for name, label in zip(names, labels, strict=True):
        f.open(label)
        made.append(([_one(scorer, name, slope, total) for total in sums], f.block))
        f.branch(joined)
    f.open(joined)
    phis = [f.phi(total.type) for total in sums]
    for values, block in made:
        for phi, value in zip(phis, values, strict=True):
            phi.add(value, block)
    return [phi.value for phi in phis]


def _one(scorer: Scorer, name: str, slope: Value, x: Value) -> Value:
    """Return one vector through one activation. NaN stays NaN."""
    f, zero = scorer.f, floats(0.0, scorer.input)
    match name:
        case "relu":
            return choose(f, compare(f, "olt", x, zero), zero, x)
        case "leaky_relu":
            factor = spread(f, f.convert("fptrunc", slope, scorer.input))
            return choose(f, compare(f, "olt", x, zero), f.op("fmul", x, factor), x)
        case "tanh":
            return narrow(f, tanh(f, scorer.uses_exp(), wide(f, x)), scorer.input)
        case "sigmoid":
            return narrow(f, logistic(f, scorer.uses_exp(), wide(f, x)), scorer.input)
        case _:
            return x
