"""Error functions, cube root, hypotenuse and the remainder of floats.

erfc(x) = exp(-x**2) g(x) / (1 + 2x), g a polynomial in (x - 4) / (x + 4) as in Shepherd and
Laframboise, "Chebyshev approximation of (1 + 2x) exp(x^2) erfc x", Math. Comp. 36, 1981; the
coefficients are our own (degree 22, 1.4e-17), as are those of erf near 0 (degree 12 in x**2).
hypot: Borges, "An improved algorithm for hypot(a, b)", 2019.
"""

from __future__ import annotations

from foveal.engine.compile.llvm.math_doubles import (
    INFINITY,
    NAN,
    D,
    argument,
    as_double,
    call,
    choose,
    define,
    fma,
    magnitude,
    of_bits,
    polynomial,
    signed_as,
    two_product,
)
from foveal.engine.compile.llvm.math_exp import exp_of_parts
from foveal.engine.compile.llvm.text import Function, Value, integer

_ERF = [
    1.1283791670955126, -0.3761263890318375, 0.11283791670954879, -0.026866170645076792,
    0.0052239776248180145, -0.000854832698083379, 0.0001205533111164271,
    -1.4925595266831182e-05, 1.6461000484121368e-06, -1.6350312701054695e-07,
    1.4659775274047436e-08, -1.1372848856791674e-09, 5.957176147748911e-11,
]  # fmt: skip
_ERFC = [
    1.2329951186255526, -0.13962111684056291, 0.015379652102620376, 0.0680970542547406,
    -0.10103906603633013, 0.09373283499669846, -0.06633036581204733, 0.03716751556368909,
    -0.016197734052900335, 0.005031969748673072, -0.0007577733841562902, -0.0001992554889844089,
    0.00015062242142058194, -2.4403157430773973e-05, -1.1225236956211072e-05,
    5.717688679570774e-06, 3.0200634627707736e-07, -8.346537108351258e-07, 6.223473796299552e-08,
    1.1477727211983686e-07, -7.658844540788014e-09, -1.3422212783166578e-08,
    -1.7425916658178057e-09,
]  # fmt: skip
_CBRT = [
    1.87595182427177009643, -1.88497979543377169875, 1.621429720105354466140,
    -0.758397934778766047437, 0.145996192886612446982,
]  # fmt: skip
_LEAST_NORMAL = 2.2250738585072014e-308


def _erfc_positive(x: D) -> D:
    """Return erfc of 0 .. infinity."""
    held = choose(x.is_("ogt", 28.0), 28.0, x)
    t = (held - 4.0) / (held + 4.0)
    square, lost = two_product(held, held)
    curve = polynomial(t, _ERFC) / fma(held, 2.0, 1.0)
    return curve * exp_of_parts(-square, -lost)


def _erf_near(x: D) -> D:
    """Return erf of -1 .. 1."""
    return x * polynomial(x * x, _ERF)


def erf() -> Function:
    """Return the error function."""
    f = define("math_erf")
    x = argument(f)
    size = magnitude(x)
    near = size.is_("olt", 1.0)
    far = signed_as(1.0 - _erfc_positive(size), x)
    f.ret(choose(near, _erf_near(choose(near, x, 0.0)), choose(x.is_("uno", x), x, far)).value)
    return f


def erfc() -> Function:
    """Return the complement of the error function."""
    f = define("math_erfc")
    x = argument(f)
    size = magnitude(x)
    far = _erfc_positive(size)
    far = choose(x.is_("olt", 0.0), 2.0 - far, far)
    near = f.both(x.is_("olt", 0.25), x.is_("ogt", -1.0))
    out = choose(near, 1.0 - _erf_near(choose(near, x, 0.0)), far)
    f.ret(choose(x.is_("uno", x), x, out).value)
    return f


def cbrt() -> Function:
    """Return the cube root (FreeBSD, s_cbrt.c)."""
    f = define("math_cbrt")
    x = argument(f)
    size = magnitude(x)
    small = size.is_("olt", _LEAST_NORMAL)
    normal = choose(small, size * 2.0**54, size)
    high = f.resize(f.op("lshr", normal.bits(), integer(32)), "i32")
    third = f.op("udiv", high, integer(3, "i32"))
    bias = f.select(small, integer(696219795, "i32"), integer(715094163, "i32"))
    guess = f.resize(f.op("add", third, bias), "i64", signed=False)
    t = of_bits(f, f.op("shl", guess, integer(32)))
    r = t * t * (t / size)
    t = t * (polynomial(r, _CBRT[:3]) + r * r * r * polynomial(r, _CBRT[3:]))
    rounded = f.op("and", f.op("add", t.bits(), integer(1 << 31)), integer(-(1 << 30)))
    t = of_bits(f, rounded)
    s = t * t
    r = size / s
    out = fma(t, (r - t) / (t + t + r), t)
    plain = f.both(size.is_("olt", INFINITY), size.is_("ogt", 0.0))
    f.ret(signed_as(choose(plain, out, size), x).value)
    return f


def hypot() -> Function:
    """Return the hypotenuse of two legs, its rounding error taken off."""
    f = define("math_hypot", "x y")
    a, b = magnitude(argument(f)), magnitude(argument(f, "y"))
    swap = a.is_("olt", b)
    x, y = choose(swap, b, a), choose(swap, a, b)
    big, little = x.is_("ogt", 2.0**500), y.is_("olt", 2.0**-459)
    scale = choose(big, as_double(f, 2.0**-600), choose(little, as_double(f, 2.0**600), 1.0))
    back = choose(big, as_double(f, 2.0**600), choose(little, as_double(f, 2.0**-600), 1.0))
    # Where the legs are far apart (and scaling up would overflow) the longer one is the result.
    apart = x.is_("oge", y * 2.0**60)
    u, v = x * scale, y * scale
    h = call("sqrt", fma(u, u, v * v))
    square, side = h * h, u * u
    error = fma(-v, v, square - side) + fma(h, h, -square) - fma(u, u, -side)
    error = choose(h.is_("ogt", 0.0), error / (h * 2.0), 0.0)
    out = choose(apart, x + y, (h - error) * back)
    out = choose(x.is_("uno", y), NAN, out)
    infinite = f.either(a.is_("oeq", INFINITY), b.is_("oeq", INFINITY))
    f.ret(choose(infinite, INFINITY, out).value)
    return f


def fmod() -> Function:
    """Return the remainder of x / y with x's sign, exactly; a loop for far quotients."""
    f = define("math_fmod", "x y")
    f.head = f.head.replace("alwaysinline", "noinline")
    x, y = argument(f), argument(f, "y")
    start, divisor = magnitude(x), magnitude(y)
    usable = f.both(
        start.is_("olt", INFINITY), divisor.is_("ogt", 0.0), divisor.is_("ord", divisor)
    )
    head, turn, done = f.label("head"), f.label("turn"), f.label("done")
    entry = f.block
    f.branch(head)
    f.open(head)
    phi = f.phi("double")
    phi.add(start.value, entry)
    rest = D(f, phi.value)
    f.branch_if(f.both(usable, rest.is_("oge", divisor)), turn, done)
    f.open(turn)
    # A multiple of the divisor by a power of two, at most 2**52 below what is left
    gap = f.op("sub", _exponent(rest), _exponent(divisor))
    far = f.op("sub", gap, integer(51))
    steps = f.select(f.compare("sgt", far, integer(0)), far, integer(0))
    half = f.op("lshr", steps, integer(1))
    multiple = divisor * _power(f, half) * _power(f, f.op("sub", steps, half))
    quotient = call("trunc", rest / multiple)
    left = fma(-quotient, multiple, rest)
    left = choose(left.is_("olt", 0.0), left + multiple, left)
    left = choose(left.is_("oge", multiple), left - multiple, left)
    phi.add(left.value, turn)
    f.branch(head)
    f.open(done)
    out = signed_as(rest, x)
    f.ret(choose(usable, out, NAN).value)
    return f


def _exponent(x: D) -> Value:
    """Return the exponent of a positive finite double, of subnormal ones too."""
    f = x.f
    small = x.is_("olt", _LEAST_NORMAL)
    bits = choose(small, x * 2.0**54, x).bits()
    return f.op("sub", f.op("lshr", bits, integer(52)), f.select(small, integer(54), integer(0)))


def _power(f: Function, exponent: Value) -> D:
    return of_bits(f, f.op("shl", f.op("add", exponent, integer(1023)), integer(52)))
