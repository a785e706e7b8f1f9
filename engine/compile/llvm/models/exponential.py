"""exp of a vector of doubles, and what is made of it; portable, without any library of maths.

Within 2 units in the last place of the true value over the whole range, subnormal results
included. Method: exp(x) = 2**n * exp(r), |r| <= log(2) / 2, with log(2) in two parts (fdlibm,
e_exp.c) and the series of exp to the 13th power, whose rest is below 2**-56.
"""

from __future__ import annotations

import math

from foveal.engine.compile.llvm.models.vectors import (
    LANES,
    choose,
    compare,
    floats,
    intrinsic,
    lanes_of,
    vector,
)
from foveal.engine.compile.llvm.text import Function, Value

_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_LEAST, _GREATEST = -745.5, 709.782712893384
_TERMS = 13


def exp_function(name: str, lanes: int = LANES) -> Function:
    """Return a function of vectors of doubles."""
    type_ = vector("double", lanes)
    f = Function(name, type_, [(type_, "x")], "alwaysinline nounwind", "internal")
    f.ret(_exp(f, Value("%x", type_)))
    return f


def _exp(f: Function, x: Value) -> Value:
    """Write exp."""
    lanes = lanes_of(x.type)

    def constant(value: float) -> Value:
        return floats(value, "double", lanes)

    # An unordered comparison keeps NaN out of the conversion to integers.
    held = choose(f, compare(f, "ogt", x, constant(_LEAST)), x, constant(_LEAST))
    held = choose(f, compare(f, "olt", held, constant(_GREATEST)), held, constant(_GREATEST))
    n = intrinsic(f, "rint", f.op("fmul", held, constant(1 / math.log(2))))
    r = f.op("fsub", held, f.op("fmul", n, constant(_LN2_HIGH)))
    r = f.op("fsub", r, f.op("fmul", n, constant(_LN2_LOW)))
    out = constant(1 / math.factorial(_TERMS))
    for power in range(_TERMS - 1, -1, -1):
        out = intrinsic(f, "fmuladd", out, r, constant(1 / math.factorial(power)))
    # Two factors: 2**n itself is no double where the result is subnormal, or just below infinity.
    whole = f.convert("fptosi", n, vector("i64", lanes))
    half = f.op("ashr", whole, Value("splat (i64 1)", whole.type))
    out = f.op("fmul", out, _power_of_two(f, half))
    out = f.op("fmul", out, _power_of_two(f, f.op("sub", whole, half)))
    out = choose(f, compare(f, "ogt", x, constant(_GREATEST)), constant(math.inf), out)
    return choose(f, compare(f, "uno", x, x), x, out)


def _power_of_two(f: Function, n: Value) -> Value:
    """Return 2**n for exponents of normal doubles."""
    biased = f.op("add", n, Value("splat (i64 1023)", n.type))
    bits = f.op("shl", biased, Value("splat (i64 52)", n.type))
    return f.convert("bitcast", bits, vector("double", lanes_of(n.type)))


def logistic(f: Function, exp: str, x: Value) -> Value:
    """Return 1 / (1 + exp(-x))."""
    one = floats(1.0, "double", lanes_of(x.type))
    power = f.call(x.type, exp, f.emit(x.type, f"fneg {x}"))
    return f.op("fdiv", one, f.op("fadd", one, power))


def tanh(f: Function, exp: str, x: Value) -> Value:
    """Return tanh, within 2**-52 of the true value."""
    one = floats(1.0, "double", lanes_of(x.type))
    size = intrinsic(f, "fabs", x)
    power = f.call(x.type, exp, f.op("fmul", size, floats(-2.0, "double", lanes_of(x.type))))
    out = f.op("fdiv", f.op("fsub", one, power), f.op("fadd", one, power))
    return intrinsic(f, "copysign", out, x)


def softplus(f: Function, exp: str, x: Value) -> Value:
    """Return log(1 + exp(x)) = max(x, 0) + 2 artanh(t / (2 + t)), t = exp(-|x|)."""
    lanes = lanes_of(x.type)

    def constant(value: float) -> Value:
        return floats(value, "double", lanes)

    zero = constant(0.0)
    size = intrinsic(f, "fabs", x)
    t = f.call(x.type, exp, f.emit(x.type, f"fneg {size}"))
    z = f.op("fdiv", t, f.op("fadd", constant(2.0), t))
    square = f.op("fmul", z, z)
    out = constant(1 / 35)
    for power in range(33, 0, -2):
        out = intrinsic(f, "fmuladd", out, square, constant(1 / power))
    out = f.op("fmul", f.op("fmul", out, z), constant(2.0))
    return f.op("fadd", choose(f, compare(f, "olt", x, zero), zero, x), out)
