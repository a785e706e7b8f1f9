"""What the kernels of all kinds share: the block's form, shifts before, links after the sums."""

from __future__ import annotations

import math

from foveal.engine.compile.llvm.models.exponential import exp_function, logistic, softplus
from foveal.engine.compile.llvm.models.vectors import (
    LANES,
    choose,
    compare,
    counted,
    every,
    floats,
    intrinsic,
    load,
    narrow,
    spread,
    store,
    vector,
    wide,
)
from foveal.engine.compile.llvm.text import Function, Value, integer
from foveal.udfs.scoring.kinds import Kind

BLOCK = 256
"""Rows of a block: their features stay in the first cache."""


class Scorer:
    """A kernel being written: its function, the block's buffers, and what comes around the sums."""

    def __init__(self, kind: Kind, features: int, name: str, arrays: int) -> None:
        """Open the function."""
        parameters = [("ptr noalias", "x"), ("i64", "rows")]
        parameters += [("ptr noalias readonly", f"a{k}") for k in range(arrays)]
        parameters.append(("ptr noalias", "out"))
        self.f = Function(name, "void", parameters, "noinline nounwind", "internal")
        self.kind, self.features = kind, features
        self.input = "float" if kind.inputs == 32 else "double"
        self.sum = "float" if kind.sum_bits == 32 else "double"
        self.exp = f"{name}_exp"
        self.x, self.out = self.f.parameters["x"], self.f.parameters["out"]
        self.raw = self.f.alloca(f"[{kind.raw * BLOCK} x {self.sum}]")
        self._uses_exp = False

    def functions(self) -> list[Function]:
        """Return the kernel and what it calls."""
        self.f.ret()
        return [self.f, exp_function(self.exp)] if self._uses_exp else [self.f]

    @property
    def rows(self) -> Value:
        """How many rows the block has."""
        return self.f.parameters["rows"]

    def array(self, place: int) -> Value:
        """Return one of the model's arrays."""
        return self.f.parameters[f"a{place}"]

    def uses_exp(self) -> str:
        """Return the name of exp, to be added to the module."""
        self._uses_exp = True
        return self.exp

    def number(self, array: int, place: int, type_: str = "double") -> Value:
        """Load one number of an array."""
        return self.f.load(type_, self.f.at(self.array(array), type_, integer(place)))

    def feature(self, feature: Value, row: Value) -> Value:
        """Return where a feature's value of a row is; `feature` as i64."""
        f = self.f
        place = f.op("add", f.op("mul", feature, integer(BLOCK)), row)
        return f.at(self.x, self.input, place)

    def raw_at(self, output: Value, row: Value) -> Value:
        """Return where a raw output of a row is."""
        f = self.f
        return f.at(self.raw, self.sum, f.op("add", f.op("mul", output, integer(BLOCK)), row))

    # --- before ---

    def shift(self, array: int) -> None:
        """Shift and scale features in place; make zeros missing. Array: [4, features]."""
        if not self.kind.shift:
            return
        f, type_ = self.f, vector(self.input)

        def feature(j: Value, _: list[Value]) -> list[Value]:
            parts = [
                spread(f, f.load(self.input, f.at(self.array(array), self.input, place)))
                for place in (f.op("add", j, integer(k * self.features)) for k in range(4))
            ]

            def rows(row: Value, _: list[Value]) -> list[Value]:
                where = self.feature(j, row)
                x = f.op("fsub", load(f, type_, where), parts[0])
                x = f.op("fadd", f.op("fmul", x, parts[1]), parts[2])
                zero = compare(f, "ole", intrinsic(f, "fabs", x), parts[3])
                store(f, choose(f, zero, floats(math.nan, self.input), x), where)
                return []

            counted(f, integer(0), self.rows, [], rows, step=LANES, name="shift")
            return []

        counted(f, integer(0), integer(self.features), [], feature, name="feature")

    # --- after ---

    def link(self, scale: Value | None = None) -> None:
        """Make outputs of the raw ones. `scale`: of `logistic`, a double."""
        f = self.f

        def rows(row: Value, _: list[Value]) -> list[Value]:
            match self.kind.link:
                case "softmax":
                    self._softmax(row)
                case "argmax":
                    self._argmax(row)
                case _:
                    counted(
                        f, integer(0), integer(self.kind.raw), [],
                        lambda k, _: self._each(row, k, scale), name="output",
                    )  # fmt: skip
            return []

        counted(f, integer(0), self.rows, [], rows, step=LANES, name="link")

    def _load(self, row: Value, k: Value) -> Value:
        return wide(self.f, load(self.f, vector(self.sum), self.raw_at(k, row)))

    def _store(self, row: Value, k: Value, value: Value) -> None:
        f = self.f
        if self.kind.pair:
            other = f.op("fsub", floats(1.0, self.sum), narrow(f, value, self.sum))
            store(f, other, f.at(self.out, self.sum, row))
            k = f.op("add", k, integer(1))
        place = f.op("add", f.op("mul", k, integer(BLOCK)), row)
        store(f, narrow(f, value, self.sum), f.at(self.out, self.sum, place))

    def _each(self, row: Value, k: Value, scale: Value | None) -> list[Value]:
        """Write a link that looks at one raw output alone."""
        f, x = self.f, self._load(row, k)
        one = floats(1.0, "double")
        match self.kind.link:
            case "logistic":
                scaled = x if scale is None else f.op("fmul", x, spread(f, scale))
                x = logistic(f, self.uses_exp(), scaled)
            case "exp":
                x = f.call(x.type, self.uses_exp(), x)
            case "softplus":
                x = softplus(f, self.uses_exp(), x)
            case "square":
                x = f.op("fmul", x, intrinsic(f, "fabs", x))
            case "step":
                zero = floats(0.0, "double")
                x = choose(f, compare(f, "ogt", x, zero), one, zero)
            case _:
                pass
        self._store(row, k, x)
        return []

    def _softmax(self, row: Value) -> None:
        """Write exp(x - max) over the sum of all of them."""
        f, raw = self.f, integer(self.kind.raw)
        least, zero = floats(-math.inf, "double"), floats(0.0, "double")
        powers = f.alloca(f"[{self.kind.raw * LANES} x double]")
        exp = self.uses_exp()

        def greatest(k: Value, running: list[Value]) -> list[Value]:
            x = self._load(row, k)
            return [choose(f, compare(f, "ogt", x, running[0]), x, running[0])]

        (top,) = counted(f, integer(0), raw, [least], greatest, name="greatest")

        def place(k: Value) -> Value:
            return f.at(powers, "double", f.op("mul", k, integer(LANES)))

        def power(k: Value, running: list[Value]) -> list[Value]:
            x = f.call(vector("double"), exp, f.op("fsub", self._load(row, k), top))
            store(f, x, place(k))
            return [f.op("fadd", running[0], x)]

        (total,) = counted(f, integer(0), raw, [zero], power, name="power")

        def divide(k: Value, _: list[Value]) -> list[Value]:
            self._store(row, k, f.op("fdiv", load(f, vector("double"), place(k)), total))
            return []

        counted(f, integer(0), raw, [], divide, name="divide")

    def _argmax(self, row: Value) -> None:
        """Write the place of the first greatest raw output."""
        f = self.f
        start = [self._load(row, integer(0)), floats(0.0, "double")]

        def better(k: Value, running: list[Value]) -> list[Value]:
            x = self._load(row, k)
            here = spread(f, f.convert("sitofp", k, "double"))
            wins = compare(f, "ogt", x, running[0])
            return [choose(f, wins, x, running[0]), choose(f, wins, here, running[1])]

        _, place = counted(f, integer(1), integer(self.kind.raw), start, better, name="better")
        self._store(row, integer(0), place)


def full_mask(type_: str) -> Value:
    """Return a vector with all bits set."""
    return every(integer(-1, type_))
