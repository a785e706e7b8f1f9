"""exp, log and their relatives, pow, and the hyperbolic functions.

exp: reduction by log(2) in two parts and the series to the 13th power. log: fdlibm's e_log.c.
log2, log10 and pow take log in two doubles: 2 atanh(s) with s = (m - 1) / (m + 1).
"""

from __future__ import annotations

import math

from foveal.engine.compile.llvm.math_doubles import (
    INFINITY,
    INV_LN2,
    INV_LN2_LOW,
    LN2_HIGH,
    LN2_LOW,
    LN2_REST,
    LN2_SHORT,
    NAN,
    D,
    argument,
    as_double,
    call,
    choose,
    define,
    fma,
    from_whole,
    magnitude,
    of_bits,
    polynomial,
    power_of_two,
    scaled,
    signed_as,
    two_product,
    two_sum,
    whole,
)
from foveal.engine.compile.llvm.text import Function, Value, integer

_TERMS = 13
_EXP = [1 / math.factorial(k) for k in range(2, _TERMS + 1)]
_LOG = [
    6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01,
    2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01,
    1.479819860511658591e-01,
]  # fmt: skip
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
_LEAST_NORMAL = 2.2250738585072014e-308
_LOG10_2_HIGH, _LOG10_2_LOW = 3.01029995663611771306e-01, 3.69423907715893078616e-13
"""log10(2) with 32 trailing zeros, and the rest."""
_LOG10_E_HIGH, _LOG10_E_LOW = 0.4342944819032518, 1.098319650216765e-17


def clamped(x: D, low: float, high: float) -> D:
    """Return x within bounds; NaN stays."""
    return choose(x.is_("olt", low), low, choose(x.is_("ogt", high), high, x))


def exp_of_parts(x: D, rest: D | float = 0.0) -> D:
    """Return exp(x + rest), `rest` a small correction of x."""
    held = clamped(x, -746.0, 710.0)
    n = call("rint", held * INV_LN2)
    r = fma(n, -LN2_HIGH, held)
    low = fma(n, -LN2_LOW, rest)
    value = _exp_reduced(r, low)
    return scaled(value, whole(n))


def _exp_reduced(r: D, low: D) -> D:
    """Return exp(r + low) for |r| <= log(2) / 2."""
    return 1.0 + _exp_less_one(r, low)


def _exp_less_one(r: D, low: D) -> D:
    """Return exp(r + low) - 1 for |r| <= log(2) / 2."""
    x = r + low
    lost = low - (x - r)
    return x + fma(polynomial(x, _EXP), x * x, fma(lost, x, lost))


def exp() -> Function:
    """Return exp."""
    f = define("math_exp")
    f.ret(exp_of_parts(argument(f)).value)
    return f


def exp2() -> Function:
    """Return 2**x."""
    f = define("math_exp2")
    x = clamped(argument(f), -1080.0, 1030.0)
    n = call("rint", x)
    r, low = two_product(x - n, LN2_HIGH)
    low = fma(x - n, LN2_LOW, low)
    f.ret(scaled(_exp_reduced(r, low), whole(n)).value)
    return f


def expm1() -> Function:
    """Return exp(x) - 1."""
    f = define("math_expm1")
    x = argument(f)
    f.ret(_expm1(x).value)
    return f


def _expm1(x: D) -> D:
    f = x.f
    held = clamped(x, -40.0, 710.0)
    n = call("rint", held * INV_LN2)
    r = fma(n, -LN2_HIGH, held)
    low = n * -LN2_LOW
    less_one = _exp_less_one(r, low)
    # Half of the power: 2**1024 is no double.
    power = power_of_two(f, f.op("sub", whole(n), integer(1)))
    out = fma(power, less_one, power - 0.5) * 2.0
    out = choose(n.is_("oeq", 0.0), less_one, out)
    return choose(x.is_("oeq", 0.0), x, out)


# --- logarithms ---------------------------------------------------------------------------------


def split(x: D) -> tuple[Value, D]:
    """Return k (i64) and m in sqrt(1/2) .. sqrt(2) with x = 2**k m, for positive finite x."""
    f = x.f
    small = x.is_("olt", _LEAST_NORMAL)
    bits = choose(small, x * 2.0**54, x).bits()
    k = f.op("ashr", f.op("sub", bits, integer(_SQRT_HALF_BITS)), integer(52))
    m = of_bits(f, f.op("sub", bits, f.op("shl", k, integer(52))))
    return f.op("sub", k, f.select(small, integer(54), integer(0))), m


def _log_sum(k: D, m: D, correction: D | float = 0.0) -> D:
    """Return k log(2) + log(m) + correction (fdlibm, e_log.c)."""
    g = m - 1.0
    s = g / (g + 2.0)
    z = s * s
    r = polynomial(z, _LOG) * z
    half = g * g * 0.5
    rest = fma(s, half + r, fma(k, LN2_REST, correction))
    return k * LN2_SHORT - ((half - rest) - g)


def _edges(x: D, out: D) -> D:
    """Return a logarithm, put right for what is not positive and finite."""
    out = choose(x.is_("oeq", INFINITY), INFINITY, out)
    out = choose(x.is_("olt", 0.0), NAN, out)
    out = choose(x.is_("oeq", 0.0), -INFINITY, out)
    return choose(x.is_("uno", x), x, out)


def log() -> Function:
    """Return the natural logarithm."""
    f = define("math_log")
    x = argument(f)
    k, m = split(x)
    f.ret(_edges(x, _log_sum(from_whole(f, k), m)).value)
    return f


def log1p() -> Function:
    """Return log(1 + x)."""
    f = define("math_log1p")
    x = argument(f)
    u, lost = two_sum(x, 1.0)
    k, m = split(u)
    out = _edges(u, _log_sum(from_whole(f, k), m, lost / u))
    out = choose(x.is_("oeq", INFINITY), INFINITY, out)
    f.ret(choose(x.is_("oeq", 0.0), x, out).value)
    return f


def log_in_two(m: D) -> tuple[D, D]:
    """Return log(m) for m in sqrt(1/2) .. sqrt(2) as two doubles, to about 2**-64."""
    g = m - 1.0
    below, below_low = two_sum(m, 1.0)
    s = g / below
    s_low = (fma(-s, below, g) - s * below_low) / below
    z = s * s
    # 2 s + s**3 (2/3 + 2/5 z + ..), the rest of which 15 terms leave below 2**-70
    tail = polynomial(z, [2 / (2 * k + 3) for k in range(1, 14)]) * z
    cube, cube_low = two_product(z, s)
    cube_low = fma(fma(s, s, -z), s, cube_low) + z * s_low * 3.0
    third, third_low = two_product(cube, 2 / 3)
    third_low = third_low + cube_low * (2 / 3) + cube * 3.700743415417188e-17
    high, low = two_sum(s * 2.0, third)
    return _renormal(high, low + (third_low + s_low * 2.0 + cube * tail))


def _renormal(high: D, low: D) -> tuple[D, D]:
    """Return two doubles that do not overlap."""
    total = high + low
    return total, low - (total - high)


def _times_in_two(high: D, low: D, by_high: float, by_low: float) -> tuple[D, D]:
    """Return a product of two pairs of doubles."""
    product, lost = two_product(high, by_high)
    return product, lost + (fma(high, by_low, low * by_high))


def _other_log(name: str, whole_high: float, whole_low: float, by: tuple[float, float]) -> Function:
    """Return a logarithm to another base: k of its log(2) and a multiple of log(m)."""
    f = define(name)
    x = argument(f)
    power, m = split(x)
    k = from_whole(f, power)
    high, low = _times_in_two(*log_in_two(m), *by)
    total, lost = two_sum(k * whole_high, high)
    f.ret(_edges(x, total + (lost + fma(k, whole_low, low))).value)
    return f


def log2() -> Function:
    """Return the logarithm to base 2, exact for powers of 2."""
    return _other_log("math_log2", 1.0, 0.0, (INV_LN2, INV_LN2_LOW))


def log10() -> Function:
    """Return the logarithm to base 10."""
    by = (_LOG10_E_HIGH, _LOG10_E_LOW)
    return _other_log("math_log10", _LOG10_2_HIGH, _LOG10_2_LOW, by)


def pow_() -> Function:
    """Return x**y, with C's special cases."""
    f = define("math_pow", "x y")
    x, y = argument(f), argument(f, "y")
    size = magnitude(x)
    power, m = split(size)
    k = from_whole(f, power)
    high, low = log_in_two(m)
    log_high, lost = two_sum(k * LN2_SHORT, high)
    log_high, log_low = _renormal(log_high, lost + fma(k, LN2_REST, low))
    # y is held where the result is 0 or infinite anyway, lest products of it overflow.
    held = clamped(y, -1e300, 1e300)
    product, rest = two_product(held, log_high)
    rest = fma(held, log_low, rest)
    rest = choose(magnitude(product).is_("olt", 800.0), rest, 0.0)
    out = exp_of_parts(product, rest)
    above = y.is_("ogt", 0.0)
    # Bases whose logarithm is infinite
    out = choose(size.is_("oeq", 0.0), choose(above, as_double(f, 0.0), INFINITY), out)
    out = choose(size.is_("oeq", INFINITY), choose(above, as_double(f, INFINITY), 0.0), out)
    # Infinite exponents
    grows = f.op("xor", size.is_("ogt", 1.0), y.is_("olt", 0.0))
    limit = choose(grows, as_double(f, INFINITY), 0.0)
    out = choose(magnitude(y).is_("oeq", INFINITY), limit, out)
    out = choose(size.is_("oeq", 1.0), 1.0, out)
    # Signs
    trunc = call("trunc", y)
    is_whole = trunc.is_("oeq", y)
    halved = y * 0.5
    odd = f.both(is_whole, f.negate(call("trunc", halved).is_("oeq", halved)))
    is_minus = f.compare("slt", x.bits(), integer(0))
    out = choose(f.both(is_minus, odd), -out, out)
    finite = f.both(magnitude(y).is_("one", INFINITY), size.is_("one", INFINITY))
    wrong = f.both(x.is_("olt", 0.0), f.negate(is_whole), finite)
    out = choose(wrong, NAN, out)
    out = choose(x.is_("uno", y), NAN, out)
    out = choose(x.is_("oeq", 1.0), 1.0, out)
    f.ret(choose(y.is_("oeq", 0.0), 1.0, out).value)
    return f


# --- hyperbolic ---------------------------------------------------------------------------------


def _half_exp(x: D) -> D:
    """Return exp(x) / 2 for positive x, also where exp(x) overflows."""
    big = x.is_("ogt", 700.0)
    out = exp_of_parts(choose(big, x - 10.0, x))
    return choose(big, out * (math.exp(10.0) * 0.5), out * 0.5)


def sinh() -> Function:
    """Return the hyperbolic sine."""
    f = define("math_sinh")
    x = argument(f)
    size = magnitude(x)
    t = _expm1(choose(size.is_("olt", 22.0), size, 22.0))
    small = choose(size.is_("olt", 1.0), t * 2.0 - t * t / (t + 1.0), t + t / (t + 1.0)) * 0.5
    out = choose(size.is_("olt", 22.0), small, _half_exp(size))
    out = choose(x.is_("uno", x), x, out)
    f.ret(signed_as(out, x).value)
    return f


def cosh() -> Function:
    """Return the hyperbolic cosine."""
    f = define("math_cosh")
    x = argument(f)
    half = _half_exp(magnitude(x))
    f.ret((half + 0.25 / half).value)
    return f


def tanh() -> Function:
    """Return the hyperbolic tangent."""
    f = define("math_tanh")
    x = argument(f)
    size = magnitude(x)
    near = size.is_("olt", 0.5)
    twice = choose(size.is_("olt", 22.0), size, 22.0) * 2.0
    t = _expm1(choose(near, -twice, twice))
    out = choose(near, -t / (t + 2.0), 1.0 - 2.0 / (t + 2.0))
    out = choose(x.is_("uno", x), x, out)
    f.ret(signed_as(out, x).value)
    return f
