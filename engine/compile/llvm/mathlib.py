"""The functions of doubles that code may call: each is written into the modules that use it."""

from __future__ import annotations

from collections.abc import Callable, Collection

from foveal.engine.compile.llvm import math_exp, math_special, math_trig
from foveal.engine.compile.llvm.text import Function, Value

FUNCTIONS: dict[str, Callable[[], Function]] = {
    "exp": math_exp.exp, "exp2": math_exp.exp2, "expm1": math_exp.expm1, "log": math_exp.log,
    "log2": math_exp.log2, "log10": math_exp.log10, "log1p": math_exp.log1p,
    "pow": math_exp.pow_, "sinh": math_exp.sinh, "cosh": math_exp.cosh, "tanh": math_exp.tanh,
    "sin": math_trig.sin, "cos": math_trig.cos, "tan": math_trig.tan, "asin": math_trig.asin,
    "acos": math_trig.acos, "atan": math_trig.atan, "atan2": math_trig.atan2,
    "erf": math_special.erf, "erfc": math_special.erfc, "cbrt": math_special.cbrt,
    "hypot": math_special.hypot, "mod": math_special.fmod,
}  # fmt: skip


def call_function(f: Function, op: str, *arguments: Value) -> Value:
    """Call the function of an operator of doubles."""
    if op == "copysign":
        return f.call("double", "llvm.copysign.f64", *arguments)
    f.library.add(op)
    return f.call("double", "math_fmod" if op == "mod" else f"math_{op}", *arguments)


def library(ops: Collection[str]) -> list[Function]:
    """Return the functions of some operators."""
    return [FUNCTIONS[op]() for op in sorted(ops)]
